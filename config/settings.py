"""Django's settings: environment in, typed values out. Every variable is described in docs/configuration.md."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from config.admin_settings import (
    AXES_COOLOFF_TIME,
    AXES_DISABLE_ACCESS_LOG,
    AXES_ENABLE_ADMIN,
    AXES_FAILURE_LIMIT,
    AXES_LOCKOUT_CALLABLE,
    AXES_LOCKOUT_PARAMETERS,
    AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT,
    AXES_RESET_ON_SUCCESS,
    AXES_VERBOSE,
    UNFOLD,
)
from config.api_settings import API_RATES, REST_FRAMEWORK, SPECTACULAR_SETTINGS
from config.buses import buses_from_environment
from config.celery_settings import celery_settings, transport_options
from config.content_security_policy import POLICY
from config.environment import (
    flag,
    named_words,
    number,
    path_segment,
    recipients,
    regions,
    required,
    servers,
    text,
    user_id,
    words,
)
from config.providers import channels_from_environment

__all__ = [
    "API_RATES",
    "AXES_COOLOFF_TIME",
    "AXES_DISABLE_ACCESS_LOG",
    "AXES_ENABLE_ADMIN",
    "AXES_FAILURE_LIMIT",
    "AXES_LOCKOUT_CALLABLE",
    "AXES_LOCKOUT_PARAMETERS",
    "AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT",
    "AXES_RESET_ON_SUCCESS",
    "AXES_VERBOSE",
    "REST_FRAMEWORK",
    "SPECTACULAR_SETTINGS",
    "UNFOLD",
]

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = flag("DEBUG")
DATA_DIR = Path(text("NOTIFIER_DATA_DIR", str(BASE_DIR / ".data" / "development")))

SECRET_KEY = (
    text("SECRET_KEY", "development only, never in production")
    if DEBUG
    else required("SECRET_KEY", why="it signs sessions and links")
)
# keys that signed before: sessions and links that they signed are still good
SECRET_KEY_FALLBACKS = list(words("SECRET_KEY_FALLBACKS"))
ADDRESS_KEY = text("NOTIFIER_ADDRESS_KEY", SECRET_KEY)  # notifier/fingerprint.py; of its own, it outlives SECRET_KEY
PUBLIC_URL = text("PUBLIC_URL", "http://127.0.0.1:8000").rstrip("/")
_hosts = text("ALLOWED_HOSTS", "*" if DEBUG else urlsplit(PUBLIC_URL).hostname or "")
ALLOWED_HOSTS = [host.strip() for host in _hosts.split(",")]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

INSTALLED_APPS = [
    "axes",
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "django_htmx",  # htmx itself, for the customers' pages
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "preferences",
    "channels",
    "notifier",
]
MIDDLEWARE = [
    "notifier.api.middleware.ApiErrors",
    "notifier.callers.Callers",
    "django.middleware.security.SecurityMiddleware",
    "config.content_security_policy.ContentSecurityPolicy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",  # last, as it turns the answer of a login into that of a lockout
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_USER_MODEL = "preferences.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
LOCALE_PATHS = [BASE_DIR / "config" / "locale"]
FORMAT_MODULE_PATH = ["config.formats"]
USE_TZ = True
SILENCED_SYSTEM_CHECKS = [
    "auth.W004",  # `username` is unique among staff; customers have none
    "security.W021",  # HSTS preloading is for who owns the whole domain
]

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
HTTPS = not DEBUG and PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_AGE = 12 * 60 * 60  # seconds: a working day of the staff
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Strict"  # the session's stays "Lax", so that a link in a mail leads staff where it says
SECURE_SSL_REDIRECT = HTTPS and flag("SSL_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^health/", r"^metrics$"]  # asked from within, by address
SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
CONTENT_SECURITY_POLICY = {"DIRECTIVES": POLICY}
ADMIN_PATH = path_segment("ADMIN_PATH", "admin", taken={"api", "health", "metrics", "notifications", "preferences",
                                                        "static", "unsubscribe", "webhooks"})  # fmt: skip
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024  # a bulk trigger; one event is held to 64 KiB by the API

# --- servers ---------------------------------------------------------------------------------------------------
_database, REDIS_URL = servers(debug=DEBUG, data_dir=DATA_DIR)
_pool = number("NOTIFIER_DATABASE_POOL", 0)  # connections that the threads of a web process share (config/asgi.py)
WEB_DATABASE_POOL = _pool or 20  # config/asgi.py's, for who looks at a web process from elsewhere
POSTGRES_SETTINGS = (
    # a statement that hangs must end before the leases that it works under
    "statement_timeout=15000",
    "idle_in_transaction_session_timeout=30000",
    # a plan that is kept must not be one for a table that was empty then; every statement of ours has its index
    "enable_seqscan=off",
    "jit=off",  # compiling costs more than our short statements
    # who acts where nobody is named (preferences/acting.py); the history takes a session without it for a stranger's
    'notifier.acting={"kind":"ENGINE"}',
)
DATABASES = {
    "default": {
        **_database,
        "CONN_MAX_AGE": 0 if _pool else 600,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **_database.get("OPTIONS", {}),
            "connect_timeout": 5,
            "keepalives_idle": 30,
            **({"pool": {"min_size": 1, "max_size": _pool, "timeout": 4}} if _pool else {}),
            # the server keeps the plans of statements that come again: planning costs more than most of them
            "server_side_binding": True,
            # (not behind a pooler in transaction mode that cannot follow: 0)
            "prepare_threshold": number("NOTIFIER_PREPARE_AFTER", 3) or None,
            "options": " ".join(f"-c {setting}" for setting in POSTGRES_SETTINGS),
        },
    }
}
PEOPLE_CACHE_SECONDS = number("NOTIFIER_CACHE_SECONDS", 60)  # 0: none. Never out of date: preferences/resolve.py
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "people": {
        "BACKEND": "channels.resting_cache.RestingCache",
        "LOCATION": text("CACHE_URL", REDIS_URL),
        "KEY_PREFIX": "notifier:person",
        "VERSION": 1,  # of what is kept: another when it changes, so that workers of two releases understand their own
        "TIMEOUT": PEOPLE_CACHE_SECONDS,
        "OPTIONS": {
            "serializer": "channels.resting_cache.Plain",
            "socket_timeout": 0.15,
            "socket_connect_timeout": 0.15,
        },
    },
}

# --- the engine ------------------------------------------------------------------------------------------------
EVENT_CATALOGUE = "config.event_types.EVENT_TYPES"
MESSAGE_TEMPLATE_DIRS = [BASE_DIR / "config" / "message_templates"]
DEFAULT_LOCALE = "en"
LOCALES = ("en", "de")

# The time chain: each link outlasts the one before it (checked at start by notifier/checks.py).
PROVIDER_TIMEOUT = timedelta(seconds=5)
SLICE_TIMEOUT = timedelta(seconds=8)
DELIVERY_LEASE = timedelta(seconds=20)
TASK_SOFT_TIME_LIMIT = timedelta(seconds=45)
TASK_TIME_LIMIT = timedelta(seconds=60)
EVENT_LEASE = timedelta(seconds=90)
VISIBILITY_TIMEOUT = timedelta(seconds=300)

DISPATCH_BATCH = number("NOTIFIER_DISPATCH_BATCH", 500, least=1)  # events a round; alone, an event goes at once
# messages that wait in one queue, from which on its lane's events wait in the database: with one, a worker that gets
# free finds its next batch, and what comes meanwhile makes the batch after it bigger
QUEUE_BOUND = number("NOTIFIER_QUEUE_BOUND", 1, least=1)
RETRY_IN_CHORD_DUE = timedelta(seconds=30)  # when a task's own retry is lost, dispatch takes the row after this
# messages to an address by a channel; 0: any number. What 16 bits count is the most (notifier/cap.py)
DAILY_CAP = number("NOTIFIER_DAILY_CAP", 50, most=60_000)
METRICS = flag("NOTIFIER_METRICS", default=True)  # off: nothing is counted (notifier/tally.py)
MAX_CRASHES = 3  # attempts that ended with the process, before the row counts as poison
WAKE_SPREAD = timedelta(seconds=20)  # over which a recovered provider's waiting deliveries come back
REPLAY_RATE = max(1, number("NOTIFIER_REPLAY_RATE", 50))  # dead letters a second that all replays together send again
SYNTHETIC_USER = user_id("NOTIFIER_SYNTHETIC_USER")  # the id of a test user; empty: none (notifier/synthetic.py)
SYNTHETIC_EVERY = timedelta(minutes=number("NOTIFIER_SYNTHETIC_MINUTES", 5, least=1))
SYNTHETIC_WITHIN = timedelta(seconds=60)  # in which it must have reached every provider
ESCALATE_AFTER = timedelta(minutes=number("NOTIFIER_ESCALATE_MINUTES", 5, least=1))  # until the next group is told
DELIVERY_FAILED_WINDOW = timedelta(minutes=5)  # staff hear of one cause on one channel once in this time
RETENTION = timedelta(days=number("NOTIFIER_RETENTION_DAYS", 90))  # of settled events, and with them of their keys
HISTORY_RETENTION = timedelta(days=number("NOTIFIER_HISTORY_DAYS", 0))  # of who changed what; 0: for good

CUSTOMER_TOKEN_LIFETIME = timedelta(minutes=number("NOTIFIER_CUSTOMER_TOKEN_MINUTES", 60, least=1))
PAGE_LINK_LIFETIME = timedelta(days=number("NOTIFIER_PAGE_LINK_DAYS", 90, least=1))  # of the link in every mail

FAILPOINTS = text("NOTIFIER_FAILPOINTS") if DEBUG else ""  # a folder, for tests that kill (notifier/failpoints.py)

CELERY_SOURCE = text("NOTIFIER_CELERY_SOURCE", "celery")  # idempotency keys are unique within a source
# by source, the types that it may trigger; without an entry all. For Celery callers and buses: keys have their own
SOURCES = named_words("NOTIFIER_SOURCES")

BUSES = buses_from_environment()  # what manage.py consume_events can read
BUS_BATCH = number("NOTIFIER_BUS_BATCH", 2000, least=1)  # messages a transaction at most; alone, one goes at once
BUS_BACKLOG = number("NOTIFIER_BUS_BACKLOG", 100_000)  # waiting events from which on nothing is taken; 0: no limit
BUS_PORT = number("NOTIFIER_BUS_PORT", 0)  # of a consumer's health and metrics; 0: none

# --- the shop, as its customers see it -------------------------------------------------------------------------
SHOP = {
    "name": text("SHOP_NAME", "Example Shop"),
    "url": text("SHOP_URL", PUBLIC_URL),
    "order_url": text("SHOP_ORDER_URL"),  # e.g. https://shop.example/orders/{orderId}
    "logo_url": text("SHOP_LOGO_URL"),
    "support_email": text("SHOP_SUPPORT_EMAIL", "support@shop.example"),
    "legal_footer": text("SHOP_LEGAL_FOOTER", "Example Shop Ltd, 1 Market Street, Springfield"),
    "email_from": text("EMAIL_FROM", "Example Shop <orders@shop.example>"),
    "email_reply_to": text("EMAIL_REPLY_TO"),
}

# --- channels --------------------------------------------------------------------------------------------------
SANDBOX_URL = text("SANDBOX_URL", "http://127.0.0.1:8010")
CHANNELS = channels_from_environment(
    debug=DEBUG, data_dir=DATA_DIR, sandbox_url=SANDBOX_URL, public_url=PUBLIC_URL, shop=SHOP
)

# In staging, the only people whom messages reach; empty: this is no staging (notifier/borders.py)
STAGING_RECIPIENTS = recipients("STAGING_RECIPIENTS")
SMS_REGIONS = regions("SMS_REGIONS")  # countries to which texts go; none: all

# One line a record on standard error: Django alone would keep errors from the log in production.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "filters": {
        "tokens": {"()": "config.log_filters.HideTokens"},
        "bodies": {"()": "config.log_filters.HideBodies"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["tokens", "bodies"]}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "botocore": {"level": "WARNING"},  # it tells at each start where it found credentials
        # where somebody turned uvicorn's access log on; its own handler knows no filter
        "uvicorn.access": {"handlers": ["console"], "propagate": False},
    },
}

# --- Celery ----------------------------------------------------------------------------------------------------
BROKER_TRANSPORT_OPTIONS = transport_options(VISIBILITY_TIMEOUT)
globals().update(
    celery_settings(
        redis_url=REDIS_URL,
        channels=CHANNELS,
        soft=TASK_SOFT_TIME_LIMIT,
        hard=TASK_TIME_LIMIT,
        visibility_timeout=VISIBILITY_TIMEOUT,
        task_events=flag("NOTIFIER_TASK_EVENTS", default=True),  # of effect in workers, and in flowerconfig.py
    )
)
