"""The examples for Airflow and Argo: requests and manifests are what those systems publish, and a request that repeats starts one run."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from jsonschema import ValidationError
from support.logs import gnomon
from support.published import airflow, airflow_body, check_argo
from support.receiver import Receiver, Reply

from schemas.control import Control
from schemas.findings import Event, EventType, to_binary, to_json
from schemas.retrain import RetrainCancelled, RetrainRequested, TrainingData
from streams import control_log

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = EXAMPLES / "airflow" / "trigger_dag.py"
RUNS = "/api/v2/dags/{dag_id}/dagRuns"
REQUEST = Event(
    id="8a1f-requested",
    type=EventType.RETRAIN_REQUESTED,
    subject="--help/7",
    time_ms=0,
    data=RetrainRequested(
        request_id="8a1f",
        model_id="--help",  # an id may be anything; it must not be taken for an option
        model_version="7",
        incidents=["i"],
        reason="error rose " + "so very much " * 200,
        data=TrainingData(from_="2026-01-01T00:00:00.000Z", to="2026-01-02T00:00:00.000Z", n_labelled=9),
        expected_gain=None,
    ),
)
CANCELLED = Event(
    id="8a1f-cancelled",
    type=EventType.RETRAIN_CANCELLED,
    subject="--help/7",
    time_ms=0,
    data=RetrainCancelled(request_id="8a1f", model_id="--help", model_version="7", reason="cleared"),
)


@pytest.mark.parametrize(
    ("env", "given", "says"),
    [
        ({}, to_json(REQUEST), "AIRFLOW_URL"),
        ({"AIRFLOW_URL": "http://127.0.0.1:9"}, b"", "as JSON on standard input"),
        ({"AIRFLOW_URL": "http://127.0.0.1:9"}, b'{"data": {}}', "request_id"),
        ({"AIRFLOW_URL": "http://127.0.0.1:9"}, to_json(REQUEST), "AIRFLOW_PASSWORD_FILE"),
    ],
)
def test_what_is_missing_is_told_in_a_line(env: dict[str, str], given: bytes, says: str) -> None:
    done = subprocess.run([sys.executable, SCRIPT, "dag"], input=given, env=env, capture_output=True, check=False)
    assert done.returncode == 1
    [line] = done.stderr.decode().splitlines()
    assert says in line


class Airflow:
    """Answers as Airflow does: a run of an id that is there is a conflict."""

    def __init__(self) -> None:
        self.runs: dict[str, Any] = {}

    def __call__(self, number: int, body: bytes) -> Reply:
        asked = json.loads(body)
        if "password" in asked:
            return Reply(201, body=json.dumps({"access_token": "t2"}).encode())
        if asked["dag_run_id"] in self.runs:
            return Reply(409, body=b'{"detail": "there"}')
        self.runs[asked["dag_run_id"]] = asked
        return Reply(body=body)


@pytest.fixture
def trigger(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    (tmp_path / "token").write_text("t1\n")
    (tmp_path / "password").write_text("p\n")

    def run(url: str, **more: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "AIRFLOW_URL": url} | (more or {"AIRFLOW_TOKEN_FILE": str(tmp_path / "token")})
        return subprocess.run(
            [sys.executable, str(SCRIPT), "gnomon retrain"],
            env=env,
            cwd=tmp_path,
            input=to_json(REQUEST).decode(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_a_request_that_comes_twice_starts_one_run(trigger: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    there = Airflow()
    with Receiver(there) as receiver:
        for _ in range(2):
            done = trigger(receiver.url + "/")
            assert done.returncode == 0, done.stderr
    assert list(there.runs) == ["8a1f"]
    assert [one.status for one in receiver.got] == [200, 409]
    first = receiver.got[0]
    assert (first.method, first.path) == ("POST", "/api/v2/dags/gnomon%20retrain/dagRuns")
    assert first.headers["authorization"] == "Bearer t1"
    assert there.runs["8a1f"]["conf"] == json.loads(to_json(REQUEST))["data"]


def test_the_body_is_what_airflow_publishes(trigger: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    with Receiver(Airflow()) as receiver:
        trigger(receiver.url)
    sent = json.loads(receiver.got[0].body)
    airflow_body(RUNS).validate(sent)
    assert {"200", "409"} <= set(airflow()["paths"][RUNS]["post"]["responses"])
    for broken in (sent | {"run_id": "x"}, sent | {"conf": "x"}, sent | {"dag_run_id": 1}):
        with pytest.raises(ValidationError):
            airflow_body(RUNS).validate(broken)


def test_a_token_can_be_asked_for(trigger: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    with Receiver(Airflow()) as receiver:
        done = trigger(receiver.url, AIRFLOW_USERNAME="u", AIRFLOW_PASSWORD_FILE=str(tmp_path / "password"))
    assert done.returncode == 0, done.stderr
    login, run = receiver.got
    assert (login.path, json.loads(login.body)) == ("/auth/token", {"username": "u", "password": "p"})
    assert run.headers["authorization"] == "Bearer t2"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(401, body=b"who?"), "Airflow answered 401: who?"),
        (Reply(503), "Airflow answered 503"),
        (Reply(302, headers={"Location": "/login"}), "Airflow answered 302"),
        (Reply(0), "no answer from Airflow"),
        (Reply(200, body=b"{}"), "expected the run in the answer"),
    ],
)
def test_what_starts_no_run_is_tried_again_by_the_hook(
    trigger: Callable[..., subprocess.CompletedProcess[str]], reply: Reply, said: str
) -> None:
    with Receiver(lambda number, body: reply) as receiver:
        done = trigger(receiver.url)
    assert done.returncode == 1
    assert said in done.stderr
    assert "t1" not in done.stderr
    assert len(receiver.got) == 1  # a redirect is not followed


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Control]:
    records: list[Control] = []

    def publish(settings: object, record: bytes) -> int:
        records.append(msgspec.json.decode(record, type=Control))
        return 0

    monkeypatch.setattr(control_log, "publish", publish)
    return records


def test_the_dag_takes_the_request_up_and_answers_it(sent: list[Control], monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow itself is not here: its decorators are stood in for, the commands that the DAG runs are ours."""
    ran: list[str] = []

    def task(function: Any = None, **_: Any) -> Any:
        if function is None:
            return task
        return lambda *given: ran.append(function.__name__) or (given[0] if function.__name__ == "train" else function(*given))

    def run(words: list[str], *, check: bool) -> None:
        assert words[0] == "gnomon"
        result = gnomon(*words[1:])
        assert result.exit_code == 0, result.output

    conf = json.loads(to_json(REQUEST))["data"]
    context = {"dag_run": types.SimpleNamespace(conf=conf)}
    sdk = types.SimpleNamespace(dag=lambda **_: lambda function: function, task=task, get_current_context=lambda: context)
    monkeypatch.setitem(sys.modules, "airflow", types.ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    monkeypatch.setattr(subprocess, "run", run)
    spec = importlib.util.spec_from_file_location("gnomon_retrain", EXAMPLES / "airflow" / "gnomon_retrain.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert ran == ["ack", "train", "done"]
    assert [(one.model_id, one.by, one.body) for one in sent] == [
        ("--help", "airflow", {"decision": decision, "request_id": "8a1f"}) for decision in ("ack", "done")
    ]


def manifests() -> Iterator[dict[str, Any]]:
    for path in sorted((EXAMPLES / "argo").glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


ARGO = {one["kind"]: one for one in manifests()}


def at(value: Any, path: str) -> Any:
    """Look up a path as Argo writes it."""
    for name in path.split("."):
        value = value[int(name) if isinstance(value, list) else name]
    return value


def payload(event: Event) -> dict[str, Any]:
    """What Argo's event source makes of a message."""
    headers, value = to_binary(event)
    return {"body": json.loads(value), "headers": {name: each.decode() for name, each in headers}}


def workflow(event: Event) -> dict[str, Any]:
    """The workflow that the sensor starts for an event."""
    trigger = ARGO["Sensor"]["spec"]["triggers"][0]["template"]["k8s"]
    made = deepcopy(trigger["source"]["resource"])
    for parameter in trigger["parameters"]:
        path, _, last = parameter["dest"].rpartition(".")
        value = at(payload(event), parameter["src"]["dataKey"])
        before = at(made, path).get(last, "") if parameter.get("operation") == "append" else ""
        at(made, path)[last] = before + value
    return made


def test_manifests_are_what_argo_publishes() -> None:
    assert set(ARGO) == {"EventSource", "Sensor", "WorkflowTemplate"}
    for document in [*ARGO.values(), workflow(REQUEST)]:
        check_argo(document)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("EventSource", "spec.kafka.retrain.topics", "gnomon.retrain"),
        ("EventSource", "spec.kafka.retrain.consumerGroup.oldest", "later"),
        ("EventSource", "spec.kafkas", {}),
        ("Sensor", "spec.dependencies.0.event", "retrain"),
        ("Sensor", "spec.triggers.0.template.k8s.parameters.0.src.datakey", "body"),
        ("Sensor", "spec.triggers.0.template.k8s.parameters.0.dest", 1),
        ("WorkflowTemplate", "spec.templates.1.container.arg", []),
        ("WorkflowTemplate", "spec.entrypoint", ["retrain"]),
        ("WorkflowTemplate", "apiVersion", "argoproj.io/v1"),
    ],
)
def test_a_manifest_with_a_fault_is_none(kind: str, path: str, value: Any) -> None:
    broken = deepcopy(ARGO[kind])
    parent, _, last = path.rpartition(".")
    (at(broken, parent) if parent else broken)[last] = value
    with pytest.raises((ValidationError, AssertionError)):
        check_argo(broken)


def test_the_manifests_fit_together_and_to_what_gnomon_sends() -> None:
    source, sensor, template = ARGO["EventSource"], ARGO["Sensor"]["spec"], ARGO["WorkflowTemplate"]
    [dependency] = sensor["dependencies"]
    assert (dependency["eventSourceName"], dependency["eventName"]) == (source["metadata"]["name"], *source["spec"]["kafka"])
    [rule] = dependency["filters"]["data"]
    assert at(payload(REQUEST), rule["path"]) in rule["value"]
    assert at(payload(CANCELLED), rule["path"]) not in rule["value"]
    made = workflow(REQUEST)
    assert made["metadata"]["name"] == "retrain-8a1f"
    assert made["spec"]["workflowTemplateRef"]["name"] == template["metadata"]["name"]
    given = {one["name"]: one["value"] for one in made["spec"]["arguments"]["parameters"]}
    assert given == {"model_id": "--help", "request_id": "8a1f", "from": "2026-01-01T00:00:00.000Z", "to": "2026-01-02T00:00:00.000Z"}
    assert list(given) == [one["name"] for one in template["spec"]["arguments"]["parameters"]]
    names = {one["name"] for one in template["spec"]["templates"]}
    assert {template["spec"]["entrypoint"], *(step["template"] for [step] in template["spec"]["templates"][0]["steps"])} == names


def test_the_workflow_answers_the_request(sent: list[Control]) -> None:
    spec = ARGO["WorkflowTemplate"]["spec"]
    steps, answer = spec["templates"][0]["steps"], spec["templates"][1]
    given = {f"workflow.parameters.{one['name']}": one["value"] for one in workflow(REQUEST)["spec"]["arguments"]["parameters"]}
    for [step] in steps:
        if step["template"] == answer["name"]:
            known = given | {f"inputs.parameters.{one['name']}": one["value"] for one in step["arguments"]["parameters"]}
            words = [re.sub(r"{{(.*?)}}", lambda match, known=known: known[match[1]], word) for word in answer["container"]["args"]]
            result = gnomon(*words)
            assert result.exit_code == 0, result.output
    assert [(one.model_id, one.by, one.body) for one in sent] == [
        ("--help", "argo", {"decision": decision, "request_id": "8a1f"}) for decision in ("ack", "done")
    ]
