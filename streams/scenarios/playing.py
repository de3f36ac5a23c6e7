"""A scenario through the replay."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from schemas.findings import Event
from schemas.policy import Policy
from schemas.report import Report
from streams.replay import replay
from streams.scenarios import Expected, Logs, Scenario
from streams.scenarios.files import to_lines


@dataclass(frozen=True)
class Played:
    """A run, and what came of it."""

    logs: Logs
    policy: Policy
    report: Report
    events: list[Event]


def play(scenario: Scenario, *, seed: int = 1, calm: bool = False, scale: float = 1.0, pages: float | None = None) -> Played:
    """Play a scenario; ``pages``: with a budget of so many false pages in the whole run."""
    logs = scenario.play(seed=seed, calm=calm, scale=scale)
    policy = scenario.read_policy(pages=pages, days=logs.days)
    last_ms = max(int(record["timestamp"]) for record in (*logs.predictions, *logs.outcomes))
    with tempfile.TemporaryDirectory(prefix="gnomon-scenario-") as written:
        predictions, outcomes = Path(written) / "predictions.jsonl", Path(written) / "outcomes.jsonl"
        predictions.write_bytes(to_lines(logs.predictions))
        outcomes.write_bytes(to_lines(logs.outcomes))
        done = replay(predictions, outcomes, started_ms=max(last_ms, int(time.time() * 1000)), policy=policy)
    return Played(logs, policy, done.report, done.events)


def raised(played: Played, expected: Expected) -> list[Event]:
    """Return the events that an expectation asks for, in order."""
    return [event for event in played.events if fits(event, expected)]


def fits(event: Event, expected: Expected) -> bool:
    """Whether an event is what an expectation asks for."""
    data = event.data
    if not event.type.value.startswith(expected.type) or (expected.kind and str(getattr(data, "kind", "")) != expected.kind):
        return False
    if expected.metric and getattr(data, "metric", "") != expected.metric:
        return False
    named = [getattr(data, "segment", {}), *getattr(data, "affected", [])]
    return (not expected.segment or expected.segment in named) and (not expected.unit or getattr(data, "unit", "") == expected.unit)
