"""``gnomon provision`` and ``gnomon report`` against a real Kafka and a real Redis."""

import re

import msgspec
import pytest
from support.logs import gnomon
from support.workers import wait_for

from schemas.report import Report
from streams.settings import Settings
from streams.topics import topics

pytestmark = pytest.mark.integration


def actions(text: str, prefix: str) -> dict[str, str]:
    """The plan as printed: action by topic."""
    lines = [line.split() for line in text.splitlines() if prefix in line and not line.startswith("gnomon:")]
    return {line[1].removeprefix(prefix): line[0] for line in lines}


def test_topics_are_planned_made_and_left_alone(kafka, prefix, monkeypatch):
    monkeypatch.setenv("GNOMON_KAFKA", kafka.bootstrap)
    monkeypatch.setenv("GNOMON_PREFIX", prefix)
    every = set(topics(Settings()))
    for arguments, expected in (["--dry-run"], "create"), (["--dry-run"], "create"), ([], "create"), (["--dry-run"], "keep"), ([], "keep"):
        if expected == "keep":  # a broker takes a moment until it tells of what it has just made
            wait_for(lambda: "create" not in gnomon("provision", "--dry-run").stdout, "all topics are known")
        result = gnomon("provision", *arguments)
        assert result.exit_code == 0, result.output
        assert actions(result.stdout, prefix) == dict.fromkeys(every, expected)
        assert re.search(rf"{expected} +{re.escape(prefix)}scored +8 partitions, kept 30d, cleanup delete\n", result.stdout)
        assert result.stdout.splitlines()[-1].endswith("gnomon provision" if arguments and expected == "create" else "gnomon worker")
    monkeypatch.setenv("GNOMON_SCORED_PARTITIONS", "5")
    result = gnomon("provision")
    assert result.exit_code == 2
    assert "scored" in result.stderr
    assert "set GNOMON_SCORED_PARTITIONS to what is there" in result.stderr


def test_a_deployment_that_has_seen_nothing_has_an_empty_report(redis_url, prefix, monkeypatch, tmp_path):
    monkeypatch.setenv("GNOMON_REDIS", redis_url)
    monkeypatch.setenv("GNOMON_PREFIX", prefix)
    result = gnomon("report", "--out", tmp_path / "report.json", "--json")
    assert result.exit_code == 0, result.output
    assert msgspec.json.decode(result.stdout, type=Report) == Report()
    assert msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=Report) == Report()
    assert "No predictions" in gnomon("report").output
