"""Sending requests over HTTP: tried again while that may help, and not for ever.

What an answer means:

- 2xx: taken.
- 400, 409, 413, 415, 422: this event will never be taken; whoever asked is told, and goes on.
- Anything else, no answer, or none in time: weather, or a target that is set up wrongly. Tried again with growing pauses; after
  ``give_up_s`` it is an error that ends the process, with nothing acknowledged: no alert is dropped because a token has expired.

Redirects are not followed: credentials would follow them.
"""

import asyncio
import ipaddress
import logging
import random
import ssl
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from types import TracebackType
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import aiohttp

from streams.errors import StreamsError
from streams.forward.target import Request
from streams.settings import MASK, Settings

log = logging.getLogger(__name__)
T = TypeVar("T")

REFUSED = frozenset({400, 409, 413, 415, 422})
FIRST_S, LONGEST_S = 0.5, 30.0  # pauses between attempts
MOST_ANSWER = 4096  # bytes of an answer that are read
SHOWN = 200  # characters of it that are logged


class ForwardError(StreamsError):
    """What ends a forwarder: nothing that was not taken is acknowledged, so that another start goes on from there."""


class StoppedError(Exception):
    """The forwarder was told to stop while it waited."""


class Answer(NamedTuple):
    """An answer of the target; ``status`` 0: there was none."""

    status: int
    text: str
    wait_s: float = 0.0  # how long it asks us to wait


def check_url(url: str, settings: Settings) -> str:
    """Return the URL without its last slash.

    Raises
    ------
    ForwardError
        If it is not an HTTP URL that credentials may be sent to.

    Examples
    --------
    >>> check_url("http://localhost:9093/", Settings())
    'http://localhost:9093'
    >>> check_url("http://alerts.example", Settings(forward_token="t0ken"))
    Traceback (most recent call last):
    streams.forward.post.ForwardError: http://alerts.example: credentials would be sent in clear; use https://, or a target on this machine

    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError as error:
        raise ForwardError(f"expected the URL of a target, such as http://localhost:9093: {error}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ForwardError("expected the URL of a target that begins with http:// or https://, such as http://localhost:9093")
    if parts.username or parts.password:
        raise ForwardError("the URL holds a user or password: give them as GNOMON_FORWARD_USERNAME and GNOMON_FORWARD_PASSWORD instead")
    if parts.query or parts.fragment:
        raise ForwardError("expected a URL without a query (?) and fragment (#); secrets are given as GNOMON_FORWARD_TOKEN")
    if parts.scheme == "http" and (settings.forward_token or settings.forward_password) and not _loopback(host):
        raise ForwardError(f"{shown(url)}: credentials would be sent in clear; use https://, or a target on this machine")
    return url.rstrip("/")


def authorization(settings: Settings) -> str:
    """Return what proves to the target who we are; empty: nothing does.

    Raises
    ------
    ForwardError
        If the settings contradict each other.

    Examples
    --------
    >>> authorization(Settings(forward_username="ada", forward_password="pass"))
    'Basic YWRhOnBhc3M='

    """
    token, user, password = settings.forward_token, settings.forward_username, settings.forward_password
    if bool(user) != bool(password):
        raise ForwardError("GNOMON_FORWARD_USERNAME and GNOMON_FORWARD_PASSWORD: expected both or neither")
    if token and password:
        raise ForwardError("GNOMON_FORWARD_TOKEN and GNOMON_FORWARD_PASSWORD are both set: keep one")
    if not (token.isascii() and token.isprintable()):
        raise ForwardError("GNOMON_FORWARD_TOKEN: expected printable ASCII: it is sent in a header")
    return f"Bearer {token}" if token else f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}" if password else ""


def shown(url: str) -> str:
    """Return what may be told of a URL: where it leads, without its path, which may be a secret.

    >>> shown("https://hooks.example/T0/s3cret")
    'https://hooks.example'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for one answer, and how long to try for one that takes the request."""

    timeout_s: float = 10.0
    give_up_s: float = 600.0


class Post:
    """Sends to one target.

    Parameters
    ----------
    url
        As ``check_url`` returns it.
    settings
        Credentials, and the certificates to trust.
    patience
        Timeouts.
    stop
        Set when the forwarder is told to stop; whatever waits then ends in ``StoppedError``.
    heard
        Called with whether the last attempt was good.

    """

    def __init__(
        self, url: str, settings: Settings, patience: Patience, stop: asyncio.Event, heard: Callable[[bool], object] = lambda good: None
    ) -> None:
        self.where = shown(url)
        self._url = url
        self._patience = patience
        self._stop = stop
        self._heard = heard
        self._secrets = [one for one in (settings.forward_token, settings.forward_password, settings.forward_signing_key) if one]
        self._headers = {"User-Agent": f"gnomon/{version('gnomon')}"}
        if proof := authorization(settings):
            self._headers["Authorization"] = proof
            self._secrets.append(proof.partition(" ")[2])
        self._tls = ssl.create_default_context(cafile=str(settings.forward_ca_file) if settings.forward_ca_file else None)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Post":
        """Open the session."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._patience.timeout_s),
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=4),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    async def probe(self, path: str) -> None:
        """Wait until the target answers a GET of ``path`` with 200.

        Raises
        ------
        ForwardError
            If it does not in time.
        StoppedError
            If told to stop meanwhile.

        """
        await self._insist("GET", path, None, lambda answer: answer.status == 200)

    async def send(self, request: Request) -> Answer:
        """Send a request until the target takes or refuses it.

        Raises
        ------
        ForwardError
            If it does neither in time.
        StoppedError
            If told to stop meanwhile.

        """
        return await self._insist("POST", request.path, request, lambda answer: answer.status // 100 == 2 or answer.status in REFUSED)

    async def _insist(self, method: str, path: str, request: Request | None, final: Callable[[Answer], bool]) -> Answer:
        begun_s, pause_s, failed = time.monotonic(), FIRST_S, False
        while True:
            answer = await self._unless_stopped(self._once(method, path, request))
            good = final(answer)
            self._heard(good)
            if good:
                if failed:
                    log.warning("%s: back after %.1f s", self.where, time.monotonic() - begun_s)
                return answer
            tried_s = time.monotonic() - begun_s
            wait_s = max(answer.wait_s, pause_s * random.uniform(0.5, 1.0))  # noqa: S311  # spreads attempts, keeps no secret
            if tried_s + wait_s > self._patience.give_up_s:
                asks = f", and it asks to wait {answer.wait_s:g} s" if answer.wait_s else ""
                raise ForwardError(
                    f"{self.where} does not take alerts: {said(answer)}; tried for {tried_s:.0f} s{asks}. "
                    "What it did not take is not acknowledged, and is sent when the command is started again"
                )
            log.warning("%s: %s; trying again in %.1f s", self.where, said(answer), wait_s)
            await self._unless_stopped(asyncio.sleep(wait_s))
            pause_s, failed = min(2 * pause_s, LONGEST_S), True

    async def _once(self, method: str, path: str, request: Request | None) -> Answer:
        assert self._session is not None, "used outside of its context"  # noqa: S101
        now_ms = int(time.time() * 1000)
        body, headers = (request.body(now_ms), request.headers(now_ms // 1000)) if request else (None, {})
        try:
            async with self._session.request(method, self._url + path, data=body, headers=headers, allow_redirects=False) as response:
                text = (await response.content.read(MOST_ANSWER)).decode(errors="replace")
                return Answer(response.status, self._masked(text), _wait_s(response.headers.get("Retry-After", "")))
        except TimeoutError:
            return Answer(0, f"no answer within {self._patience.timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            told = isinstance(error, aiohttp.ClientConnectionError | OSError)  # others may name the whole URL
            return Answer(0, self._masked((told and str(error)) or type(error).__name__))

    async def _unless_stopped(self, work: Awaitable[T]) -> T:
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise StoppedError
        finally:
            for each in (task, stopped):
                each.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return "".join(c if c.isprintable() else " " for c in text[:SHOWN]).strip()


def said(answer: Answer) -> str:
    """Return an answer as a person reads it.

    >>> said(Answer(503, "busy")), said(Answer(0, "connection refused")), said(Answer(301, ""))
    ('503 busy', 'connection refused', '301; redirects are not followed, give the URL that it leads to')
    """
    if not answer.status:
        return answer.text
    if answer.status // 100 == 3:
        return f"{answer.status}; redirects are not followed, give the URL that it leads to"
    hint = {401: "; are the credentials right?", 403: "; may these credentials do that?", 404: "; is the URL right?"}
    return f"{answer.status} {answer.text}".rstrip() + hint.get(answer.status, "")


def _wait_s(text: str) -> float:
    """Return the seconds that a Retry-After header asks for; 0 where it does not say so."""
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time()) if text else 0.0
    except ValueError:
        return 0.0
