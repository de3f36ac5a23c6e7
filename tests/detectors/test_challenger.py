"""Champion and challenger: which of two versions of a model is better, on the requests that both answered."""

from functools import cache

import numpy as np
import pytest
from support.rivals import rivals
from support.stories import DAY_MS, START_MS, Record, findings, fold

from detectors.bank import StepContext
from detectors.ladder import HOUR_MS
from detectors.named_rates import SHARE_BITS, rate_reading
from detectors.pair_panes import PAIR, PairPanes, pair_sums
from detectors.pair_watch import PairBank, against
from detectors.pair_words import difference
from detectors.signals import Alarm
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.findings import Event, EventType
from schemas.policy import PolicyError, parse_policy
from schemas.policy_models import DEFAULT_FAMILIES, Budget, ModelPolicy, WatchPolicy
from streams.checkpoint_pack import Packer, Position, unpack

ALONE = "".join(f"[models.m.watch.{family}]\nenabled = false\n" for family in DEFAULT_FAMILIES)
WATCHED = parse_policy(f'[models.m]\nages = ["2d"]\n{ALONE}[models.m.watch.challenger]\n')
BETTER = {"1.4": 0.10, "1.5": 0.05}


def of_rivals(events: list[Event]) -> list[Event]:
    return [event for event in events if getattr(event.data, "kind", None) == "challenger"]


@cache
def better() -> tuple[list[Record], Watch, list[Event]]:
    """Folded once; nobody changes it."""
    records = rivals(seed=1, errors=BETTER)
    return records, *fold(records, policy=WATCHED)


def test_a_better_challenger_is_found_once_and_said_so() -> None:
    _, _, events = better()
    opened = [event for event in of_rivals(events) if event.type is EventType.DRIFT_OPENED]
    assert [event.subject for event in opened] == ["m/1.5"]
    data = opened[0].data
    assert (data.direction.value, data.metric, data.age_s) == ("down", "challenger:1.4", 2 * 86_400)
    assert opened[0].time_ms < START_MS + 40 * DAY_MS
    assert data.current.hi < data.baseline.lo
    assert data.message.startswith("Version 1.5 of m is better than the champion 1.4: ")
    assert "requests since 1 January 2023 that both answered, read at age 2 days; the difference is -" in data.message


def test_figures_are_those_of_a_count() -> None:
    records, watch, _ = better()
    labels = {record["request_id"]: record["true_label"] for _, topic, record in records if topic == "outcomes"}
    made = {(r["request_id"], r["model_version"]): r for _, topic, r in records if topic == "predictions"}
    wrong = {v: np.array([made[i, v]["predicted_label"] != labels[i] for i in sorted(labels)]) for v in BETTER}
    square = {v: np.array([(made[i, v]["score"] - labels[i]) ** 2 for i in sorted(labels)]) for v in BETTER}
    for model in report([watch]).models:
        own = model.model_version
        rival = next(v for v in BETTER if v != own)
        [found] = model.comparisons
        assert (found.rival, found.n, found.scored) == (rival, len(labels), len(labels))
        assert (found.error, found.rival_error) == (wrong[own].mean(), wrong[rival].mean())
        assert (found.alone, found.rival_alone) == ((wrong[own] & ~wrong[rival]).sum(), (wrong[rival] & ~wrong[own]).sum())
        assert found.brier == pytest.approx(square[own].mean(), abs=1e-9)
        assert found.rival_brier == pytest.approx(square[rival].mean(), abs=1e-9)
        assert found.difference.value == pytest.approx(wrong[own].mean() - wrong[rival].mean())
        spread = (square[own] - square[rival]).std() / np.sqrt(len(labels))
        gap = found.brier_difference
        assert gap.value == pytest.approx(found.brier - found.rival_brier)
        assert 1.96 * spread < (gap.hi - gap.lo) / 2 < 2 * 1.96 * spread
        assert found.state == {"1.4": "off", "1.5": "alarm"}[own]


def test_a_worse_challenger_is_called_worse() -> None:
    _, events = fold(rivals(seed=2, errors={"a": 0.05, "b": 0.10}), policy=WATCHED)
    [opened] = [event for event in of_rivals(events) if event.type is EventType.DRIFT_OPENED]
    assert (opened.subject, opened.data.direction.value) == ("m/b", "up")
    assert opened.data.message.startswith("Version b of m is worse than the champion a: ")


def test_the_policy_may_name_the_champion() -> None:
    policy = parse_policy(f'[models.m]\nages = ["2d"]\n{ALONE}[models.m.watch.challenger]\nchampion = "1.5"\n')
    _, events = fold(better()[0], policy=policy)
    [opened] = [event for event in of_rivals(events) if event.type is EventType.DRIFT_OPENED]
    assert (opened.subject, opened.data.metric, opened.data.direction.value) == ("m/1.4", "challenger:1.5", "up")
    with pytest.raises(PolicyError, match=r"watch.challenger.champion: expected the name of a version, got 1.4"):
        parse_policy("[defaults.watch.challenger]\nchampion = 1.4\n")


def test_each_of_three_versions_is_held_against_the_champion() -> None:
    records = rivals(seed=3, errors={"1": 0.10, "2": 0.03, "10": 0.10}, common=0.8)
    watch, events = fold(records, policy=WATCHED)
    assert {(event.subject, event.data.metric) for event in of_rivals(events)} == {("m/2", "challenger:1")}
    states = {model.model_version: [(c.rival, c.state) for c in model.comparisons] for model in report([watch]).models}
    assert states == {"1": [("10", "off"), ("2", "off")], "2": [("1", "alarm"), ("10", "off")], "10": [("1", "watching"), ("2", "off")]}


def test_equals_raise_nothing_and_nothing_is_watched_unasked() -> None:
    assert of_rivals(fold(rivals(seed=4, errors={"1": 0.08, "2": 0.08}), policy=WATCHED)[1]) == []
    unasked = parse_policy(f'[models.m]\nages = ["2d"]\n{ALONE}')
    watch, events = fold(rivals(seed=1, errors=BETTER, days=10), policy=unasked)
    assert of_rivals(events) == []
    assert [model.comparisons[0].state for model in report([watch]).models] == ["off", "off"]
    assert watch.companions["m"].members["comparisons"].weight(2**60) == 0


def test_fast_negatives_do_not_make_the_cautious_version_look_better() -> None:
    """One version errs on negatives only, the other as often on positives, whose labels come weeks later."""
    rng = np.random.default_rng(5)
    records: list[Record] = []
    for i in range(4_000):
        at = START_MS + i * 10 * 60_000
        label = i % 2
        wrong = rng.random(2) < (0.2, 0.2)
        for version, predicted in (("bold", label | wrong[0]), ("shy", label & ~wrong[1] & 1)):
            made = {"request_id": str(i), "model_id": "m", "model_version": version, "timestamp": at, "predicted_label": int(predicted)}
            records.append((at, "predictions", made))
        known = at + (14 * DAY_MS if label else HOUR_MS)
        records.append((known, "outcomes", {"request_id": str(i), "timestamp": known, "true_label": label}))
    records.sort(key=lambda record: record[0])
    policy = parse_policy(f'[models.m]\nages = ["1d", "15d"]\n{ALONE}[models.m.watch.challenger]\n')
    assert of_rivals(fold(records, policy=policy)[1]) == []
    early = parse_policy(f'[models.m]\nages = ["1d"]\n{ALONE}[models.m.watch.challenger]\n')
    assert of_rivals(fold(records, policy=early)[1])  # what would be said of the labels known by a day


def test_a_change_that_ends_clears() -> None:
    worse_for_a_while = rivals(seed=6, errors={"1": 0.06, "2": 0.18}, after={"1": 0.06, "2": 0.06}, change_day=30, days=110, common=0.3)
    events = of_rivals(fold(worse_for_a_while, policy=WATCHED)[1])
    assert [event.type for event in events if event.type in {EventType.DRIFT_OPENED, EventType.DRIFT_CLEARED}] == [
        EventType.DRIFT_OPENED,
        EventType.DRIFT_CLEARED,
    ]
    assert events[-1].data.message.startswith("Version 2 of m and the champion 1 no longer differ as they did: ")


@pytest.mark.parametrize("chunk", [397, 20_000])
def test_nothing_hangs_on_batches(chunk: int) -> None:
    records, _, events = better()
    assert findings(of_rivals(fold(records, policy=WATCHED, chunk=chunk)[1])) == findings(of_rivals(events))


@pytest.mark.parametrize("cut", [3_000, 9_000])
def test_a_restart_changes_nothing(cut: int) -> None:
    records, watch, events = better()
    half, first = fold(records[:cut], policy=WATCHED, close=False)
    saved = unpack(Packer().pack(half, Position("scored", 1, 0)))
    assert saved is not None
    saved.watch.statistics_every_ms = None
    _, rest = fold(records, policy=WATCHED, watch=saved.watch)
    assert findings(of_rivals(first) + of_rivals(rest)) == findings(of_rivals(events))
    assert saved.watch.companions["m"].members["comparisons"].to_state() == watch.companions["m"].members["comparisons"].to_state()


def test_a_correction_is_counted_once() -> None:
    records = list(better()[0])
    last = max(at for at, _, _ in records)
    outcomes = [record for _, topic, record in records if topic == "outcomes"][:50]
    for k, outcome in enumerate(outcomes):
        fixed = outcome | {"timestamp": last + k, "true_label": 1 - outcome["true_label"]}
        records.append((last + k, "outcomes", fixed))
    [mine, theirs] = [model.comparisons[0] for model in report([fold(records, policy=WATCHED)[0]]).models]
    assert mine.n == theirs.n == better()[1].companions["m"].members["comparisons"].versions["1.4"].totals.rows[0, 0]
    assert mine.alone == theirs.rival_alone
    before = report([better()[1]]).models[0].comparisons[0]
    assert mine.error != before.error


def bank(pages: float, contract: float = 0.5) -> PairBank:
    policy = ModelPolicy(budget=Budget(pages=pages, days=30), watch={"challenger": WatchPolicy(tolerance=0.0)})
    return PairBank(policy=against(policy, "1"))


def alarms(held: PairBank, coins: np.ndarray) -> int:
    """Step a pane an hour of (discordant, worse alone); count alarms, each of which clears at once so that the next can come."""
    found = 0
    for i, (n, x) in enumerate(coins.tolist()):
        counts = {"challenger:1": np.array([[n, x << SHARE_BITS]])}
        start = i * HOUR_MS
        reading = rate_reading(
            rung=1, age_ms=HOUR_MS, start_ms=start, end_ms=start + HOUR_MS, mature=True, segments=np.zeros(1, dtype=np.int64), counts=counts
        )
        signals = held.step(reading, StepContext())
        found += sum(isinstance(signal, Alarm) for signal in signals)
        for panel in held.panels[1]:
            for row in list(panel.active):
                panel.lower_alarm(row, held.budget)
    return found


@pytest.mark.parametrize(("even", "within"), [(0.5, True), (0.65, False)])
def test_false_alarms_stay_within_the_budget(even: float, within: bool) -> None:
    """Of a model with 60 pages in 30 days: 40 % are the aggregate's; a coin that is not even must show."""
    rng = np.random.default_rng(7)
    runs, hours = 60, 240
    found = [alarms(bank(pages=60), np.array([(n := rng.poisson(6), rng.binomial(n, even)) for _ in range(hours)])) for _ in range(runs)]
    allowed = 60 * 0.4 * hours / (30 * 24)
    assert bool(np.mean(found) + 2 * np.std(found) / np.sqrt(runs) < allowed) is within
    assert np.mean(found) > 0.02 * allowed  # else nothing was tested


def test_the_interval_of_the_difference_covers_at_every_look() -> None:
    rng = np.random.default_rng(8)
    missed = 0
    for _ in range(200):
        one, other = rng.random(4_000) < 0.10, rng.random(4_000) < 0.08
        zeros = np.zeros(4_000, dtype=np.int64) - 1
        sums = pair_sums(np.ones(4_000, dtype=np.int64), one.astype(np.int64), other.astype(np.int64), zeros, zeros).cumsum(axis=0)
        looks = [difference(sums[n - 1]) for n in range(200, 4_001, 200)]
        missed += any(not look.lo <= 0.02 <= look.hi for look in looks)
    assert missed <= 16  # 5 % of 200, and two standard deviations


def test_panes_wait_for_the_age_and_take_no_label_known_later() -> None:
    panes = PairPanes((HOUR_MS, DAY_MS))
    one = np.ones((5, 3), dtype=np.int64)
    panes.add(1, np.zeros(3, dtype=np.int64), np.array([1, HOUR_MS, HOUR_MS + 1]), pair_sums(*one))
    assert panes.due(2**50, {1: "x"}) == []
    panes.settle(1, HOUR_MS, 5 * DAY_MS)
    assert panes.due(5 * DAY_MS - 1, {1: "x"}) == []
    [(due, rival, start)] = panes.due(5 * DAY_MS, {1: "x"})
    assert (due, PairPanes.from_state(panes.to_state()).to_state()) == (5 * DAY_MS, panes.to_state())
    assert panes.read(rival, start)[0][PAIR.at["n"]] == 2
    panes.passed(5 * DAY_MS)
    panes.add(1, np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64), pair_sums(*one[:, :1]))
    assert not len(panes.table.keys)
