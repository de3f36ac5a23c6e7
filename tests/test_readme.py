"""Every block of code in the README is run, or held against what it speaks of."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition
from support.logs import gnomon

from schemas.codec import Fault, decode_records
from schemas.outcome import Outcome
from schemas.policy import parse_policy
from schemas.prediction import Prediction
from streams.cli.main import app
from streams.embedded import PARTITIONS, MockBroker
from streams.settings import describe
from streams.topics import topics

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = {info.callback.__name__ for info in app.registered_commands}


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def commands() -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for text in blocks("bash") for line in text.splitlines()]
    return [line for line in lines if line]


def records() -> tuple[Prediction, Outcome]:
    made, known = blocks("json")
    [(_, prediction, _)] = decode_records(made.encode(), Prediction)
    [(_, outcome, _)] = decode_records(known.encode(), Outcome)
    assert not isinstance(prediction, Fault), prediction
    assert not isinstance(outcome, Fault), outcome
    return prediction, outcome


def test_no_block_is_left_out():
    assert {name for name, _ in BLOCKS} == {"bash", "json", "mermaid", "python", "toml"}
    assert README.count("```") == 2 * len(BLOCKS)


def test_the_records_are_records_of_one_request():
    prediction, outcome = records()
    assert prediction.request_id == outcome.request_id
    assert set(json.loads(blocks("json")[0])) <= set(Prediction.__struct_fields__)  # an unknown field would be ignored
    assert set(json.loads(blocks("json")[1])) <= set(Outcome.__struct_fields__)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_sends_records_that_can_be_read(number, monkeypatch):
    with MockBroker() as broker:
        env = broker.environment()
        monkeypatch.delenv("GNOMON_PREFIX", raising=False)
        code = blocks("python")[number]
        assert "localhost:9092" in code
        exec(compile(code.replace("localhost:9092", broker.bootstrap), "README", "exec"), {})  # noqa: S102  our own README
        sent = {topic: received(broker.bootstrap, f"{env['GNOMON_PREFIX']}{topic}") for topic in ("predictions", "outcomes")}
    assert sent["predictions"]
    for topic, kind in (("predictions", Prediction), ("outcomes", Outcome)):
        for value in sent[topic]:
            [(_, record, _)] = decode_records(value, kind)
            assert not isinstance(record, Fault), record


def received(bootstrap: str, topic: str) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "readme", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    values = [message.value() for message in consumer.consume(10, 2.0) if message.error() is None]
    consumer.close()
    return values


@pytest.mark.parametrize("text", blocks("toml"))
def test_policies_are_policies(text):
    assert parse_policy(text).models


def test_commands_are_ones_that_there_are():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    settings = {row.env for row in describe()}
    seen = set()
    for line in commands():
        seen.add(line[0])
        if line[0] == "make":
            assert line[1] in targets
        elif line[0] == "gnomon":
            assert line[1] in COMMANDS
            shown = gnomon(line[1], "--help").output
            assert all(word in shown for word in line if word.startswith("--"))
        elif line[0] == "export":
            assert line[1].split("=")[0] in settings
        elif line[0] == "mkdir":
            file = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["secrets"]["secret_key"]["file"]
            assert line[-1] == file.removeprefix("./")
            assert line[:7] == ["mkdir", "-m", "700", str(Path(line[-1]).parent), "&&", "openssl", "rand"]
        elif line[0] == "docker":
            assert (ROOT / "docker-compose.yml").exists()
            assert line[1:] == ["compose", "up", "--detach"]
        else:
            assert line[:5] == ["python3", "-m", "venv", "gnomon", "&&"]
            pip = ["gnomon/bin/pip", "install"]
            assert line[5:] == [*pip, "--require-hashes", "-r", "requirements.lock", "&&", *pip, "--no-deps", "."]
            assert (ROOT / "requirements.lock").exists()
    assert seen == {"make", "gnomon", "export", "mkdir", "docker", "python3"}


def test_the_replay_of_the_readme_runs(tmp_path, monkeypatch):
    made, known = blocks("json")
    (tmp_path / "predictions.jsonl").write_text(made)
    (tmp_path / "outcomes.jsonl").write_text(known)
    (tmp_path / "policy.toml").write_text(blocks("toml")[0])
    monkeypatch.chdir(tmp_path)
    lines = [line[1:] for line in commands() if line[0] == "gnomon" and line[1] in {"replay", "check"}]
    assert len(lines) == 4
    for line in lines:
        result = gnomon(*line)
        assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "report.json").read_text())["join"]["joined"] == 1
    assert (tmp_path / "events.jsonl").exists()
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_the_picture_shows_every_topic_of_the_flow():
    [picture] = blocks("mermaid")
    drawn = set(re.findall(r"[a-z][a-z-]*", picture))
    later = {"fatigue", "retrain", "audit"}  # named in the text as still to come, or for other readers
    assert {topic for topic in topics_of_the_flow() if topic not in later} <= drawn
    assert picture.startswith("flowchart")


def topics_of_the_flow() -> set[str]:
    from streams.settings import Settings

    return set(topics(Settings()))


@pytest.mark.parametrize("page", ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md")))])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_places_that_are_named_exist():
    for place in re.findall(r"`((?:tests|schemas|detectors|streams|docs)/[\w/.-]*)`", README):
        assert (ROOT / place).exists(), place


def test_compose_says_what_the_readme_says():
    text = (ROOT / "docker-compose.yml").read_text()
    [made] = [line for line in README.splitlines() if line.startswith("mkdir")]
    assert made.split("    #")[0] in text
