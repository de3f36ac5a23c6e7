"""A scenario as a demo: its records through both workers on a broker in memory, until what the story asks for has come."""

import time
from dataclasses import dataclass
from typing import Any

import orjson

from detectors.watch_report import report
from schemas.report import Report
from streams.demo import WEEK_MS, Piece, Say, perform
from streams.demo_seen import Seen
from streams.scenario_small import Item
from streams.scenarios import DAY_MS, Expected, Logs, Scenario
from streams.scenarios.playing import fits

PLAY_S = 15.0  # that the records of a whole story take


@dataclass
class ToldScenario:
    """How it ended."""

    report: Report
    faults: list[str]  # where the books do not balance
    missing: list[Expected]  # events of the story that have not come
    seconds: float


def run(scenario: Scenario, say: Say, status: Say, *, seed: int = 1, scale: float | None = None) -> ToldScenario:
    """Play a scenario; its times are moved by whole weeks, so that it ends before now.

    Raises
    ------
    DemoError
        If a worker ends, or nothing comes out of it.

    """
    begun = time.monotonic()
    logs = scenario.play(seed=seed, scale=scenario.demo if scale is None else scale)
    first = logs.predictions[0]
    oldest_ms = max(scenario.read_policy().for_model(first["model_id"]).ages_ms or (WEEK_MS,))
    last_ms = max(record["timestamp"] for record in (*logs.predictions, *logs.outcomes))
    shift = (int(time.time() * 1000) - last_ms - oldest_ms - 2 * DAY_MS) // WEEK_MS * WEEK_MS
    items = _items(logs, shift)
    start_ms = items[0].at_ms
    say(f"{scenario.title}.")
    turn = None if logs.changed_ms is None else (logs.changed_ms + shift, "the world changes")
    piece = Piece(
        scenario.policy,
        items,
        start_ms,
        (items[-1].at_ms - start_ms) / DAY_MS / PLAY_S,
        turn,
        closes_ms=items[-1].at_ms + oldest_ms + DAY_MS,
        model=first["model_id"],
        version=first["model_version"],
    )
    seen, extra = perform(piece, say, status)
    missing = [expected for expected in scenario.expects if not any(fits(event, expected) for event in seen.events)]
    return ToldScenario(report([seen.counted]), faults(seen, logs, extra), missing, time.monotonic() - begun)


def _items(logs: Logs, shift: int) -> list[Item]:
    def item(topic: str, record: dict[str, Any]) -> Item:
        at_ms = record["timestamp"] + shift
        return Item(at_ms, topic, orjson.dumps(record | {"timestamp": at_ms}), topic)

    made = [item("predictions", record) for record in logs.predictions] + [item("outcomes", record) for record in logs.outcomes]
    return sorted(made, key=lambda one: one.at_ms)


def faults(seen: Seen, logs: Logs, extra: int) -> list[str]:
    """Return where what came out does not balance with the records that were sent, counted from the records alone."""
    join, whole = report([seen.counted]).join, seen.statistics.get("")
    real = {record["request_id"] for record in logs.predictions if not record.get("probe")}
    judged = real - {record["request_id"] for record in logs.predictions if record.get("abstained")}
    labelled = {record["request_id"] for record in logs.outcomes if record.get("true_label") is not None} & judged
    expected = {
        "records counted once": (len(logs.predictions) + len(logs.outcomes) + extra, seen.total()),
        "predictions": (len({record["request_id"] for record in logs.predictions}) + extra // 2, join.predictions),
        "outcomes": (len(logs.outcomes) + extra // 2, join.outcomes),
        "dead letters kept": (join.dead_letter, seen.dead_letters),
        "dead letters": (0, join.dead_letter),
        "predictions known to the watch": (len(real), whole.n_predictions if whole else 0),
        "labels known to the watch": (len(labelled), whole.n_labelled if whole else 0),
    }
    return [f"{what}: expected {sent:,}, got {got:,}" for what, (sent, got) in expected.items() if sent != got]
