"""Sending over HTTP to a receiver that fails: what is tried again, what is not, what ends it; and that no secret shows."""

import asyncio
import logging
import shutil
import subprocess
import time
from base64 import b64encode

import pytest
from conftest import missing
from support.incidents import place
from support.ports import free_port
from support.receiver import Receiver, Reply

from streams.forward import post as module
from streams.forward.post import Answer, ForwardError, Patience, Post, StoppedError, check_url
from streams.forward.target import Request
from streams.settings import Settings

BODY = b'[{"n": 1}]'
REQUEST = Request("k", "an event", "/api", lambda now_ms: BODY, lambda now_s: {"Content-Type": "application/json"}, place(0))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(module, "FIRST_S", 0.01)


async def sent(url: str, *, give_up_s: float = 20.0, timeout_s: float = 5.0, **settings: object) -> Answer:
    patience = Patience(timeout_s=timeout_s, give_up_s=give_up_s)
    async with Post(url, Settings(**settings), patience, asyncio.Event()) as post:
        return await post.send(REQUEST)


def statuses(receiver: Receiver) -> list[int]:
    return [one.status for one in receiver.got]


@pytest.mark.parametrize("status", [0, 301, 307, 401, 403, 404, 408, 410, 425, 429, 500, 502, 503])
async def test_what_may_pass_is_tried_again(status):
    with Receiver(lambda number, body: Reply(status if number < 2 else 200)) as receiver:
        assert (await sent(receiver.url)).status == 200
        assert statuses(receiver) == [status, status, 200]
        assert {one.body for one in receiver.got} == {BODY}
        assert {one.path for one in receiver.got} == {"/api"}


async def test_what_is_sent_again_is_made_of_the_time_at_which_it_is_sent():
    """An alert that says until when it holds would else come as one that is over, after a while in vain."""
    request = REQUEST._replace(body=lambda now_ms: b"%d" % now_ms, headers=lambda now_s: {"at": str(now_s)})
    with Receiver(lambda number, body: Reply(503 if number < 2 else 200)) as receiver:
        async with Post(receiver.url, Settings(), Patience(), asyncio.Event()) as post:
            assert (await post.send(request)).status == 200
        times = [int(one.body) for one in receiver.got]
        assert times == sorted(set(times))
        assert [str(time_ms // 1000) for time_ms in times] == [one.headers["at"] for one in receiver.got]


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
async def test_what_can_never_be_taken_is_not_tried_again(status):
    with Receiver(lambda number, body: Reply(status, body=b'"no \x1b[2J good"')) as receiver:
        assert await sent(receiver.url) == Answer(status, '"no  [2J good"')
        assert statuses(receiver) == [status]


async def test_a_redirect_is_not_followed():
    with Receiver() as elsewhere, Receiver(lambda number, body: Reply(307, headers={"Location": elsewhere.url})) as receiver:
        with pytest.raises(ForwardError, match="redirects are not followed"):
            await sent(receiver.url, give_up_s=0.05, forward_token="t")  # noqa: S106  made up
        assert elsewhere.got == []


async def test_a_slow_answer_is_none():
    with Receiver(lambda number, body: Reply(wait_s=1.0 if number == 0 else 0.0)) as receiver:
        begun = time.monotonic()
        assert (await sent(receiver.url, timeout_s=0.2)).status == 200
        assert time.monotonic() - begun >= 0.2
        assert len(receiver.got) == 2


async def test_a_target_that_is_not_there_yet():
    port = free_port()
    task = asyncio.create_task(sent(f"http://127.0.0.1:{port}"))
    await asyncio.sleep(0.3)
    assert not task.done()
    with Receiver(port=port) as receiver:
        assert (await task).status == 200
        assert len(receiver.got) == 1


async def test_trying_has_an_end_that_says_what_is_wrong_and_what_becomes_of_it():
    with Receiver(lambda number, body: Reply(401)) as receiver:
        with pytest.raises(ForwardError, match=r"401; are the credentials right\?.*not acknowledged") as caught:
            await sent(receiver.url, give_up_s=0.3)
        assert receiver.url in str(caught.value)
        assert len(receiver.got) >= 3


async def test_a_target_may_ask_for_time():
    waits = {"Retry-After": "1"}
    with Receiver(lambda number, body: Reply(429 if number == 0 else 200, headers=waits)) as receiver:
        begun = time.monotonic()
        assert (await sent(receiver.url)).status == 200
        assert time.monotonic() - begun >= 1.0
    with Receiver(lambda number, body: Reply(503, headers={"Retry-After": "3600"})) as receiver:
        with pytest.raises(ForwardError, match="asks to wait 3600 s"):
            await sent(receiver.url)
        assert len(receiver.got) == 1


async def test_told_to_stop_it_waits_no_longer():
    stop = asyncio.Event()
    with Receiver(lambda number, body: Reply(wait_s=3.0)) as receiver:
        async with Post(receiver.url, Settings(), Patience(), stop) as post:
            task = asyncio.create_task(post.send(REQUEST))
            await asyncio.sleep(0.1)
            stop.set()
            begun = time.monotonic()
            with pytest.raises(StoppedError):
                await task
            assert time.monotonic() - begun < 2.0  # of 3


async def test_credentials_are_sent_and_do_not_show(caplog):
    caplog.set_level(logging.DEBUG)
    secrets = {"forward_token": "t0ken-hidden"}, {"forward_username": "ada", "forward_password": "pass-hidden"}
    basic = b64encode(b"ada:pass-hidden").decode()
    for settings, expected in zip(secrets, ("Bearer t0ken-hidden", f"Basic {basic}"), strict=True):
        echo = Reply(500, body=expected.encode())  # a target that says what it was sent
        with Receiver(lambda number, body, echo=echo: echo if number == 0 else Reply()) as receiver:
            assert (await sent(f"{receiver.url}/path-hidden", **settings)).status == 200
            assert {one.headers["authorization"] for one in receiver.got} == {expected}
            assert receiver.got[0].path == "/path-hidden/api"
    with pytest.raises(ForwardError) as caught:
        await sent(f"http://127.0.0.1:{free_port()}/path-hidden", give_up_s=0.05)
    shown = caplog.text + str(caught.value)
    assert "500" in shown
    assert "hidden" not in shown
    assert basic not in shown


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "begins with http://"),
        ("localhost:9093", "begins with http://"),
        ("file:///etc/passwd", "begins with http://"),
        ("http://", "begins with http://"),
        ("http://a:b@localhost", "GNOMON_FORWARD_USERNAME"),
        ("http://localhost:port", "expected the URL"),
        ("http://a..b", "expected the URL"),
        ("https://a/?key=1", "without a query"),
        ("http://10.0.0.1", "in clear"),
        ("http://127.0.0.1.example", "in clear"),
    ],
)
def test_a_url_that_cannot_be_used(url, says):
    with pytest.raises(ForwardError, match=says) as caught:
        check_url(url, Settings(forward_token="t"))  # noqa: S106  made up
    assert "key=1" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:9093", "http://127.0.0.1", "http://[::1]:9", "https://alerts.example/a"])
def test_a_url_that_credentials_may_go_to(url):
    assert check_url(url + "/", Settings(forward_token="t")) == url  # noqa: S106


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate of 127.0.0.1 that it signs itself, and one of another host."""
    if shutil.which("openssl") is None:
        missing("there is no openssl")
    files = []
    for name in ("IP:127.0.0.1", "DNS:alerts.example"):
        file = tmp_path_factory.mktemp("tls") / "both.pem"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=a",
        ]
        subprocess.run([*command, "-addext", f"subjectAltName={name}", "-keyout", file, "-out", file], check=True, capture_output=True)
        files.append(file)
    return files


async def test_only_a_certificate_that_is_trusted_and_of_this_host_will_do(certificate):
    ours, anothers = certificate
    with Receiver(tls=ours) as receiver:
        assert (await sent(receiver.url, forward_ca_file=ours)).status == 200
        with pytest.raises(ForwardError, match="certificate"):  # the system does not trust it
            await sent(receiver.url, give_up_s=0.05)
        assert len(receiver.got) == 1
    with Receiver(tls=anothers) as receiver:
        with pytest.raises(ForwardError, match="certificate"):
            await sent(receiver.url, give_up_s=0.05, forward_ca_file=anothers)
        assert receiver.got == []
