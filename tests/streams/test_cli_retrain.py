"""``gnomon retrain ack|done|cancel``: one control record each, about the open request."""

import json
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest
from support.logs import gnomon

from detectors.companions.retrain import Request, Retrain
from detectors.model_companions import ModelCompanions
from schemas.control import Control
from schemas.policy_models import ModelPolicy
from streams import control_log, live_report
from streams.cli import retrain, surroundings

REQUEST = Request(request_id="r1", model_version="7", at_ms=0, incidents=("i1",), from_ms=0, n_labelled=5)


@pytest.fixture
def sent(monkeypatch):
    records: list[Control] = []

    def publish(settings, record):
        records.append(msgspec.json.decode(record, type=Control))
        return len(records) - 1

    monkeypatch.setattr(control_log, "publish", publish)
    monkeypatch.setattr(retrain, "_open", lambda settings: {"fraud": REQUEST})
    return records


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["ack", "fraud"], {"decision": "ack"}),
        (["done", "fraud"], {"decision": "done"}),
        (["cancel", "fraud", "--reason", "repaired"], {"decision": "cancel", "reason": "repaired"}),
    ],
)
def test_an_answer_names_the_open_request(sent, words, body):
    result = gnomon("retrain", *words, "--by", "ada")
    assert result.exit_code == 0, result.output
    [record] = sent
    assert (record.type, record.model_id, record.by, record.body) == ("retrain", "fraud", "ada", body | {"request_id": "r1"})
    assert json.loads(gnomon("retrain", *words, "--json").stdout)["offset"] == 1


def test_a_model_without_an_open_request_is_refused_unless_forced(sent):
    result = gnomon("retrain", "done", "sepsis")
    assert result.exit_code == 2
    assert "open: fraud" in result.stderr
    assert sent == []
    assert gnomon("retrain", "done", "sepsis", "--force").exit_code == 0
    assert sent[0].body == {"decision": "done"}


def test_an_answer_to_another_request_than_the_open_one_is_refused(sent):
    result = gnomon("retrain", "done", "fraud", "--request", "r0")
    assert result.exit_code == 2
    assert "the open request of fraud is r1, not r0" in result.stderr
    assert sent == []
    assert gnomon("retrain", "done", "fraud", "--request", "r1").exit_code == 0
    forced = gnomon("retrain", "done", "fraud", "--request", "r0", "--force")
    assert forced.exit_code == 0
    assert "Whether r0 is open was not looked up: if it is not, this changes nothing." in forced.stdout
    assert [record.body["request_id"] for record in sent] == ["r1", "r0"]


def test_open_requests_are_those_of_the_checkpoints(monkeypatch):
    def companions(*requests):
        made = ModelCompanions("m", ModelPolicy())
        member = made.members["retrain"]
        assert isinstance(member, Retrain)
        member.requests = list(requests)
        return made

    closed = replace(REQUEST, state="completed")
    watch = SimpleNamespace(companions={"a": companions(closed), "b": companions(closed, REQUEST), "c": companions()})

    async def read_watches(client, settings):
        return [watch]

    class Client:
        async def aclose(self):
            """Nothing to close."""

    monkeypatch.setattr(live_report, "read_watches", read_watches)
    monkeypatch.setattr("streams.redis_client.connect", lambda *_, **__: Client())
    assert retrain._open(surroundings.read_settings()) == {"b": REQUEST}
