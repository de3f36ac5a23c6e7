"""What a scenario must have told, from Gnomon's own report and events, whether it was played in replay or through a deployment."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pytest
from river.drift import ADWIN
from support.scenarios import failed_since

from schemas.drift import DriftData
from schemas.fields import epoch_ms
from schemas.figures import SegmentFigures
from schemas.findings import Event
from schemas.report import ModelReport
from streams.scenarios import DAY_MS, Logs


@dataclass(frozen=True)
class Told:
    """The records of a story, and what came of them: the events of its model, in order."""

    logs: Logs
    model: ModelReport
    events: list[Event]

    @property
    def overall(self) -> SegmentFigures:
        """All traffic."""
        return self.model.segments[0]

    @property
    def drift(self) -> list[DriftData]:
        """What the drift events say."""
        return [event.data for event in self.events if isinstance(event.data, DriftData)]


def tell(name: str, told: Told) -> None:
    """Hold what was told against the publication, and against plain counting over the records."""
    for metric, segment, published in STATED.get(name, ()):
        _stated(told, metric, segment, published)
    if name in TOLD:
        TOLD[name](told)


STATED = {
    "retinopathy": [("abstention", {"clinic": "rural"}, (0.86, 0.92))],
    "benchmark-gap": [("accuracy", {}, (0.5, 0.6))],
    "legal-rag": [("check:citation_accuracy", {}, (0.67, 0.83))],
    "hle": [("accuracy", {}, (0.03, 0.15))],
    "sap": [("f1", {}, (0.04, 0.1))],
    "oncology": [("error", {"comorbidity": "multiple"}, (0.35, 0.55))],
}


def _stated(told: Told, metric: str, segment: dict[str, str], published: tuple[float, float]) -> None:
    """What people are told last agrees, within its interval, with a count over what came since the change."""
    last = [each for each in told.drift if (each.metric, each.segment) == (metric, segment)][-1]
    counted = failed_since(told.logs, metric, segment)
    assert published[0] <= counted <= published[1]
    assert last.current.lo <= counted <= last.current.hi
    assert last.current.value == pytest.approx(counted, abs=0.1)


def _sap(told: Told) -> None:
    assert told.overall.f1 == pytest.approx(0.07, abs=0.02)


def _hle(told: Told) -> None:
    assert 0.03 <= told.overall.accuracy <= 0.15
    assert 0.7 <= told.overall.rms_ce_10 <= 0.9


def _sepsis(told: Told) -> None:
    assert told.overall.fnr == pytest.approx(0.67, abs=0.03)
    assert told.overall.alert_rate == pytest.approx(0.18, abs=0.01)
    assert told.overall.ppv == pytest.approx(0.12, abs=0.02)
    assert told.overall.fp * 365 / 123 == pytest.approx(18_000, rel=0.03)
    fatigue = told.model.fatigue
    assert fatigue is not None
    assert fatigue.overall.false_alerts_per_year == pytest.approx(18_000, rel=0.03)
    sick = {record["request_id"]: record["true_label"] for record in told.logs.outcomes if "true_label" in record}
    hours = [record["timestamp"] // 3_600_000 for record in told.logs.predictions]
    years = (max(hours) + 1 - min(hours)) / 24 / 365.25
    for figures in (fatigue.overall, *fatigue.units):
        alerts = [record for record in told.logs.predictions if record["alerted"] and figures.unit in ("", record["unit"])]
        false = sum(not sick[record["request_id"]] for record in alerts)
        assert (figures.alerts, figures.labelled, figures.false_alerts) == (len(alerts), len(alerts), false)
        assert figures.false_alerts_per_year == pytest.approx(false / years)
        assert figures.ppv.value == pytest.approx(1 - false / len(alerts))
        assert figures.nne == pytest.approx(len(alerts) / (len(alerts) - false))
    assert len(fatigue.units) == 4


def _benchmark_gap(told: Told) -> None:
    changed = told.logs.changed_ms or 0
    late = [record for record in told.logs.predictions if record["timestamp"] >= changed]
    early = [record for record in told.logs.predictions if record["timestamp"] < changed]
    true = {record["request_id"]: record["true_label"] for record in told.logs.outcomes}
    right = [np.mean([true[record["request_id"]] == record["predicted_label"] for record in part]) for part in (early, late)]
    assert right[0] == pytest.approx(0.91, abs=0.02)
    assert right[1] < 0.6
    assert abs(np.mean([record["score"] for record in early]) - np.mean([record["score"] for record in late])) < 0.01


def _legal_rag(told: Told) -> None:
    [checks] = [check for check in told.model.checks if check.name == "citation_accuracy"]
    counts = [outcome["checks"]["citation_accuracy"] for outcome in told.logs.outcomes]
    assert (checks.figures.passed, checks.figures.total) == (sum(passed for passed, _ in counts), sum(total for _, total in counts))
    late = {record["request_id"] for record in told.logs.predictions if record["timestamp"] >= (told.logs.changed_ms or 0)}
    share = [passed / total for (passed, total), one in zip(counts, told.logs.outcomes, strict=True) if one["request_id"] in late]
    assert 0.17 <= 1 - np.mean(share) <= 0.33
    seconds = [outcome["review_seconds"] for outcome in told.logs.outcomes]
    assert told.overall.mean_review_s == pytest.approx(np.mean(seconds), rel=1e-9)
    assert told.overall.review_saved_s == pytest.approx(20 * 60 - np.mean(seconds))
    assert told.overall.review_saved_s < 0  # verification has eaten what the tool had saved
    scores = [record["score"] for record in told.logs.predictions]
    assert abs(np.mean(scores[: len(scores) // 2]) - np.mean(scores[len(scores) // 2 :])) < 0.01  # as sure of itself as before


def _sanction(told: Told) -> None:
    [opened] = [event for event in told.events if event.type.value == "gnomon.drift.opened"]
    bad = next(outcome for outcome in told.logs.outcomes if outcome["checks"]["citation_exists"][0] < 12)
    assert opened.time_ms == bad["timestamp"]  # one fabricated citation is enough


def _fraud(told: Told) -> None:
    """Money lost is stated while accuracy is silent."""
    assert "concept" not in {str(each.kind) for each in told.drift}
    true = {record["request_id"]: record for record in told.logs.outcomes}
    real = [record for record in told.logs.predictions if "probe" not in record]
    wrong = [record["predicted_label"] != true[record["request_id"]]["true_label"] for record in real]
    assert not _alarms(wrong)  # of accuracy, by another's detector
    moved = np.array([record["timestamp"] >= (told.logs.changed_ms or 0) for record in real])
    assert _alarms(np.array(wrong) | (moved & (np.random.default_rng(1).random(len(moved)) < 0.02)))  # which two points more wake
    last = [each for each in told.drift if str(each.kind) == "cost"][-1]
    assert last.impact is not None
    assert last.impact.money_per_day == pytest.approx(told.logs.truth["money_per_day"], rel=0.1)


def _alarms(wrong: Iterable[bool]) -> int:
    detector, found = ADWIN(), 0
    for each in wrong:
        detector.update(int(each))
        found += detector.drift_detected
    return found


def _recession(told: Told) -> None:
    """It asks once to retrain, on what came after the turn."""
    [asked] = [event for event in told.events if event.type.value == "gnomon.retrain.requested"]
    assert told.logs.changed_ms is not None
    known = [event.data for event in told.events if isinstance(event.data, DriftData) and event.time_ms <= asked.time_ms]
    assert asked.data.data.from_ == [data.onset for data in known if data.incident_id in asked.data.incidents][-1]
    assert asked.data.data.n_labelled >= 2_000
    assert abs(epoch_ms(datetime.fromisoformat(asked.data.data.from_)) - told.logs.changed_ms) <= DAY_MS  # the width of a pane at that age
    assert asked.data.expected_gain * 30 >= 20_000
    assert not [event for event in told.events if event.type.value == "gnomon.retrain.cancelled"]


TOLD: dict[str, Callable[[Told], None]] = {
    "benchmark-gap": _benchmark_gap,
    "fraud": _fraud,
    "hle": _hle,
    "legal-rag": _legal_rag,
    "recession": _recession,
    "sanction": _sanction,
    "sap": _sap,
    "sepsis": _sepsis,
}
