"""Settings of the REST framework and of its OpenAPI schema, and how often callers may ask."""

from config.environment import rate

#: Requests in a time; "" is no limit (notifier/throttle.py).
API_RATES = {
    "key": rate("NOTIFIER_KEY_RATE", "60000/minute"),  # four times what one web process answers
    "address": rate("NOTIFIER_ADDRESS_RATE", "60/minute"),  # without a valid key, token, link or signature
    "customer": rate("NOTIFIER_CUSTOMER_RATE", "120/minute"),  # with their own token, or on their own pages
    "recipient": rate("NOTIFIER_RECIPIENT_RATE", "6000/minute"),  # triggers for one user or guest: no shop has so many
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "notifier.api.auth.ApiKeyAuthentication",
        "notifier.api.auth.CustomerAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["notifier.api.auth.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["notifier.api.renderers.FastJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["notifier.api.parsers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "notifier.api.errors.handle",
    "DEFAULT_THROTTLE_CLASSES": ["notifier.api.auth.CallerThrottle"],
    "DEFAULT_METADATA_CLASS": None,  # OPTIONS: the schema says all, and no browser elsewhere is to call (no CORS)
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Notifier",
    "DESCRIPTION": "Tells a shop's customers what happens to their orders.",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",  # no CDN
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "notifier.api.docs.say_what_is_refused",
    ],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
}
