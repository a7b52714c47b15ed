"""Signs what a webhook is sent, and checks it at the receiver: `t=SECONDS,v1=HEX`, as Stripe and others do.

v1 is HMAC-SHA256 with the shared secret over the time, a dot and the body. The time is the attempt's, so that what somebody
recorded is worth nothing later.
"""

from __future__ import annotations

import hashlib
import hmac
import time

from ..errors import InputError

HEADER = "X-PaliJet-Signature"


def sign(secret: str, body: bytes, at: int) -> str:
    """The header's value. at: seconds since 1970."""
    return f"t={at},v1={_digest(secret, body, at)}"


def verify(secret: str, body: bytes, signature: str, *, tolerance_s: float = 300.0, now: float | None = None) -> None:
    """See that a body came from who has the secret, and came just now. For receivers; body: as it came, before parsing.

    Raises:
        InputError: it did not, or the header is none.
    """
    fields = dict(part.split("=", 1) for part in signature.split(",") if "=" in part)
    if not fields.get("t", "").isdecimal() or "v1" not in fields:
        raise InputError(f"{HEADER} is {signature!r}; it should be t=SECONDS,v1=HEX")
    at = int(fields["t"])
    if not hmac.compare_digest(_digest(secret, body, at).encode(), fields["v1"].encode()):
        raise InputError(f"{HEADER} does not fit the body; see that both sides have the same secret")
    if abs((time.time() if now is None else now) - at) > tolerance_s:
        raise InputError(f"{HEADER} is of another time, {at}; set the clocks, or somebody sends an old message again")


def _digest(secret: str, body: bytes, at: int) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
