"""Google's OAuth token exchange: a signed JWT goes in, an access token comes out.

The signature is not checked: the public key of a service account made by `write_service_account` stays with
Google in real life, and nowhere here. Issuer, audience, time and scope are.
"""

from __future__ import annotations

import base64
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox import credentials
from sandbox.faults import Cut, Faults
from sandbox.provider import decode

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPES = {
    "https://www.googleapis.com/auth/firebase.messaging",
    "https://www.googleapis.com/auth/cloud-platform",
}
CLOCK_SKEW = 300  # seconds
LIFETIME = 3_599  # seconds, as Google says


async def exchange(request: Request) -> Response:
    """POST /token."""
    form = dict(parse_qsl((await request.body()).decode(errors="replace")))
    faults: Faults = request.app.state.faults
    fault = faults.strike("google", ())
    if fault and fault.mode == "latency":
        await request.app.state.store.pause(fault.latency)
    elif fault and fault.mode in ("status", "rate_limit"):
        return _error("internal_failure", "", fault.status if fault.mode == "status" else 429)
    elif fault:
        return Cut(after=None if fault.mode == "timeout" else 0)
    return _answer(form, request.url.path)


def _answer(form: dict[str, str], path: str) -> Response:
    if form.get("grant_type") != GRANT:
        return _error("unsupported_grant_type", "Invalid grant_type: " + form.get("grant_type", ""))
    claims = _claims(form.get("assertion", ""))
    if claims is None:
        return _error("invalid_grant", "Invalid JWT Signature.")
    if claims.get("iss") != credentials.FCM_CLIENT_EMAIL:
        return _error("invalid_grant", "Invalid grant: account not found")
    if urlsplit(str(claims.get("aud"))).path != path:
        return _error("invalid_grant", "Invalid JWT: Failed audience check.")
    if not _in_time(claims):
        return _error(
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
            "Check your iat and exp values in the JWT claim.",
        )
    if not SCOPES & set(str(claims.get("scope", "")).split()):
        return _error("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
    token = {"access_token": credentials.FCM_ACCESS_TOKEN, "expires_in": LIFETIME, "token_type": "Bearer"}
    return JSONResponse(token)


def _claims(assertion: str) -> dict[str, Any] | None:
    """The claims of an RS256 JWT; None for anything else."""
    parts = assertion.split(".")
    try:
        header, claims, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts)
    except ValueError:
        return None
    fields = decode(header)
    if not signature or not isinstance(fields, dict) or fields.get("alg") != "RS256":
        return None
    found = decode(claims)
    return found if isinstance(found, dict) else None


def _in_time(claims: dict[str, Any]) -> bool:
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int | float) or not isinstance(expires, int | float):
        return False
    now = time.time()
    return issued - CLOCK_SKEW <= now < expires + CLOCK_SKEW and expires - issued <= 3_600


def _error(error: str, description: str, status: int = 400) -> Response:
    return JSONResponse({"error": error, "error_description": description}, status)
