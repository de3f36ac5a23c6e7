"""``gnomon forward``: mistakes are told before anything is read."""

import logging

import pytest
from support.logs import gnomon
from support.ports import free_port
from support.receiver import Receiver, Reply

URL = "http://localhost:9093"


@pytest.fixture(autouse=True)
def root_logger_as_before():
    """The command sets up logging for its process, which here is the tests'."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["alertmanger", URL], "did you mean: gnomon forward alertmanager?"),
        (["pager", URL], "there are alertmanager, webhook"),
        (["alertmanager", URL, "--topic", "retrain"], "alertmanager takes drift, fatigue; got 'retrain'"),
        (["webhook", URL, "--topic", "scored"], "webhook takes drift, fatigue, retrain, statistics"),
        (["webhook", URL, "--label", "a=b"], "leave out --label"),
        (["alertmanager", URL, "--label", "ab"], "expected NAME=VALUE, got 'ab'"),
        (["alertmanager", URL, "--label", "model_id=x"], "Gnomon's own"),
        (["alertmanager", URL, "--min-severity", "huge"], "minor, major, critical"),
        (["alertmanager", URL, "--resend", "often"], "--resend: expected a duration"),
        (["alertmanager", URL, "--timeout", "0s"], "--timeout: expected a duration from 100ms"),
        (["alertmanager", URL, "--give-up", "2d"], "--give-up: expected a duration from 100ms to 1d"),
        (["alertmanager", URL, "--name", "a b"], "--name: expected"),
        (["alertmanager", URL, "--loglevel", "LOUD"], "WARNING"),
        (["alertmanager"], "begins with http://"),
        (["alertmanager", "localhost:9093"], "begins with http://"),
    ],
)
def test_a_mistake_is_told(arguments, says):
    result = gnomon("forward", *arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr


TOKEN = {"GNOMON_FORWARD_TOKEN": "hidden"}


@pytest.mark.parametrize(
    ("settings", "url", "says"),
    [
        (TOKEN, "http://alerts.example", "in clear"),
        (
            TOKEN | {"GNOMON_FORWARD_USERNAME": "a", "GNOMON_FORWARD_PASSWORD": "hidden"},
            URL,
            "TOKEN and GNOMON_FORWARD_PASSWORD are both set",
        ),
        ({"GNOMON_FORWARD_PASSWORD": "hidden"}, URL, "expected both or neither"),
        ({"GNOMON_FORWARD_USERNAME": "ada"}, URL, "expected both or neither"),
        ({"GNOMON_FORWARD_TOKEN": "hidden\nX: y"}, URL, "expected printable ASCII"),
        ({"GNOMON_FORWARD_SIGNING_KEY": "hidden"}, URL, "whsec_"),
        ({"GNOMON_FORWARD_URL": "https://alerts.example/hidden"}, URL, "given twice"),
    ],
)
def test_settings_that_do_not_fit(monkeypatch, settings, url, says):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    result = gnomon("forward", "webhook", url)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert "hidden" not in result.output


def test_a_url_that_is_no_alertmanagers():
    with Receiver(lambda number, body: Reply(404)) as receiver:
        result = gnomon("forward", "alertmanager", receiver.url, "--give-up", "100ms")
    assert result.exit_code == 1
    assert "404; is the URL right?" in result.stderr
    assert receiver.got[0].path == "/api/v2/status"


def test_a_kafka_that_is_away(monkeypatch):
    monkeypatch.setattr("streams.forward.feed.TIMEOUT_S", 1.0)
    monkeypatch.setenv("GNOMON_KAFKA", "127.0.0.1:1")
    with Receiver() as receiver:
        result = gnomon("forward", "webhook", receiver.url)
    assert result.exit_code == 1
    assert "GNOMON_KAFKA" in result.stderr
    assert receiver.got == []


def test_a_port_that_is_taken(monkeypatch):
    with Receiver() as receiver:
        monkeypatch.setenv("GNOMON_FORWARD_HTTP_PORT", str(receiver.port))
        result = gnomon("forward", "alertmanager", f"http://127.0.0.1:{free_port()}")
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{receiver.port}" in result.stderr
