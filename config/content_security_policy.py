"""Which sources a page may load from, by what it is: nothing from elsewhere, and no script that stands in the page.

The admin's pages evaluate their attributes (Alpine) and carry styles, so theirs is a little wider.
"""

from __future__ import annotations

from typing import Any

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest, HttpResponseBase

POLICY: dict[str, Any] = {
    "default-src": [NONE],
    "script-src": [SELF],
    "style-src": [SELF],
    "img-src": [SELF, "data:", "https:"],  # the shop's logo is wherever the shop has it
    "font-src": [SELF],
    "connect-src": [SELF],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
    "base-uri": [NONE],
}
# the one script that stands in a page: django-celery-beat's, which hides what a kind of schedule does not need
BEAT_SCRIPT = "'sha256-QE3U2xYF7B4J2ro1/9oxiKhaWCGW39gB7ocQ/xlD0bE='"
ADMIN = {
    "script-src": [SELF, UNSAFE_EVAL, BEAT_SCRIPT],
    "style-src": [SELF, UNSAFE_INLINE],
    "img-src": [SELF, "data:"],
}
EDITOR = "notifier_templateversion_edit"  # shows mails in frames, which are under its policy
DOCS = {"style-src": [SELF, UNSAFE_INLINE], "img-src": [SELF, "data:"]}  # Swagger UI writes styles into its page


class ContentSecurityPolicy(CSPMiddleware):
    """django-csp's, with the policy of the page that was asked for."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        match = request.resolver_match
        if match and match.url_name == EDITOR:
            parts.replace = ADMIN | {"img-src": POLICY["img-src"]}
        elif match and match.app_name == "admin":
            parts.replace = ADMIN
        elif match and match.url_name == "docs":
            parts.replace = DOCS
        return parts
