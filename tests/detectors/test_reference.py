"""Baselines from a reference set: what was counted arms the monitors of a version at once, within the budget, and stays."""

from typing import Any

import msgspec
import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, findings, fold, story

from detectors.bank import Bank, StepContext
from detectors.cells import BIN, KNOWN, MADE, PANE_GRID
from detectors.model_version import ModelVersion
from detectors.monitors import ARMED, LEARNING
from detectors.panel import Panel
from detectors.reading import Reading
from detectors.reference import Shipped
from detectors.signals import Alarm, Note
from detectors.watch import Watch
from schemas.audit import AuditLine, AuditType
from schemas.codec import encode
from schemas.control import Control, ship
from schemas.findings import Event, EventType
from schemas.policy import parse_policy
from schemas.policy_models import FAMILIES, Budget, ModelPolicy, WatchPolicy
from schemas.reference import FamilyReference, Observation, Reference
from schemas.scored import Forwarded, Origin
from streams.checkpoint_pack import Packer, Position, unpack

POLICY = parse_policy('[defaults]\nages = ["3d"]\n')
CONTROL = Origin("control", "c", 1)  # beside the policy's
CALM = story(seed=11, days=40, per_day=40)
BAD = story(seed=12, days=40, per_day=40, change_day=0, error_after=0.30)


def reference(version: str | None = "1", *, errors: float = 0.08, n: int = 5_000, group: str | None = "a") -> Reference:
    def counted(share: float) -> list[Observation]:
        seen = [Observation(segment={}, total=[n, round(share * n)])]
        return seen + ([Observation(segment={"group": group}, total=[n // 2, round(share * n / 2)])] if group else [])

    families = [FamilyReference(family="error", segments=counted(errors)), FamilyReference(family="alert_rate", segments=counted(0.25))]
    return Reference(sha256="a" * 64, predictions=n, labelled=n, families=families, model_version=version)


def shipped(watch: Watch, record: Reference, *, offset: int = 1, at: int = START_MS) -> Watch:
    watch.apply(Forwarded(CONTROL, offset, 0, encode(ship("m", record, by="ada", at_ms=at))))
    return watch


def fresh(record: Reference | None = None) -> Watch:
    watch = Watch(statistics_every_ms=None)
    return watch if record is None else shipped(watch, record)


def states(version: ModelVersion, family: str) -> dict[tuple[str, ...], tuple[int, float]]:
    """By group: state of the monitors of a rate at the mature rung or age 0, and the events behind its baseline."""
    found = {}
    for rung, panels in version.bank.panels.items():
        for panel in panels:
            m = panel.monitors
            for row in range(m.count):
                track = panel.tracks[int(m.track[row])]
                if track.family.name == family and (rung == version.ladder.mature or not track.family.needs_labels):
                    name = version.sums.segments.name(version.bank.segments[int(m.slot[row])])
                    found[tuple(name.values())] = int(m.state[row]), float(m.base[row, 3])
    return found


def told(events: list[Event]) -> list[bytes]:
    return findings(event for event in events if event.type is not EventType.STATISTICS)


def opened(events: list[Event]) -> list[Event]:
    return [event for event in events if event.type is EventType.DRIFT_OPENED]


def test_monitors_stand_from_the_first_pane_on_and_those_that_were_not_counted_learn() -> None:
    first = [record for record in CALM if record[0] < START_MS + 5 * DAY_MS]
    watch, _ = fold(first, policy=POLICY, watch=fresh(reference()), close=False)
    version = watch.models["m"]["1"]
    assert states(version, "error")[()] == (ARMED, 5_000)
    assert states(version, "alert_rate")[()] == (ARMED, 5_000)
    assert states(version, "error")["a",] == (ARMED, 2_500)
    assert states(version, "error")["b",][0] == LEARNING
    assert states(version, "fnr")[()][0] == LEARNING


def test_a_change_that_was_there_from_the_start_is_found_at_once() -> None:
    _, events = fold(BAD, policy=POLICY, watch=fresh(reference()), close=False)
    found = opened(events)[0]
    assert (found.data.metric, found.data.baseline.n) == ("error", 5_000)
    assert found.time_ms < START_MS + 9 * DAY_MS
    learnt = opened(fold(BAD, policy=POLICY, close=False)[1])
    assert [event for event in learnt if event.data.metric == "error"] == []  # what it learns from is bad


def test_the_record_waits_for_its_version_and_is_for_no_other() -> None:
    later = [(at + 30 * DAY_MS, topic, record | {"timestamp": record["timestamp"] + 30 * DAY_MS})
             for at, topic, record in story(seed=13, days=8, per_day=60, version="2")]  # fmt: skip
    watch, _ = fold(CALM[:800], policy=POLICY, watch=fresh(reference("2")), close=False)
    assert states(watch.models["m"]["1"], "error")[()][0] == LEARNING
    saved = unpack(Packer().pack(watch, Position("scored", 1, 0)))
    assert saved is not None
    assert list(saved.watch.references) == [("m", "2")]
    fold(CALM[:800] + later, watch=saved.watch, policy=POLICY, close=False)
    assert states(saved.watch.models["m"]["2"], "error")[()] == (ARMED, 5_000)
    assert saved.watch.references == {}


def test_one_for_every_version_gives_way_to_a_version_s_own() -> None:
    watch = shipped(fresh(reference(None)), reference("1", n=900), offset=2)
    fold(CALM[:800], policy=POLICY, watch=watch, close=False)
    assert states(watch.models["m"]["1"], "error")[()] == (ARMED, 900)
    shipped(watch, reference(None), offset=3)
    assert states(watch.models["m"]["1"], "error")[()] == (ARMED, 900)


def test_what_is_learnt_later_does_not_replace_it_and_a_policy_changes_it_only_by_a_promise() -> None:
    watch, _ = fold(story(seed=14, days=60, per_day=60), policy=POLICY, watch=fresh(reference()), close=False)
    version = watch.models["m"]["1"]
    assert states(version, "error")[()] == (ARMED, 5_000)
    assert states(version, "fnr")[()][0] == ARMED  # learnt meanwhile
    before = {rung: [panel.monitors.log_r.copy() for panel in panels] for rung, panels in version.bank.panels.items()}
    watch.use(parse_policy('[defaults]\nages = ["3d"]\nbudget = { pages = 2 }\n'))
    assert states(version, "error")[()] == (ARMED, 5_000)
    for rung, panels in version.bank.panels.items():
        for panel, old in zip(panels, before[rung], strict=True):
            n = panel.monitors.count
            assert np.array_equal(panel.monitors.log_r[:n], old[:n])
    watch.use(parse_policy('[defaults]\nages = ["3d"]\nbaseline = { error = 0.05 }\n'))
    assert states(version, "error")[()] == (ARMED, 0)


def test_it_arms_a_version_that_is_running_and_a_reset_lets_it_learn_anew() -> None:
    watch, _ = fold(CALM[:1_500], policy=POLICY, close=False)
    version = watch.models["m"]["1"]
    assert states(version, "error")[()][0] == LEARNING
    standing = version.bank.budget.standing.copy()
    shipped(watch, reference(), at=START_MS + 20 * DAY_MS)
    assert states(version, "error")[()] == (ARMED, 5_000)
    assert states(version, "error")["a",] == (ARMED, 2_500)
    assert (version.bank.budget.standing - standing).tolist() == [1, 1, 4]
    shipped(watch, reference(n=6_000), offset=2, at=START_MS + 20 * DAY_MS)
    assert states(version, "error")[()] == (ARMED, 6_000)
    assert (version.bank.budget.standing - standing).tolist() == [1, 1, 4]
    reset = Control(type="baseline", by="ada", at=START_MS + 21 * DAY_MS, model_id="m", body={"decision": "reset"})
    watch.apply(Forwarded(CONTROL, 3, 0, encode(reset)))
    assert states(version, "error")[()][0] == LEARNING
    assert version.bank.shipped is None
    assert version.bank.budget.standing.tolist() == [0, 0, 0]


def test_too_little_is_not_enough_and_nonsense_is_not_taken() -> None:
    few = Shipped(reference(n=150), None)
    assert few.find("error", {}) is not None
    watch, _ = fold(CALM[:800], policy=POLICY, watch=fresh(reference(n=150)), close=False)
    assert states(watch.models["m"]["1"], "error")[()][0] == LEARNING
    nonsense = {"error": [10.0, 20.0], "fnr": [1.0], "unheard": [5.0, 1.0], "coverage": [900.0, 900.0]}
    wrong = [FamilyReference(family=name, segments=[Observation(segment={}, total=total)]) for name, total in nonsense.items()]
    none = Shipped(msgspec.structs.replace(reference(), families=wrong), None)
    assert [none.find(each.family, {}) for each in wrong] == [None] * 4


@pytest.mark.parametrize("cut", [400, 1_900])
def test_a_restart_and_other_batches_change_nothing(cut: int) -> None:
    whole, events = fold(BAD, policy=POLICY, watch=fresh(reference()))
    half, first = fold(BAD[:cut], policy=POLICY, watch=fresh(reference()), close=False)
    saved = unpack(Packer().pack(half, Position("scored", 1, 0)))
    assert saved is not None
    saved.watch.statistics_every_ms = None
    _, rest = fold(BAD, policy=POLICY, watch=saved.watch)
    assert told(first + rest) == told(events)
    assert saved.watch.state_of("m", "1") == whole.state_of("m", "1")
    assert told(fold(BAD, policy=POLICY, watch=fresh(reference()), chunk=173)[1]) == told(events)


def test_the_audit_trail_names_the_file_and_the_baselines_that_stand_by_it() -> None:
    watch = fresh(reference())
    [_, line] = [msgspec.json.decode(each.value, type=AuditLine) for each in watch.ledger.take()]
    assert (line.type, line.model_id, line.by) == (AuditType.DECISION, "m", "ada")
    assert line.text == f"ada: baseline reference for 1, SHA-256 {'a' * 12}."
    assert line.body["body"]["sha256"] == "a" * 64
    fold(CALM[:800], policy=POLICY, watch=watch, close=False)
    lines = [msgspec.json.decode(each.value, type=AuditLine) for each in watch.ledger.take()]
    stand = [each for one in lines if one.type is AuditType.BASELINE for each in one.body["baselines"]]
    assert {"error", "alert_rate"} <= {each["metric"] for each in stand}
    assert {each["n"] for each in stand} == {5_000, 2_500}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"families": []}, "sha256"),
        ({"sha256": "b" * 63}, "sha256"),
        ({"sha256": "a" * 64, "predictions": 1, "labelled": 1, "families": [{"family": "x", "segments": [{}]}]}, "segment"),
    ],
)
def test_a_record_that_is_none_is_refused(body: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Control(type="baseline", by="ada", at=0, model_id="m", body={"decision": "reference"} | body)
    with pytest.raises(ValueError, match="model_id"):
        Control(type="baseline", by="ada", at=0, body=ship("m", reference(), by="ada", at_ms=0).body)


ONLY_ERROR = {name: WatchPolicy(enabled=name == "error") for name in FAMILIES}


def pages(rng: np.random.Generator, *, bound: float | None) -> int:
    """Ship 1,000 labels at 8 % to a bank, and fold 90 days of 100 labels at the same 8 %; count alarms. ``bound``: in place of its own."""
    policy = ModelPolicy(budget=Budget(pages=0.1, days=30), watch=ONLY_ERROR)
    bank, found = Bank(policy=policy), 0
    bank.ship(Shipped(reference(errors=float(rng.binomial(1_000, 0.08)) / 1_000, n=1_000, group=None), None), 0)
    none = np.zeros((1, PANE_GRID, BIN.width), dtype=np.int64)
    for day in range(90):
        known, made = KNOWN.zeros(1), MADE.zeros(1)
        wrong = int(rng.binomial(100, 0.08))
        known[0, KNOWN.at["fn"]], known[0, KNOWN.at["tn"]], made[0, MADE.at["n"]] = wrong, 100 - wrong, 100
        reading = Reading(
            rung=1, age_ms=DAY_MS, start_ms=day * DAY_MS, end_ms=(day + 1) * DAY_MS, due_ms=(day + 2) * DAY_MS, mature=True,
            segments=np.zeros(1, dtype=np.int64), made=made, known=known, made_bins=none, known_bins=none,
        )  # fmt: skip
        signals = bank.step(reading, StepContext())
        assert day or any(isinstance(signal, Note) for signal in signals)
        found += sum(isinstance(signal, Alarm) for signal in signals)
        if bound is not None and not day:
            [panel] = [panel for panel in bank.panels[1] if isinstance(panel, Panel) and panel.bet.name == "rates"]
            value = float(panel.monitors.base[0, 0])
            panel.monitors.null[0] = value, value
            panel._set_table(0, panel.monitors.null[0])
    return found


@pytest.mark.parametrize(("bound", "within"), [(None, True), (0.0, False)])
def test_false_alarms_stay_within_the_budget_with_a_reference_of_1_000(bound: float | None, within: bool) -> None:
    """A tenth of a page a month, three months, 40 % of it the aggregate's; with the estimate itself for a bound it would not hold."""
    rng = np.random.default_rng(21)
    found = [pages(rng, bound=bound) for _ in range(150)]
    assert bool(np.mean(found) <= 0.4 * 0.3) is within
