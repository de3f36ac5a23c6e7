"""The AsyncAPI document: judged by the official parser, and its examples by the schemas that stand in it."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
from jsonschema import Draft7Validator, FormatChecker
from support.logs import gnomon

from schemas.findings import DATA, EventType, from_json, to_binary
from schemas.json_schemas import RECORDS
from streams.asyncapi import document, to_text
from streams.settings import Settings
from streams.topics import EVENT_TOPICS, topics

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "asyncapi.json").read_text()
DOCUMENT = json.loads(TEXT)
MESSAGES = DOCUMENT["components"]["messages"]
EXAMPLES = [pytest.param(name, example, id=example["name"]) for name, made in MESSAGES.items() for example in made.get("examples", ())]
GOLDEN = ROOT / "tests" / "golden"


def faults(said):
    return [one for one in said if one["severity"] in {"Error", "Warning"}]


def test_the_official_parser_finds_nothing_wrong(asyncapi_parser):
    found = asyncapi_parser(TEXT)
    assert faults(found["said"]) == []
    assert found["parsed"]
    assert set(found["channels"]) == {f"gnomon.{name}" for name in topics(Settings())}
    assert found["channels"]["gnomon.retrain"] == ["gnomon.retrain.requested", "gnomon.retrain.cancelled"]


def broken(*path, value):
    made = deepcopy(DOCUMENT)
    *parents, last = path
    part = made
    for name in parents:
        part = part[name]
    assert part[last] != value
    part[last] = value
    return made


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(broken("operations", "send-drift", "action", value="publish"), id="an action of AsyncAPI 2"),
        pytest.param(broken("components", "messages", "outcome", "payload", value={"$ref": "#/components/schemas/No"}), id="reference"),
        pytest.param(broken("components", "schemas", "Outcome", "properties", "cost", value={"type": "money"}), id="schema"),
        pytest.param(broken("channels", "drift", "bindings", "kafka", "partitions", value="one"), id="binding"),
        pytest.param(broken("channels", "drift", "messages", "gnomon.drift.opened", value={"payload": 1}), id="message"),
    ],
)
def test_the_official_parser_finds_what_is_wrong(asyncapi_parser, made):
    assert faults(asyncapi_parser(json.dumps(made))["said"])


def validator(schema):
    return Draft7Validator({**schema, "components": DOCUMENT["components"]}, format_checker=FormatChecker())


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_examples_are_what_their_schemas_say(name, example):
    payload = validator(MESSAGES[name]["payload"])
    payload.validate(example["payload"])
    validator(MESSAGES[name].get("headers", {})).validate(example.get("headers", {}))
    required = DOCUMENT["components"]["schemas"][title(name)]["required"]
    for one in required:
        assert not payload.is_valid({key: value for key, value in example["payload"].items() if key != one}), one
    assert required


def title(message):
    return DATA[EventType(message)].__name__ if message.startswith("gnomon.") else RECORDS[message].__name__


def test_every_golden_record_is_an_example_of_its_message():
    wanted = {path.name.removesuffix(".json") for path in GOLDEN.glob("*.json")} - {"report.v1"}
    assert {param.id for param in EXAMPLES} == {name for name in wanted if not name.startswith("scored.")}


@pytest.mark.parametrize("event", EventType)
def test_an_event_has_the_headers_that_are_sent(event):
    sent, value = to_binary(from_json((GOLDEN / f"event.{event.value.removeprefix('gnomon.')}.v1.json").read_bytes()))
    headers = {name: text.decode() for name, text in sent}
    validator(MESSAGES[event]["headers"]).validate(headers)
    assert set(headers) == set(MESSAGES[event]["headers"]["required"])
    validator(MESSAGES[event]["payload"]).validate(json.loads(value))
    assert event.value in DOCUMENT["channels"][EVENT_TOPICS[event]]["messages"]


def test_many_records_may_be_one_message():
    one = json.loads((GOLDEN / "outcome.minimal.v1.json").read_text())
    payload = validator(MESSAGES["outcome"]["payload"])
    assert payload.is_valid([one, one])
    assert not payload.is_valid([one, 1])


def test_every_public_record_stands_on_a_topic():
    data = {name for name, record in RECORDS.items() if record in DATA.values()}  # of events
    assert set(MESSAGES) == set(RECORDS) - data - {"report"} | {*EventType, "scored"}
    assert {record.__name__ for name, record in RECORDS.items() if name != "report"} <= set(DOCUMENT["components"]["schemas"])


def test_names_brokers_and_partitions_are_those_of_the_settings(asyncapi_parser):
    made = document(Settings(prefix="eu.", kafka="a:1, b:2", kafka_protocol="SSL", source_partitions=3, replication=3))
    assert [server["host"] for server in made["servers"].values()] == ["a:1", "b:2"]
    assert {server["protocol"] for server in made["servers"].values()} == {"kafka-secure"}
    binding = made["channels"]["outcomes"]["bindings"]["kafka"]
    assert (binding["topic"], binding["partitions"], binding["replicas"]) == ("eu.outcomes", 3, 3)
    assert made["operations"]["receive-outcomes"]["bindings"]["kafka"]["groupId"]["enum"] == ["eu.join"]
    assert faults(asyncapi_parser(json.dumps(made))["said"]) == []


def test_the_command_writes_and_checks_it(tmp_path, monkeypatch):
    path = tmp_path / "asyncapi.json"
    assert gnomon("schemas", "--asyncapi", path).exit_code == 0
    assert path.read_text() == to_text(document())
    assert gnomon("schemas", "--asyncapi", path, "--check").exit_code == 0
    monkeypatch.setenv("GNOMON_PREFIX", "eu.")
    result = gnomon("schemas", "--asyncapi", path, "--check")
    assert result.exit_code == 1
    assert f"gnomon schemas --asyncapi {path}" in result.stderr
    assert path.read_text() == to_text(document())
