"""``gnomon retrain-hook``: mistakes are told before Kafka is asked."""

import pytest
from support.logs import gnomon

from streams.forward.post import ForwardError


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such-command"], "there is no command 'no-such-command' that can be run"),
        (["--timeout", "soon", "true"], "--timeout: "),
        (["--give-up", "1ms", "true"], "--give-up: expected a duration of at least 100ms, got '1ms'"),
        (["--name", "a b", "true"], "--name: expected up to 100 letters"),
        (["--loglevel", "loud", "true"], "--loglevel: expected one of DEBUG"),
    ],
)
def test_mistakes_are_told(words, said):
    result = gnomon("retrain-hook", *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_kafka_that_is_away_is_trouble(monkeypatch):
    def away(*_, **__):
        raise ForwardError("Kafka at nowhere: is away")

    monkeypatch.setattr("streams.retrain_hook.Feed", away)
    result = gnomon("retrain-hook", "--", "true", "--not-an-option-of-ours")
    assert result.exit_code == 1
    assert "is away" in result.stderr
