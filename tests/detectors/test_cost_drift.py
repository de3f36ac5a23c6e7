"""Costs through the whole fold: a rise is found and priced, calm costs are quiet, timeouts and corrections count, cuts change nothing."""

import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, Record, findings, fold

from detectors.active import Active
from detectors.bets import discover as bets
from detectors.cost_cells import COST, LOWER_ENDS, cost_cell
from detectors.fixed import Floats
from detectors.monitors import ARMED
from detectors.signals import Cleared, Estimate, Key
from detectors.watch import Watch
from schemas.findings import EventType
from schemas.policy import parse_policy

CHANGE = START_MS + 60 * DAY_MS
MATRIX = parse_policy('[models.m]\nages = ["4d"]\ncost = { fp = 5.0, fn = "amount" }\n')
TIMEOUT = parse_policy(
    '[models.m]\nages = ["1d"]\nhorizon = "4d"\non_timeout = "negative"\ncost = { fp = "3 + 0.5*amount", fn = "amount", tn = 0.02 }\n'
)


def priced(*, seed: int, factor: float = 1.0, realised: bool = False, days: int = 100, per_day: int = 60) -> list[Record]:
    """Frauds missed or flagged; from day 60 on stakes are ``factor`` times as large, errors as many as before."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    predicted = rng.random(n) < 0.2
    label = predicted ^ (rng.random(n) < 0.15)
    stake = rng.lognormal(3.0, 0.8, n) * np.where(at >= CHANGE, factor, 1.0)
    known = at + (rng.exponential(1.0, n) * DAY_MS).astype(np.int64) + 1
    records: list[Record] = []
    for i in range(n):
        made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": int(at[i])}
        made |= {"score": 0.8 if predicted[i] else 0.2, "predicted_label": int(predicted[i]), "amount": round(float(stake[i]), 2)}
        outcome = {"request_id": f"r{i}", "timestamp": int(known[i]), "true_label": int(label[i])}
        if realised:
            del made["amount"]
            outcome["cost"] = round(float(stake[i]), 2) if label[i] and not predicted[i] else 0.0
        records += [(int(at[i]), "predictions", made), (int(known[i]), "outcomes", outcome)]
    return sorted(records, key=lambda record: record[0])


@pytest.mark.parametrize("realised", [False, True])
def test_a_rise_of_costs_is_found_and_priced(realised: bool) -> None:
    records = priced(seed=21, factor=2.5, realised=realised)
    _, events = fold(records, policy=parse_policy('[models.m]\nages = ["4d"]\n') if realised else MATRIX)
    opened = [event for event in events if event.type == EventType.DRIFT_OPENED]
    assert [event.data.kind.value for event in opened] == ["cost"]
    assert opened[0].time_ms > CHANGE
    data = opened[0].data
    assert data.current.value > 1.3 * data.baseline.value
    last = [event for event in events if event.type.value.startswith("gnomon.drift.") and event.data.kind.value == "cost"][-1].data
    after, before = ([cost for at, cost in costs(records) if (at >= CHANGE) == later] for later in (True, False))
    true = (np.mean(after) - np.mean(before)) * 60
    assert last.impact.money_per_day == pytest.approx(true, rel=0.3)
    assert "a day" in last.message


@pytest.mark.parametrize("seed", range(3))
def test_calm_costs_are_quiet(seed: int) -> None:
    watch, events = fold(priced(seed=seed), policy=MATRIX)
    assert [event for event in events if getattr(event.data, "metric", "") == "cost"] == []  # other monitors have their own false alarms
    [panel] = [panel for panel in watch.models["m"]["1"].bank.panels[1] if panel.bet.name == "costs"]
    assert (panel.monitors.state[: panel.monitors.count] == ARMED).any()


@pytest.mark.parametrize("chunk", [97, 10**9])
def test_findings_do_not_depend_on_where_the_log_is_cut(chunk: int) -> None:
    records = priced(seed=21, factor=2.5)
    _, events = fold(records, policy=MATRIX)
    assert findings(fold(records, policy=MATRIX, chunk=chunk)[1]) == findings(events) != []


def test_cells_hold_what_was_known_at_an_age_and_timeouts_are_negatives() -> None:
    records = priced(seed=3, days=12)
    for number, (_, topic, record) in enumerate(records):  # some labels are lost, some corrected two days later, some costs realised
        if topic == "outcomes" and number % 3 == 0:
            records[number] = (record["timestamp"], "outcomes", record | {"request_id": "lost"})
    fixes = [(r["timestamp"] + 2 * DAY_MS, "outcomes", r | {"timestamp": r["timestamp"] + 2 * DAY_MS, "true_label": 1 - r["true_label"]})
             for _, t, r in records if t == "outcomes" and r["request_id"].endswith("7")]  # fmt: skip
    records = sorted(records + fixes, key=lambda record: record[0])
    watch, _ = fold(records, policy=TIMEOUT, close=False, ticks=False)
    made = {r["request_id"]: r for _, t, r in records if t == "predictions"}
    known: dict[str, int] = {}
    for _, topic, r in records:
        if topic == "outcomes" and r["request_id"] in made and r["timestamp"] - made[r["request_id"]]["timestamp"] <= 4 * DAY_MS:
            known[r["request_id"]] = r["true_label"]
    expected, total = np.zeros(64, dtype=np.int64), 0
    for key, p in made.items():
        y = known.get(key, 0)
        cost = {(1, 0): 3 + 0.5 * p["amount"], (0, 1): p["amount"], (0, 0): 0.02, (1, 1): 0.0}[p["predicted_label"], y]
        expected[cost_cell(np.array([round(cost * 1e4)]))[0]] += 1
        total += round(cost * 1e4)
    cells, exact = read(watch)
    assert cells == expected.tolist()
    assert exact == pytest.approx(total / 1e4, abs=0.01)  # halves of a ten-thousandth
    assert len(known) < len(made)
    assert exact >= LOWER_ENDS @ expected


def read(watch: Watch) -> tuple[list[int], float]:
    """All panes at the rung of the horizon, timed out."""
    from detectors.cost_cells import with_timeouts

    sums = watch.models["m"]["1"].sums
    [pane] = sums.read([(START_MS, START_MS + 13 * DAY_MS)], 2)
    timed_out = with_timeouts(pane.costs[:1], pane.twins[:1], np.array([True]))
    return timed_out[0, :, :2].reshape(64).tolist(), float(COST.total(timed_out, "cost").sum())


def test_many_panes_at_once_are_the_panes_one_by_one() -> None:
    watch, _ = fold(priced(seed=3, days=12), policy=TIMEOUT, close=False, ticks=False)
    sums, hour = watch.models["m"]["1"].sums, DAY_MS // 24
    spans = [(START_MS + at * hour, START_MS + (at + width) * hour) for at, width in ((0, 1), (1, 2), (5, 1), (24, 24), (100, 3), (400, 1))]
    many = sums.read(spans, 2)
    assert [len(pane.segments) for pane in many][-1] == 0 < sum(len(pane.segments) for pane in many)
    assert any(pane.costs.any() for pane in many)
    for span, pane in zip(spans, many, strict=True):
        for got, alone in zip(pane, sums.read([span], 2)[0], strict=True):
            np.testing.assert_array_equal(got, alone)


def costs(records: list[Record]) -> list[tuple[int, float]]:
    """(predicted at, cost) of every labelled prediction, by hand."""
    made = {r["request_id"]: r for _, t, r in records if t == "predictions"}
    out = []
    for _, topic, r in records:
        if topic == "outcomes":
            p = made[r["request_id"]]
            matrix = {(1, 0): 5.0, (0, 1): p.get("amount", 0.0)}.get((p["predicted_label"], r["true_label"]), 0.0)
            out.append((p["timestamp"], r.get("cost", matrix)))
    return out


def missed(*, seed: int, days: int = 90, per_day: int = 60, before: float = 0.15, after: float = 0.6) -> list[Record]:
    """A fifth of the payments are frauds; from day 60 on more of them are missed, whose stakes are as large as ever."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    label = rng.random(n) < 0.2
    flagged = np.where(label, rng.random(n) >= np.where(at >= CHANGE, after, before), rng.random(n) < 0.05)
    stake = rng.lognormal(4.0, 0.8, n)
    records: list[Record] = []
    for i in range(n):
        made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": int(at[i]), "amount": round(float(stake[i]), 2)}
        made |= {"score": 0.8 if flagged[i] else 0.2, "predicted_label": int(flagged[i])}
        known = int(at[i]) + int(rng.exponential(1.0) * DAY_MS) + 1
        records.append((int(at[i]), "predictions", made))
        records.append((known, "outcomes", {"request_id": f"r{i}", "timestamp": known, "true_label": int(label[i])}))
    return sorted(records, key=lambda record: record[0])


def test_a_rise_of_misses_says_what_it_costs_a_day() -> None:
    """Whatever watches costs is off: the misses are priced by their own stakes. The truth: so many more frauds a day, times their stake."""
    off = "[models.m.watch]\ncost = { enabled = false }\nerror = { enabled = false }\n"
    priced_by = '[models.m]\nages = ["4d"]\ncost = { fp = 5.0, tp = 15.0, fn = "0.5*amount" }\n'
    records = missed(seed=5)
    _, events = fold(records, policy=parse_policy(priced_by + off))
    last = [event for event in events if getattr(event.data, "metric", "") == "fnr"][-1].data
    stakes = [r["amount"] for _, t, r in records if t == "predictions"]
    true = (0.6 - 0.15) * 0.2 * 60 * (0.5 * float(np.mean(stakes)) - 15.0)
    assert last.impact.money_per_day == pytest.approx(true, rel=0.25)
    assert f"about {last.impact.money_per_day:,.0f} a day" in last.message
    for chunk in (97, 10**9):
        assert findings(fold(records, policy=parse_policy(priced_by + off), chunk=chunk)[1]) == findings(events)
    _, unpriced = fold(records, policy=parse_policy('[models.m]\nages = ["4d"]\n' + off))
    assert {event.data.impact for event in unpriced if getattr(event.data, "metric", "") == "fnr"} == {None}


def test_a_change_that_lies_in_costs_never_seen_before_is_not_taken_for_over() -> None:
    """As many events cost something as before, but fifty times as much: what is below the old cut looks as it always did."""
    bet, rng = bets()["costs"], np.random.default_rng(1)

    def observation(n: int, cost: float) -> Floats:
        counts = np.zeros(bet.width)
        dear = rng.binomial(n, 0.012)
        cell = int(np.searchsorted(LOWER_ENDS, cost, side="right")) - 1
        counts[0], counts[cell], counts[-1] = n - dear, dear, dear * cost
        return counts

    fit = bet.fit(observation(10_000, 200.0), phi=1.0, tolerance=0.1, direction=1, parent=None)
    seen = observation(1_000, 10_000.0)
    current = Estimate(float(seen[-1]) / 1_000, float(seen[-1]) / 2_000, float(seen[-1]) / 500, 1_000.0)

    def active() -> Active:
        base = Estimate(fit.value, fit.lo, fit.hi, fit.n)
        key = Key("cost", 1, 0, 1)
        return Active.after(key, bet, fit, phi=1.0, stake=8, current=current, baseline=base, tolerance=0.1, seen=seen)

    runs = [active() for _ in range(40)]
    wrongly = [any(isinstance(one.step(observation(60, 10_000.0), step), Cleared) for step in range(100)) for one in runs]
    assert sum(wrongly) <= 2  # at most 1 % each
    over = active()
    assert any(isinstance(over.step(observation(60, 200.0), step), Cleared) for step in range(400))
