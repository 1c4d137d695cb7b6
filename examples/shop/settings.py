"""The shop's settings. What matters for Notifier is at the end."""

from __future__ import annotations

from pathlib import Path

import environ

env = environ.Env()
HERE = Path(__file__).resolve().parent

DEBUG = env.bool("SHOP_DEBUG", default=False)
SECRET_KEY = env.str("SHOP_SECRET_KEY", default="for trying out only")
ALLOWED_HOSTS = env.list("SHOP_HOSTS", default=["127.0.0.1", "localhost"])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "notifier_client.outbox",
    "examples.shop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "examples.shop.urls"
ASGI_APPLICATION = "examples.shop.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "examples.shop.context.outbox",
            ]
        },
    }
]
DATABASES = {"default": env.db_url("SHOP_DATABASE_URL", default=f"sqlite:///{HERE / 'shop.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}  # writers wait for each other, and never fail
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = True  # without collectstatic
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "shop_session", "shop_csrf"  # Notifier's admin may be on the same host
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}

# Notifier: the outbox tells it what was committed, and the order's page asks it what became of that. The key's scopes
# are `trigger` and `read`.
NOTIFIER_URL = env.str("NOTIFIER_URL", default="")
NOTIFIER_API_KEY = env.str("NOTIFIER_API_KEY", default="")
NOTIFIER_OUTBOX = {"URL": NOTIFIER_URL, "API_KEY": NOTIFIER_API_KEY}
