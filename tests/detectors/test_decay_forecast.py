"""A forecast of decay asks for retraining before its limit is crossed, once, whatever the ticks; calm models do not ask."""

import random

import msgspec
import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, Record, fold, story, tick

from benchmarks.detection.decay_rows import asks
from detectors.companions.retrain import Retrain
from detectors.watch import Watch
from schemas.control import Control, ControlType
from schemas.fields import Timestamp, epoch_ms, rfc3339
from schemas.findings import Event, EventType, to_json
from schemas.policy import parse_policy
from schemas.retrain import RetrainRequested

RULES = """[models.m]
ages = ["1d", "8d"]
baseline = { days = 400 }
[models.m.decay]
error = 0.6
[models.m.retrain]
severity = "critical"
min_labels = 200
"""
POLICY = RULES + 'decay_within = "30d"\n'


def decaying() -> list[Record]:
    """From week to week four points more of the labels are wrong."""
    rng, made = random.Random(2), {}
    records = story(seed=3, days=98, per_day=20, error=0.0, delay_days=2.0)
    for at, topic, record in records:
        if topic == "predictions":
            made[record["request_id"]] = at
        elif rng.random() < 0.05 + 0.04 * (made[record["request_id"]] - START_MS) / (7 * DAY_MS):
            record["true_label"] = 1 - record["true_label"]
    return records


RECORDS = decaying()


def requests(events: list[Event]) -> list[Event]:
    return [event for event in events if event.type.value.startswith("gnomon.retrain")]


def run(text: str = POLICY, **options: object) -> tuple[Watch, list[Event]]:
    return fold(RECORDS, policy=parse_policy(text), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole() -> tuple[Watch, list[Event]]:
    return run(chunk=400)


def test_it_asks_when_the_date_is_near_and_names_the_figure_and_the_data(whole: tuple[Watch, list[Event]]) -> None:
    [event] = requests(whole[1])
    assert isinstance(event.data, RetrainRequested)
    truth = START_MS + (0.6 - 0.05) / 0.04 * 7 * DAY_MS  # where the labels' own line is at the limit
    asked = event.time_ms - (truth - 30 * DAY_MS)
    assert abs(asked) < 14 * DAY_MS, asked / DAY_MS
    assert event.data.incidents == []
    assert event.data.reason.startswith("Error rate of m 1 rises with its age: ")
    assert "it will be past its limit of 0.6 on about 5 April 2023." in event.data.reason
    assert event.data.reason.endswith("labelled predictions since it went live are there to learn from.")
    assert epoch_ms(msgspec.convert(event.data.data.from_, Timestamp)) <= START_MS
    assert event.data.data.to == rfc3339(event.time_ms)
    assert event.data.data.n_labelled > 500


def test_it_is_off_unless_the_policy_says_how_long_before() -> None:
    assert requests(run(RULES, chunk=2_000)[1]) == []
    assert requests(run(POLICY.replace("[models.m.decay]\nerror = 0.6\n", ""), chunk=2_000)[1]) == []


@pytest.mark.parametrize("chunk", [60, 4_000])
def test_neither_batches_nor_ticks_change_when_it_asks(whole: tuple[Watch, list[Event]], chunk: int) -> None:
    watch, events = run(chunk=chunk, ticks=chunk < 1_000)
    assert [to_json(event) for event in requests(events)] == [to_json(event) for event in requests(whole[1])]
    assert watch.companions["m"].members["retrain"].to_state() == whole[0].companions["m"].members["retrain"].to_state()


@pytest.mark.parametrize("guard", ["min_labels = 100000", "enabled = false\nmin_labels = 200"])
def test_the_guards_hold(guard: str) -> None:
    assert requests(run(POLICY.replace("min_labels = 200", guard), chunk=2_000)[1]) == []


def test_a_model_is_left_alone_after_a_request_and_a_version_asks_once(whole: tuple[Watch, list[Event]]) -> None:
    member = whole[0].companions["m"].members["retrain"]
    assert isinstance(member, Retrain)
    member.load(msgspec.msgpack.decode(msgspec.msgpack.encode(member.to_state())))
    assert member.foreseen == {"1"}
    assert member.requests[-1].open
    cleared = Control(type=ControlType.RETRAIN, by="ada", at=START_MS + 99 * DAY_MS, model_id="m", body={"decision": "cancel"})
    [cancelled] = member.decide(cleared)
    assert cancelled.type is EventType.RETRAIN_CANCELLED
    assert requests(whole[0].apply(tick(START_MS + 300 * DAY_MS))) == []


def test_a_policy_that_begins_to_heed_forecasts_asks_for_nothing_in_the_past() -> None:
    watch, events = run(RULES, chunk=2_000, close=False)
    assert requests(events) == []
    now = max(at for at, _, _ in RECORDS)
    events = watch.use(parse_policy(POLICY)) + watch.apply(tick(now + DAY_MS))
    [event] = requests(events)
    assert now - 10_000 <= event.time_ms <= now + DAY_MS


def test_calm_models_do_not_ask() -> None:
    """Of 150 models that do not decay, looked at every week of a year at a limit a third above where they are."""
    asked = np.array([asks(seed, weeks=52, labels=200, rate=0.09, limit=0.12) for seed in range(150)])
    assert asked.sum() <= 5, asked.sum()  # docs/how-to/retrain.md has the rate


def test_models_that_decay_do() -> None:
    asked = np.array([asks(seed, weeks=52, labels=200, rate=0.06, limit=0.12, slope=0.06 / 52) for seed in range(20)])
    assert asked.sum() >= 14  # the rows of the benchmark have the share
