"""A webhook: every event as a CloudEvent in JSON, each by itself and in order, signed where there is a key."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping

from schemas.findings import STRUCTURED, Event, to_json
from streams.forward.target import Options, Place, Request, Target

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64  # bytes of a key

_PLAIN = re.compile(r"[A-Za-z0-9_:/-]{1,256}", re.ASCII)


class Webhook(Target):
    """Events for an HTTP receiver, in CloudEvents' structured mode.

    Headers are those of Standard Webhooks: ``webhook-id`` is the same for each delivery of an event, so a receiver can drop repeats;
    ``webhook-signature`` covers it, the time of the attempt and the body.

    Raises
    ------
    ValueError
        If the signing key is not one.

    References
    ----------
    Standard Webhooks 1.0: https://www.standardwebhooks.com/. CloudEvents 1.0, HTTP protocol binding.

    """

    name = "webhook"
    doc = "Any HTTP receiver: every event as a CloudEvent in JSON, signed where there is a key."
    topics = ("drift", "fatigue", "retrain", "statistics")
    remembers = False

    def __init__(self, options: Options) -> None:
        if options.labels:
            raise ValueError("a webhook has no labels: leave out --label")
        self._key = signing_key(options.signing_key) if options.signing_key else b""
        self._waiting: dict[str, Request] = {}  # in order

    def take(self, event: Event, place: Place, *, fresh: bool) -> None:
        """Line up an event."""
        if not fresh:
            return
        body, ident = to_json(event), header_id(event.id)

        def headers(now_s: int) -> Mapping[str, str]:
            signed = {"webhook-signature": signature(self._key, ident, now_s, body)} if self._key else {}
            return {"Content-Type": STRUCTURED, "webhook-id": ident, "webhook-timestamp": str(now_s), **signed}

        key = f"{place.topic}/{place.partition}/{place.offset}"
        self._waiting[key] = Request(key, f"{event.type.value} {event.subject} [{event.id}]", "", lambda _: body, headers, place)

    def requests(self, now_ms: int) -> list[Request]:
        """Return what is waiting."""
        return list(self._waiting.values())

    def told(self, request: Request, now_ms: int) -> None:
        """Drop what was taken."""
        del self._waiting[request.key]

    def refused(self, request: Request) -> None:
        """Drop what will never be taken."""
        del self._waiting[request.key]


def signing_key(text: str) -> bytes:
    """Return the bytes of a signing key.

    >>> len(signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    24
    >>> signing_key("secret")
    Traceback (most recent call last):
    ValueError: expected a signing key: whsec_ and the base64 of 24 to 64 random bytes
    """
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        raise ValueError(f"expected a signing key: {PREFIX} and the base64 of {SHORTEST} to {LONGEST} random bytes")
    return key


def signature(key: bytes, ident: str, now_s: int, body: bytes) -> str:
    """Return the signature of a delivery.

    >>> key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    >>> signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    digest = hmac.digest(key, f"{ident}.{now_s}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(digest).decode()


def header_id(ident: str) -> str:
    """Return an event's id as a header may hold it: itself, or a hash of it.

    >>> header_id("3f2a-1"), header_id("a.b")
    ('3f2a-1', 'sha256-2e7336dc8eba87ef472df568c35482ab')
    """
    return ident if _PLAIN.fullmatch(ident) else f"sha256-{hashlib.sha256(ident.encode()).hexdigest()[:32]}"
