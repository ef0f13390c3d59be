"""Signatures of webhooks, as Standard Webhooks 1.0 has them: an HMAC over the message's id, the time of this try and
the body, base64, in `webhook-signature`. https://www.standardwebhooks.com

A hook's secret is not stored: it is made of the platform's own key and a salt that the hook's row holds, so that a copy
of the database signs nothing.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable

PREFIX = "whsec_"


def secret_of(platform_key: str, salt: str) -> str:
    made = hmac.new(platform_key.encode(), f"flywheel webhook {salt}".encode(), hashlib.sha256).digest()
    return PREFIX + base64.b64encode(made).decode()


def fingerprint(secret: str) -> str:
    """Tells secrets apart without giving one away."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def signature(secret: str, message: str, timestamp: int, body: str) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = hmac.new(key, f"{message}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def headers(message: str, timestamp: int, body: str, secrets: Iterable[str]) -> dict[str, str]:
    """One signature for each secret that is valid now: a receiver that knows either of them is content."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "Flywheel-Webhooks/1",
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, message, timestamp, body) for secret in secrets),
    }
