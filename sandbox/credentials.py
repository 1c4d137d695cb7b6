"""The sandbox's fixed credentials: worth nothing anywhere else, so that development needs no secrets.

python -m sandbox.credentials PATH TOKEN_URI        writes a service account that the sandbox accepts
"""

from __future__ import annotations

import argparse
import json
import uuid
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

SENDGRID_API_KEY = "SG.sandbox.only-for-the-stand-in-on-loopback"
TWILIO_ACCOUNT_SID = "AC00000000000000000000000000005a5a"
TWILIO_AUTH_TOKEN = "sandbox-auth-token"  # noqa: S105 - accepted by the sandbox alone
TWILIO_FROM = "+12025550100"
FCM_PROJECT_ID = "notifier-sandbox"
FCM_CLIENT_EMAIL = f"notifier@{FCM_PROJECT_ID}.iam.gserviceaccount.com"
# one token for ever: a sandbox that was restarted still accepts what clients hold in their caches
FCM_ACCESS_TOKEN = "ya29.sandbox-access-token"  # noqa: S105


def write_service_account(path: Path, token_uri: str) -> None:
    """Write a service account as Google's console hands it out: a fresh RSA key, readable by us alone.

    `token_uri` is where the token exchange happens: the sandbox's address followed by `/token`.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account = {
        "type": "service_account",
        "project_id": FCM_PROJECT_ID,
        "private_key_id": uuid.uuid4().hex,
        "private_key": _pem(key),
        "client_email": FCM_CLIENT_EMAIL,
        "client_id": "100000000000000000001",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_uri,
        "universe_domain": "googleapis.com",
    }
    # written beside and moved into place: processes that start together never read half a file
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(account, indent=2))
    draft.replace(path)


def _pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a service account that the sandbox accepts.")
    parser.add_argument("path", type=Path)
    parser.add_argument("token_uri")
    arguments = parser.parse_args()
    write_service_account(arguments.path, arguments.token_uri)


if __name__ == "__main__":
    main()
