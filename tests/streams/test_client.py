"""The client of inference services: checked at the call, never waiting, everything counted."""

import asyncio
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError
from support.workers import read_topic, wait_for

from schemas.codec import decode_records
from schemas.outcome import Outcome
from schemas.prediction import Prediction
from streams.client import AsyncGnomon, Client, Gnomon
from streams.embedded import MockBroker
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
NOWHERE = Settings(kafka="127.0.0.1:1")  # nobody listens there
QUIET: dict[str, str | int | float | bool] = {"log_level": 0}
CLAIM: dict[str, Any] = {"request_id": "a2", "model_id": "fraud", "model_version": "7", "score": 0.9}


@pytest.fixture(scope="module")
def mock() -> Iterator[MockBroker]:
    with MockBroker() as broker:
        yield broker


def topics(broker: MockBroker, prefix: str) -> None:
    broker.create([f"{prefix}predictions", f"{prefix}outcomes"])


def records(broker: MockBroker, topic: str, kind: type[Any]) -> list[Any]:
    return [decode_records(value, kind)[0][1] for _, _, value in read_topic(broker.bootstrap, topic)]


def counts(client: Client) -> tuple[int, int, int, int]:
    return client.delivered, client.failed, client.dropped, client.buffered


def test_what_is_logged_arrives_as_the_schemas_read_it(mock: MockBroker) -> None:
    topics(mock, "all.")
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    prediction = CLAIM | {"row": 3, "subgroups": {"sex": "f", "adult": True}, "amount": 250.0, "features": {"age": 40.0, "job": None}}
    outcome = {
        "request_id": "a2",
        "true_label": 1,
        "version": 2,
        "action_taken": "dismissed",
        "review_seconds": 12.5,
        "checks": {"c": (3, 4)},
    }
    with Gnomon(mock.bootstrap, prefix="all.") as gnomon:
        assert gnomon.log_prediction(**prediction, timestamp=at)
        assert gnomon.log_outcome(**outcome, timestamp=1_767_323_045_000)
        assert gnomon.flush() == 0
        assert counts(gnomon) == (2, 0, 0, 0)
    assert records(mock, "all.predictions", Prediction) == [Prediction(**prediction, timestamp=at)]
    assert records(mock, "all.outcomes", Outcome) == [Outcome(**outcome, timestamp=1_767_323_045_000)]


def test_all_records_of_a_request_go_to_one_partition(mock: MockBroker) -> None:
    topics(mock, "keys.")
    with Gnomon(mock.bootstrap, prefix="keys.") as gnomon:
        for i in range(40):
            for row in range(3):
                gnomon.log_prediction(**CLAIM | {"request_id": f"r{i}", "row": row})
    where: dict[str, set[int]] = {}
    for partition, _, value in read_topic(mock.bootstrap, "keys.predictions"):
        where.setdefault(json.loads(value or b"")["request_id"], set()).add(partition)
    assert all(len(partitions) == 1 for partitions in where.values())
    assert len(where) == 40
    assert len(set.union(*where.values())) > 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"score": 93.0}, r"`float` <= 1.0 - at `\$.score`"),
        ({"score": float("nan")}, r"finite `float`, got `nan` - at `\$.score`"),
        ({"score": "high"}, r"got `str` - at `\$.score`"),
        ({"score": None}, "missing required field `score`"),
        ({"request_id": ""}, r"length >= 1 - at `\$.request_id`"),
        ({"request_id": 7}, r"Expected `str`, got `int` - at `\$.request_id`"),
        ({"request_id": "\ud800"}, "no valid prediction"),
        ({"predicted_label": 0.5}, "a fraction"),
        ({"timestamp": datetime(2026, 1, 1)}, "timezone"),
        ({"timestamp": 1.5e9}, r"at `\$.timestamp`"),
        ({"subgroups": "NL"}, r"at `\$.subgroups`"),
        ({"features": {"a": object()}}, "no valid prediction"),
        ({"features": {f"f{i}": "x" * 1000 for i in range(1_500)}}, "at most 1048576 bytes"),
    ],
)
def test_a_bad_prediction_is_refused_at_the_call_and_not_sent(change: dict[str, Any], expected: str) -> None:
    gnomon = Gnomon(settings=NOWHERE, config=QUIET)
    with pytest.raises(ValueError, match=expected):
        gnomon.log_prediction(**CLAIM | change)
    assert counts(gnomon) == (0, 0, 0, 0)
    gnomon.close(0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "missing required field `true_label`"),
        ({"true_label": 1, "review_seconds": -1.0}, r"at `\$.review_seconds`"),
        ({"checks": {"citations": (5, 4)}}, "passed <= total"),
        ({"checks": 3}, "no valid outcome"),
        ({"cost": float("inf")}, "finite"),
    ],
)
def test_a_bad_outcome_is_refused_at_the_call_and_not_sent(fields: dict[str, Any], expected: str) -> None:
    gnomon = Gnomon(settings=NOWHERE, config=QUIET)
    with pytest.raises(ValueError, match=expected):
        gnomon.log_outcome(request_id="a2", **fields)
    assert counts(gnomon) == (0, 0, 0, 0)
    gnomon.close(0)


def test_numpy_scalars_and_read_only_mappings_pass(mock: MockBroker) -> None:
    topics(mock, "np.")
    given = CLAIM | {"score": np.float32(0.5), "predicted_label": np.int64(1), "alerted": np.bool_(True)}
    with Gnomon(mock.bootstrap, prefix="np.") as gnomon:
        assert gnomon.log_prediction(**given, subgroups=MappingProxyType({"site": np.str_("a")}), features={"x": np.float64(2)})
    (record,) = records(mock, "np.predictions", Prediction)
    assert (record.score, record.predicted_label, record.alerted) == (0.5, 1, True)
    assert (record.subgroups, record.features) == ({"site": "a"}, {"x": 2.0})


@pytest.mark.parametrize(("method", "kind"), [("log_prediction", Prediction), ("log_outcome", Outcome)])
def test_every_field_of_the_schema_can_be_given(method: str, kind: type[Any]) -> None:
    parameters = set(inspect.signature(getattr(Client, method)).parameters) - {"self"}
    assert parameters == set(kind.__struct_fields__)


def test_with_the_broker_away_records_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    gnomon = Gnomon(settings=NOWHERE, max_buffered=5, config=QUIET)
    sent = [gnomon.log_prediction(**CLAIM | {"request_id": f"r{i}"}) for i in range(20)]
    assert sent == [True] * 5 + [False] * 15
    assert counts(gnomon) == (0, 0, 15, 5)
    assert gnomon.flush(0.01) == 5
    assert gnomon.close(0.01) == 5
    assert counts(gnomon) == (0, 5, 15, 0)
    assert not gnomon.log_outcome(request_id="a2", true_label=1)  # closed: a request that is still being served goes on
    assert counts(gnomon) == (0, 5, 16, 0)
    assert [record.message for record in caplog.records if "lost" in record.message] == [
        "records lost so far: 1 dropped, 0 failed; the last one dropped: the buffer is full: Kafka is away, or slower than this service",
        "20 of 20 records were lost (15 dropped, 5 failed). Is Kafka there, and are its topics? See: gnomon doctor",
    ]


def test_the_buffer_is_bounded_in_bytes_too() -> None:
    gnomon = Gnomon(settings=NOWHERE, max_buffered_bytes=10 << 10, config=QUIET)
    sent = [gnomon.log_prediction(**CLAIM, features={"x": "y" * 1000}) for _ in range(20)]
    assert 5 <= sum(sent) <= 10
    assert gnomon.dropped == 20 - sum(sent)
    gnomon.close(0)


def test_a_record_that_is_not_delivered_in_time_counts_as_failed() -> None:
    gnomon = Gnomon(settings=NOWHERE, delivery_timeout_s=0.3, config=QUIET)
    assert gnomon.log_prediction(**CLAIM)
    wait_for(lambda: gnomon.failed == 1, "the delivery report")  # by the polling thread: nobody flushes
    assert counts(gnomon) == (0, 1, 0, 0)
    assert gnomon.close() == 0


def test_a_producer_that_failed_for_good_is_replaced(mock: MockBroker) -> None:
    topics(mock, "fatal.")
    gnomon = Gnomon(mock.bootstrap, prefix="fatal.", config={"linger.ms": 60_000})
    assert gnomon.log_prediction(**CLAIM)  # waits in the buffer
    failed = gnomon._delivery._producer
    gnomon._delivery._on_error(KafkaError(KafkaError._FATAL, "made up", fatal=True))
    wait_for(lambda: gnomon._delivery._producer is not failed and gnomon.failed == 1, "the new producer")
    assert gnomon.log_prediction(**CLAIM)
    assert gnomon.close() == 0
    assert counts(gnomon) == (1, 1, 0, 0)


async def test_the_async_face_counts_the_same(mock: MockBroker) -> None:
    topics(mock, "async.")
    async with AsyncGnomon(mock.bootstrap, prefix="async.") as gnomon:
        assert all(gnomon.log_prediction(**CLAIM | {"request_id": f"r{i}"}) for i in range(100))
        assert await gnomon.flush() == 0
        assert counts(gnomon) == (100, 0, 0, 0)
    away = AsyncGnomon(settings=NOWHERE, max_buffered=1, config=QUIET)
    away.log_prediction(**CLAIM)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    assert await away.close(0.5) == 1
    ticking.cancel()
    assert ticks > 5  # the event loop went on meanwhile


def run(code: str, **env: str) -> str:
    command, environment = [sys.executable, "-c", code], {**os.environ, **env}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_exit_delivers_what_is_buffered(mock: MockBroker) -> None:
    topics(mock, "exit.")
    code = f"from streams.client import Gnomon; gnomon = Gnomon(config={{'linger.ms': 1000}}); gnomon.log_prediction(**{CLAIM!r})"
    run(code, GNOMON_KAFKA=mock.bootstrap, GNOMON_PREFIX="exit.")
    assert [record.request_id for record in records(mock, "exit.predictions", Prediction)] == ["a2"]


def test_a_forked_child_delivers_and_ends(mock: MockBroker) -> None:
    topics(mock, "fork.")
    code = f"""
import os
from streams.client import Gnomon
gnomon = Gnomon()
gnomon.log_prediction(**{CLAIM | {"request_id": "parent"}!r})
gnomon.flush()
if (child := os.fork()) == 0:
    gnomon.log_prediction(**{CLAIM | {"request_id": "child"}!r})
    left = gnomon.close()
    os._exit(left + 10 * (gnomon.delivered != 1))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), gnomon.delivered)
"""
    assert run(code, GNOMON_KAFKA=mock.bootstrap, GNOMON_PREFIX="fork.").split() == ["0", "1"]
    assert sorted(record.request_id for record in records(mock, "fork.predictions", Prediction)) == ["child", "parent"]


def test_a_client_that_nobody_holds_goes_with_its_thread() -> None:
    code = """
import gc, threading, time
from streams.client import Gnomon
gnomon = Gnomon("127.0.0.1:1", config={"log_level": 0})
assert threading.active_count() == 2
del gnomon
gc.collect()
deadline = time.monotonic() + 20
while threading.active_count() > 1 and time.monotonic() < deadline:
    time.sleep(0.05)
print(threading.active_count())
"""
    assert run(code).split() == ["1"]


def test_importing_it_is_light() -> None:
    heavy = {"faust", "numpy", "river", "scipy", "aiokafka", "redis", "pyarrow", "prometheus_client", "typer"}
    loaded = set(run("import sys, streams.client; print(*sys.modules)").split())
    assert loaded & heavy == set()
    assert "confluent_kafka" in loaded


def test_settings_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ValueError, match="1 record and 1024 bytes"):
        Gnomon(settings=NOWHERE, max_buffered=0)
    with pytest.raises(ValueError, match="librdkafka refuses"):
        Gnomon(settings=NOWHERE, config={"no.such.setting": 1})
