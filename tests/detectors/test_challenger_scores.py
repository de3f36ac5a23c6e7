"""Which of two versions has the better Brier score, on the requests that both answered: found, quiet, fair, and free of how it is cut."""

from functools import cache

import numpy as np
import pytest
from support.rivals import sharpened
from support.stories import DAY_MS, START_MS, Record, findings, fold

from detectors.bank import StepContext
from detectors.bets.pairs import BET, LAMBDAS, PSI
from detectors.ladder import HOUR_MS
from detectors.named_rates import SHARE_BITS, rate_reading
from detectors.pair_panes import PAIR, pair_sums
from detectors.pair_watch import PairBank, against
from detectors.signals import Alarm
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.findings import Event, EventType
from schemas.policy import parse_policy
from schemas.policy_models import DEFAULT_FAMILIES, Budget, ModelPolicy, WatchPolicy
from streams.checkpoint_pack import Packer, Position, unpack

ALONE = "".join(f"[models.m.watch.{family}]\nenabled = false\n" for family in DEFAULT_FAMILIES)
WATCHED = parse_policy(f'[models.m]\nages = ["2d"]\n{ALONE}[models.m.watch.challenger]\n')
OVERSURE = {"1": 2.0, "2": 1.0}  # the champion is twice as sure as it should be; both draw the same line


def of_rivals(events: list[Event]) -> list[Event]:
    return [event for event in events if getattr(event.data, "kind", None) == "challenger"]


def opened(events: list[Event]) -> list[Event]:
    return [event for event in of_rivals(events) if event.type is EventType.DRIFT_OPENED]


@cache
def calibrated() -> tuple[list[Record], Watch, list[Event]]:
    """Folded once; nobody changes it."""
    records = sharpened(seed=1, sure=OVERSURE)
    return records, *fold(records, policy=WATCHED)


def test_better_scores_with_the_same_mistakes_are_named_by_the_brier_evidence() -> None:
    _, watch, events = calibrated()
    [found] = opened(events)
    data = found.data
    assert (found.subject, data.metric, data.direction.value, data.kind.value) == ("m/2", "brier:1", "down", "challenger")
    assert data.message.startswith("Version 2 of m has better scores than the champion 1: its Brier score is 0.")
    assert "requests since 1 January 2023 that both answered with a score, read at age 2 days; the difference is -" in data.message
    one, two = report([watch]).models
    [mine] = two.comparisons
    assert (mine.alone, mine.rival_alone, mine.state, one.comparisons[0].state) == (0, 0, "alarm", "off")
    assert data.current.value == pytest.approx(mine.brier, abs=0.02)
    assert data.baseline.value == pytest.approx(mine.rival_brier, abs=0.02)
    assert mine.brier_difference.hi < 0


def test_worse_scores_are_called_worse() -> None:
    [found] = opened(fold(sharpened(seed=2, sure={"1": 1.0, "2": 2.0}), policy=WATCHED)[1])
    assert (found.subject, found.data.metric, found.data.direction.value) == ("m/2", "brier:1", "up")
    assert found.data.message.startswith("Version 2 of m has worse scores than the champion 1: ")
    assert found.data.message.endswith(" Keep the champion.")


def test_fewer_mistakes_with_worse_scores_are_two_incidents() -> None:
    """What speaks for a version must not hide what speaks against it."""
    found = opened(fold(sharpened(seed=3, sure={"1": 0.8, "2": 4.0}, noise={"1": 0.8, "2": 0.0}, days=90), policy=WATCHED)[1])
    assert {(event.data.metric, event.data.direction.value) for event in found} == {("challenger:1", "down"), ("brier:1", "up")}
    assert found[1].data.message.endswith(" It errs less, though: calibrate its scores.")


def test_fewer_mistakes_with_better_scores_are_one() -> None:
    events = fold(sharpened(seed=4, sure={"1": 1.0, "2": 1.0}, noise={"1": 2.0, "2": 0.5}), policy=WATCHED)[1]
    [found] = opened(events)
    assert found.data.direction.value == "down"
    assert {monitor.metric for event in of_rivals(events) for monitor in event.data.monitors} == {"challenger:1", "brier:1"}


def test_a_difference_that_ends_clears() -> None:
    records = sharpened(seed=5, sure={"1": 1.0, "2": 2.5}, after={"1": 1.0, "2": 1.0}, change_day=30, days=120)
    events = of_rivals(fold(records, policy=WATCHED)[1])
    ends = [event.type for event in events if event.type in {EventType.DRIFT_OPENED, EventType.DRIFT_CLEARED}]
    assert ends == [EventType.DRIFT_OPENED, EventType.DRIFT_CLEARED]
    assert events[-1].data.message.startswith("Version 2 of m and the champion 1 no longer differ as they did: its Brier score is ")


@pytest.mark.parametrize("seed", range(10, 16))
def test_equals_raise_nothing(seed: int) -> None:
    records = sharpened(seed=seed, sure={"1": 1.0, "2": 1.0}, noise={"1": 0.7, "2": 0.7}, days=40)
    assert of_rivals(fold(records, policy=WATCHED)[1]) == []


@pytest.mark.parametrize("chunk", [397, 20_000])
def test_nothing_hangs_on_batches(chunk: int) -> None:
    records, watch, events = calibrated()
    again, found = fold(records, policy=WATCHED, chunk=chunk)
    assert findings(of_rivals(found)) == findings(of_rivals(events)) != []
    states = [each.companions["m"].members["comparisons"].to_state() for each in (again, watch)]
    assert states[0] == states[1]


@pytest.mark.parametrize("cut", [3_000, 9_000])
def test_a_restart_changes_nothing(cut: int) -> None:
    records, watch, events = calibrated()
    half, first = fold(records[:cut], policy=WATCHED, close=False)
    saved = unpack(Packer().pack(half, Position("scored", 1, 0)))
    assert saved is not None
    saved.watch.statistics_every_ms = None
    _, rest = fold(records, policy=WATCHED, watch=saved.watch)
    assert findings(of_rivals(first) + of_rivals(rest)) == findings(of_rivals(events))
    assert saved.watch.companions["m"].members["comparisons"].to_state() == watch.companions["m"].members["comparisons"].to_state()


def test_what_is_taken_back_leaves_no_trace() -> None:
    rng = np.random.default_rng(6)
    n = 1_000
    wrong, losses = rng.integers(0, 2, (2, n)), rng.integers(0, 2**40, (2, n))
    one = np.ones(n, dtype=np.int64)
    there, back = (pair_sums(sign * one, *wrong, *losses) for sign in (1, -1))
    assert not (there + back).any()
    sums = there.sum(axis=0)
    exact = np.square((losses[0] - losses[1]) * 2.0**-40).sum()
    assert PAIR.total(sums, "squares") == pytest.approx(exact, abs=n * 2**-40)


def test_labels_that_are_corrected_in_time_count_as_corrected() -> None:
    """Every label is wrong for an hour."""
    records = calibrated()[0]
    twice: list[Record] = []
    for at, topic, record in records:
        if topic == "outcomes":
            twice.append((at, topic, record | {"true_label": 1 - record["true_label"]}))
            twice.append((at + HOUR_MS, topic, record | {"timestamp": at + HOUR_MS}))
        else:
            twice.append((at, topic, record))
    watch, events = fold(sorted(twice, key=lambda record: record[0]), policy=WATCHED)
    assert [(event.data.metric, event.data.direction.value) for event in opened(events)] == [("brier:1", "down")]
    totals = [each.companions["m"].members["comparisons"].versions["2"].totals for each in (watch, calibrated()[1])]
    assert totals[0].rows.tolist() == totals[1].rows.tolist()


# the evidence itself


def reading(i: int, **counts: np.ndarray):  # type: ignore[no-untyped-def]
    start = i * HOUR_MS
    named = {f"{kind}:1": values for kind, values in counts.items()}
    return rate_reading(
        rung=1, age_ms=HOUR_MS, start_ms=start, end_ms=start + HOUR_MS, mature=True, segments=np.zeros(1, dtype=np.int64), counts=named
    )


def bank(pages: float) -> PairBank:
    policy = ModelPolicy(budget=Budget(pages=pages, days=30), watch={"challenger": WatchPolicy(tolerance=0.0)})
    return PairBank(policy=against(policy, "1"))


def drawn(rng: np.random.Generator, n: int, tilt: float = 0.0) -> np.ndarray:
    """Sums of ``n`` pairs whose squared errors have the same mean, and a skewed difference; ``tilt`` is added to the one."""
    base = rng.beta(1, 5, n)
    moved = np.where(rng.random(n) < 0.2, 0.4, -0.1) * rng.random(n) + tilt  # mean 0: 0.2 * 0.4 = 0.8 * 0.1
    own, theirs = (np.rint(np.clip(x, 0, 1) * 2**40).astype(np.int64) for x in (base / 2 + 0.3 + moved, base / 2 + 0.3))
    zero = np.zeros(n, dtype=np.int64)
    return pair_sums(zero + 1, zero, zero, own, theirs).sum(axis=0)[np.newaxis]


def alarms(rng: np.random.Generator, hours: int, tilt: float) -> int:
    held, found = bank(60), 0
    for i in range(hours):
        for signal in held.step(reading(i, brier=drawn(rng, 10, tilt)), StepContext()):
            found += isinstance(signal, Alarm)
        for panel in held.panels[1]:
            for row in list(panel.active):
                panel.lower_alarm(row, held.budget)
    return found


@pytest.mark.parametrize(("tilt", "within"), [(0.0, True), (0.05, False)])
def test_false_alarms_stay_within_the_budget(tilt: float, within: bool) -> None:
    """Of a model with 60 pages in 30 days: 40 % are the aggregate's. Differences that lean to one side must show."""
    rng, runs, hours = np.random.default_rng(7), 40, 240
    found = [alarms(rng, hours, tilt) for _ in range(runs)]
    allowed = 60 * 0.4 * hours / (30 * 24)
    assert bool(np.mean(found) + 2 * np.std(found) / np.sqrt(runs) < allowed) is within
    assert np.mean(found) > 0.01 * allowed  # else nothing was tested


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("law", [(0.5, 1.0, 1.0), (0.1, 0.9, 0.1), (0.9, 0.1, 0.9), (0.02, 1.0, 0.02 / 0.98)])
def test_the_evidence_is_one_or_less_in_the_mean(direction: int, law: tuple[float, float, float]) -> None:
    """Twelve differences, up with a chance and down else, mean zero: exactly, and as drawn; and of the clear test at its edge."""
    chance, up, down = law
    assert chance * up == pytest.approx((1 - chance) * down)
    one = chance * np.exp(direction * LAMBDAS * up - PSI * up**2) + (1 - chance) * np.exp(-direction * LAMBDAS * down - PSI * down**2)
    assert (one <= 1 + 1e-12).all()
    rng, runs, n = np.random.default_rng(8), 40_000, 12
    d = np.where(rng.random((runs, n)) < chance, up, -down)
    obs = np.stack([np.full(runs, float(n)), n / 2 + d.sum(axis=1) / 2, n / 2 - d.sum(axis=1) / 2, np.square(d).sum(axis=1)], axis=1)
    evidence = np.exp(BET.log_factors(obs, np.full((runs, 1), float(direction)))).mean(axis=1)
    assert evidence.mean() <= 1 + 3 * evidence.std() / np.sqrt(runs)
    assert evidence.max() > 1
    distance = 0.05
    still = np.clip(d * 0.9 + direction * distance, -1, 1)  # as far apart as the clear test says, in its direction
    lost = n / 2 + still.sum(axis=1) / 2, n / 2 - still.sum(axis=1) / 2
    obs = np.stack([np.full(runs, float(n)), *lost, np.square(still).sum(axis=1)], axis=1)
    cleared = np.array([np.exp(BET.clear_factors(row, np.array([direction, distance]))).mean() for row in obs[:8_000]])
    assert cleared.mean() <= 1 + 3 * cleared.std() / np.sqrt(len(cleared))


def test_without_scores_the_coin_has_the_budget_for_itself() -> None:
    coin = np.array([[6, 3 << SHARE_BITS]])
    alone, beside = bank(1), bank(1)
    for i in range(48):
        alone.step(reading(i, challenger=coin), StepContext())
        beside.step(reading(i, challenger=coin, brier=drawn(np.random.default_rng(i), 10)), StepContext())
    assert [panel.bet.name for panel in alone.panels[1]] == ["challenger:1"]

    def paid(held: PairBank) -> dict[str, float]:
        return {panel.bet.name: float(panel.monitors.paid[: panel.monitors.count].sum()) for panel in held.panels[1]}

    whole, shared = paid(alone), paid(beside)
    assert shared["challenger:1"] == pytest.approx(whole["challenger:1"] / 2)
    assert sum(shared.values()) == pytest.approx(whole["challenger:1"])


def test_the_story_is_what_it_says() -> None:
    """The two of ``sharpened`` draw the same line, and one of them is calibrated."""
    records = calibrated()[0]
    labels = {record["request_id"]: record["true_label"] for _, topic, record in records if topic == "outcomes"}
    made = {(r["request_id"], r["model_version"]): r for _, topic, r in records if topic == "predictions"}
    assert all(made[i, "1"]["predicted_label"] == made[i, "2"]["predicted_label"] for i in labels)
    score, label = np.array([(made[i, "2"]["score"], labels[i]) for i in sorted(labels)]).T
    assert abs(score.mean() - label.mean()) < 3 * np.sqrt(label.var() / len(label))
    assert min(at for at, _, _ in records) < START_MS + DAY_MS
