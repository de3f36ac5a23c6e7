"""The gap between a group and the rest: fair for every truth in the null, quiet when all move together, found when one falls behind."""

import itertools
import math

import msgspec
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import chi2
from support.stories import DAY_MS, START_MS, Record, fold

from detectors.bank import Bank, StepContext
from detectors.bets import DOWN, UP
from detectors.bets.gap import BET
from detectors.kernel import grow, mix
from detectors.monitors import ARMED
from detectors.signals import Alarm, Cleared, Moved
from schemas.policy import Policy, PolicyError, parse_policy
from schemas.policy_models import Budget, ModelPolicy, WatchPolicy

CONTEXT = StepContext(outcome_days=lambda segment: 30.0)
SIGNS = pytest.mark.parametrize("direction", [UP, DOWN])


def upper(count: float) -> float:
    """Exact upper 97.5 % bound of a Poisson mean."""
    return float(chi2.ppf(0.975, 2 * count + 2) / 2)


def observed(n, x, rest, failed):
    """Observations of panes, from arrays or numbers."""
    n, x, rest, failed = (np.atleast_1d(np.asarray(each, dtype=float)) for each in (n, x, rest, failed))
    return np.stack([n, x, rest, failed, n * failed / rest, n * n / rest], axis=-1)


def tables(direction):
    """One of a contract, one learnt with a gap, one learnt without."""
    yield 0.05, BET.table(BET.contract(0.05).null, direction)
    for gap, rest in ((0.04, 0.3), (0.0, 0.1)):
        yield gap, BET.table(np.array([direction * gap, direction * gap, rest]), direction)


def test_a_learnt_null_is_never_narrower_than_equality_and_covers_the_gap():
    """Newcombe's bound, one-sided 95 %, of baselines with as few as ten failures; the rest is known from finite events as well."""
    rng = np.random.default_rng(2)
    for n, p, m, r in ((200, 0.15, 400, 0.05), (400, 0.1, 8_000, 0.05), (3_000, 0.3, 1_000, 0.1)):
        x, failed = rng.binomial(n, p, 1_000).astype(float), rng.binomial(m, r, 1_000).astype(float)
        totals = observed(np.full(1_000, n), x, np.full(1_000, m), failed)
        up, down = (
            np.array([BET.fit(total, phi=1.0, tolerance=0.0, direction=each, parent=None).null[0] for total in totals])
            for each in (UP, DOWN)
        )
        assert 0.93 <= (up >= p - r).mean() <= 0.98
        assert (up >= 0).all()
        assert (down <= 0).all()


@SIGNS
@pytest.mark.parametrize("sizes", [(1, 7), (4, 4), (7, 1), (2, 5)])
def test_factors_are_fair_for_every_truth_of_the_null(direction, sizes):
    """The exact expectation, with unequal chances inside the pane whose means are on the edge of the null or within it."""
    rng, (n, m) = np.random.default_rng(1), sizes
    for gap, table in tables(direction):
        outcomes = list(itertools.product(range(n + 1), range(m + 1)))
        obs = np.concatenate([observed(n, x, m, y) for x, y in outcomes])
        factors = np.exp(BET.log_factors(obs, table[None].repeat(len(obs), 0)))
        for _ in range(60):
            p, q = rng.random(n) * rng.random(), rng.random(m) * rng.random()
            beyond = direction * (p.mean() - q.mean()) - gap
            if beyond > 0:  # move the worse side down to the edge
                p, q = (p * (q.mean() + gap) / p.mean(), q) if direction == UP else (p, q * (p.mean() + gap) / q.mean())
            weights = np.outer(sums_of(p), sums_of(q)).ravel()
            assert (weights @ factors <= 1 + 1e-9).all()
        worst = BET.log_factors(obs, table[None].repeat(len(obs), 0))
        assert np.isfinite(worst).all()


def sums_of(chances):
    """The distribution of a sum of independent events with these chances."""
    law = np.ones(1)
    for p in chances:
        law = np.convolve(law, [1 - p, p])
    return law


def test_the_factor_is_the_likelihood_ratio_against_the_projection_onto_the_null():
    """Turner, Ly & Grünwald: the point of the null that is nearest to the alternative in relative entropy, for these sizes."""
    n, m, gap = 30, 90, 0.05
    table = BET.table(np.array([gap, gap, 0.2]), UP)
    high, low, stake = (table[k * BET.stakes : (k + 1) * BET.stakes] for k in range(3))
    for a0, b0, s in zip(high, low, np.minimum(stake, 0.75 / np.maximum(0.75 * high, 0.25 * (1 - low))), strict=True):
        a, b = a0 + s * 0.75 * a0 * (1 - a0), b0 - s * 0.25 * b0 * (1 - b0)

        def entropy(other, a=a, b=b):
            return -sum(k * (p * math.log(q) + (1 - p) * math.log(1 - q)) for k, p, q in ((n, a, other + gap), (m, b, other)))

        nearest = minimize_scalar(entropy, bounds=(1e-4, 0.9), method="bounded", options={"xatol": 1e-10}).x
        assert nearest == pytest.approx(b0, abs=1e-5)
        ratio = 7 * math.log(a / a0) + 23 * math.log((1 - a) / (1 - a0)) + 11 * math.log(b / b0) + 79 * math.log((1 - b) / (1 - b0))
        mine = BET.log_factors(observed(n, 7, m, 11), table[None])[0]
        assert min(abs(mine - ratio)) < 1e-9


def test_both_directions_are_mirror_images():
    """What is bad of a group is good of the rest."""
    up, down = (BET.table(BET.contract(0.05).null, direction)[None] for direction in (UP, DOWN))
    one, other = observed(40, 9, 700, 80), observed(700, 80, 40, 9)
    np.testing.assert_allclose(BET.log_factors(one, up), BET.log_factors(other, down), rtol=1e-12)


def test_deposits_bound_the_false_alarms_of_tiny_and_unequal_groups_under_a_moving_common_rate():
    """Panes of a few events; groups of 1 % to 90 %; the rate of all moves between 1 and 40 %. Budget one a month each."""
    rng, months = np.random.default_rng(3), 400
    share = np.tile([0.01, 0.05, 0.3, 0.9], months // 2)
    direction = np.repeat([UP, DOWN], months)
    table = np.stack([BET.table(np.array([0.0, 0.0, 0.05]), each) for each in direction])
    log_r, alarms = np.full((len(share), BET.stakes), -np.inf), 0
    panes = 240
    for step in range(3 * panes):
        rate = 0.2 + 0.19 * math.sin(step / 17)
        total = rng.integers(2, 60, len(share))
        n = rng.binomial(total, share)
        rest = total - n
        x, failed = rng.binomial(n, rate), rng.binomial(rest, rate)
        obs = observed(n, x, np.maximum(rest, 1), failed)
        obs[(n == 0) | (rest == 0)] = 0.0
        log_r = grow(log_r, np.full(len(share), 1 / panes), BET.log_factors(obs, table))
        fired = mix(log_r) >= 0
        log_r[fired] = -np.inf
        alarms += int(fired.sum()) if step >= panes else 0
    assert upper(alarms) / (2 * len(share)) <= 1.0, alarms
    assert alarms > 0  # it does bet


GAP = ModelPolicy(watch={name: WatchPolicy(enabled=name == "gap") for name in ModelPolicy().watch})


def watching(*, budget=None, **gap):
    """A policy that watches the gap alone."""
    fields = {"budget": budget} if budget else {}
    return ModelPolicy(watch=GAP.watch | {"gap": WatchPolicy(**gap)}, **fields)


def panes(reading, rng, days, rate, *, shares=(0.1, 0.3, 0.6), per_day=400, hours=12, start=0, order=None):
    """Readings of a partition into groups; ``rate`` is a function of (day, group), the same for both kinds of mistakes."""
    order = list(range(len(shares))) if order is None else order
    for at in np.arange(start * 24, (start + days) * 24, hours):
        counts = rng.poisson(np.array(shares) * per_day * hours / 24)
        positive = rng.binomial(counts, 0.4)
        rates = [rate(at / 24, group) for group in range(len(shares))]
        fn, fp = rng.binomial(positive, rates), rng.binomial(counts - positive, rates)
        cells = {"tp": positive - fn, "fn": fn, "fp": fp, "tn": counts - positive - fp}
        place = np.argsort(order)  # the group behind each segment
        whole = {name: np.append(values.sum(), values[place]) for name, values in cells.items()}
        yield reading(at, hours=hours, segments=list(range(len(shares) + 1)), **whole)


def signals_of(bank, readings, context=CONTEXT):
    return [signal for r in readings for signal in bank.step(r, context)]


def alarms_of(bank, readings):
    return [signal for signal in signals_of(bank, readings) if isinstance(signal, Alarm)]


def together(day, group):
    """All groups alike, from 3 to 17 % and back."""
    return 0.1 + 0.07 * math.sin(day / 9)


def apart(day, group):
    """The first group twice as bad as the rest, always; the rest moves a little."""
    return (0.05 + 0.01 * math.sin(day / 9)) * (2 if group == 0 else 1)


@pytest.mark.parametrize("rate", [together, apart])
def test_a_gap_that_does_not_widen_is_quiet(reading, rate):
    """Baselines that the bank learns; three pages a month allowed, so that it could be seen."""
    found, months = 0, 0
    for seed in range(8):
        bank = Bank(policy=watching(budget=Budget(pages=3.0, days=30.0)))
        found += len(alarms_of(bank, panes(reading, np.random.default_rng(seed), 210, rate, shares=(0.05, 0.15, 0.8))))
        months += 6
        armed = bank.panels[1][0].monitors
        assert (armed.state[: armed.count] == ARMED).sum() >= 12  # of 18, each of three groups
    assert upper(found) / months <= 3.0, found


def test_a_group_that_falls_behind_is_found_while_all_is_five_per_cent(reading):
    for seed in range(4):
        bank = Bank(policy=watching())
        rate = lambda day, group: 0.1 if group == 0 and day >= 60 else 0.05  # noqa: E731
        told = signals_of(bank, panes(reading, np.random.default_rng(seed), 150, rate))
        alarms = [signal for signal in told if isinstance(signal, Alarm)]
        first = alarms[0]
        assert 60 * DAY_MS < first.end_ms < 95 * DAY_MS
        assert (first.key.segment, first.direction, first.kind) == (1, "up", "gap")
        assert first.current.value > 0.03  # selected, so on the large side
        assert first.rates[0] - first.rates[1] == pytest.approx(first.current.value)
        assert abs(first.baseline.value) < 0.03
        moved = [signal for signal in told if isinstance(signal, Moved) and signal.key == first.key][-1]
        assert moved.current.lo < 0.05 < moved.current.hi
        assert moved.rates == pytest.approx((0.1, 0.05), abs=0.02)


def test_a_group_that_gains_on_the_rest_is_found_too_and_clears(reading):
    bank = Bank(policy=watching())
    rate = lambda day, group: 0.04 if group == 0 and 60 <= day < 120 else 0.2  # noqa: E731
    told = signals_of(bank, panes(reading, np.random.default_rng(5), 200, rate))
    alarms = [signal for signal in told if isinstance(signal, Alarm)]
    meanwhile = [alarm for alarm in alarms if alarm.end_ms <= 120 * DAY_MS]
    assert {(alarm.key.segment, alarm.direction) for alarm in meanwhile if alarm.key.segment == 1} == {(1, "down")}
    cleared = [signal for signal in told if isinstance(signal, Cleared) and signal.key == alarms[0].key]
    assert len(cleared) == 1
    assert 120 * DAY_MS < cleared[0].due_ms < 170 * DAY_MS


def test_a_contract_needs_no_baseline_and_tolerates_what_it_says(reading):
    for behind, expected in ((0.04, set()), (0.12, {1})):
        bank = Bank(policy=watching(baseline=0.05))
        rate = lambda day, group, behind=behind: 0.1 + (behind if group == 0 else 0)  # noqa: E731
        alarms = alarms_of(bank, panes(reading, np.random.default_rng(6), 60, rate, shares=(0.2, 0.2, 0.3, 0.3)))
        assert {alarm.key.segment for alarm in alarms} == expected
        if alarms:
            assert alarms[0].end_ms < 27 * DAY_MS  # no baseline could stand by then
            assert alarms[0].baseline == (0.05, 0.05, 0.05, 0.0)
            assert {alarm.key.family for alarm in alarms} == {"gap_error", "gap_fpr", "gap_fnr"}


def test_a_contract_that_comes_or_changes_later_is_followed(reading):
    bank = Bank(policy=watching())
    rate = lambda day, group: 0.25 if group == 0 else 0.1  # noqa: E731
    assert alarms_of(bank, panes(reading, np.random.default_rng(7), 40, rate)) == []
    bank = Bank.from_state(bank.to_state(), policy=watching(baseline=0.02))
    alarms = alarms_of(bank, panes(reading, np.random.default_rng(8), 20, rate, start=40))
    assert 1 in {alarm.key.segment for alarm in alarms}
    assert [abs(alarm.baseline.value) for alarm in alarms] == pytest.approx([0.02] * len(alarms))


def test_only_groups_of_the_dimensions_named_are_compared(reading):
    names = {0: {}, 1: {"race": "a"}, 2: {"race": "b"}, 3: {"site": "c"}}
    context = StepContext(outcome_days=lambda segment: 30.0, name=names.__getitem__)
    bank = Bank(policy=watching(parameters={"dimensions": ["race"]}))
    signals_of(bank, panes(reading, np.random.default_rng(9), 5, together), context)
    monitors = bank.panels[1][0].monitors
    assert {bank.segments[slot] for slot in monitors.slot[: monitors.count]} == {1, 2}
    with pytest.raises(PolicyError, match=r"watch\.gap\.dimensions: expected a list of names, got 'race'"):
        parse_policy('[models.m.watch.gap]\ndimensions = "race"\n')


def test_a_promised_gap_turns_the_family_on():
    assert parse_policy("[models.m.baseline]\ngap = 0.05\n").for_model("m").watch["gap"].enabled
    assert not parse_policy("").for_model("m").watch["gap"].enabled


def test_numbers_of_groups_change_nothing(reading):
    rate = lambda day, group: 0.15 if group == 2 and day >= 50 else 0.05  # noqa: E731
    told = []
    for order in ([0, 1, 2], [2, 0, 1]):
        bank = Bank(policy=watching())
        found = alarms_of(bank, panes(reading, np.random.default_rng(10), 100, rate, order=order))
        told.append(sorted((a.key.family, a.direction, order.index(a.key.segment - 1), a.end_ms, a.log_evidence) for a in found))
    assert told[0] == told[1] != []


def test_a_restart_changes_nothing(reading):
    rate = lambda day, group: 0.13 if group == 0 and day >= 45 else 0.05  # noqa: E731
    made = list(panes(reading, np.random.default_rng(11), 120, rate))
    whole = Bank(policy=watching())
    expected = signals_of(whole, made)
    assert any(isinstance(signal, Alarm) for signal in expected)
    parts, bank = [], Bank(policy=watching())
    for place, each in enumerate(made):
        parts += bank.step(each, CONTEXT)
        if place % 40 == 39:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(bank.to_state()), strict=False)
            bank = Bank.from_state(state, policy=watching())
    assert parts == expected
    assert msgspec.msgpack.encode(bank.to_state()) == msgspec.msgpack.encode(whole.to_state())


def test_a_group_that_exceeds_the_whole_or_is_all_of_it_is_not_compared(reading):
    cells = {"tp": [4, 4, 6, 1], "fn": [1, 1, 3, 0], "fp": [2, 2, 3, 0], "tn": [9, 9, 9, 2]}
    obs = BET.observe(reading(0, segments=[0, 1, 2, 3], **cells), BET.families)
    assert not obs[:, :3].any()
    np.testing.assert_array_equal(obs[0, 3, :4], [3, 0, 13, 3])
    assert BET.fault(obs) == ""


def served(*, seed: int, policy: str, worse: float) -> tuple[Policy, list[Record]]:
    """Two regions; from day 60 on ``worse`` of the north's predictions are wrong, 5 % of all others."""
    rng, days, per_day = np.random.default_rng(seed), 100, 100
    n = days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    north = rng.random(n) < 0.25
    predicted = rng.random(n) < 0.4
    wrong = rng.random(n) < np.where(north & (at >= START_MS + 60 * DAY_MS), worse, 0.05)
    known = at + (rng.exponential(0.3, n) * DAY_MS).astype(np.int64) + 1
    records: list[Record] = []
    for i in range(n):
        made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": int(at[i]), "predicted_label": int(predicted[i])}
        made["subgroups"] = {"region": "north" if north[i] else "south"}
        records.append((int(at[i]), "predictions", made))
        records.append(
            (int(known[i]), "outcomes", {"request_id": f"r{i}", "timestamp": int(known[i]), "true_label": int(predicted[i] ^ wrong[i])})
        )
    return parse_policy(policy), sorted(records, key=lambda record: record[0])


def test_people_are_told_the_group_both_rates_and_the_gap() -> None:
    """Where the error rate is not watched itself; else a gap that widens is part of the incident of the group's errors."""
    off = "".join(f"[models.m.watch.{name}]\nenabled = false\n" for name in ("error", "fpr", "fnr", "prior", "coverage"))
    for more, kinds in ((off, [["gap"]]), ("", [["concept"], ["gap"]])):  # whichever knows first
        policy, records = served(seed=12, policy=f'[models.m]\nages = ["2d"]\n[models.m.watch.gap]\n{more}', worse=0.15)
        _, events = fold(records, policy=policy)
        drifts = [event for event in events if event.type.value.startswith("gnomon.drift.")]
        opened = [event.data for event in drifts if event.type.value.endswith("opened")]
        assert [data.kind.value for data in opened] in kinds
        told = {
            (monitor.segment["region"], monitor.direction.value)
            for event in drifts
            for monitor in event.data.monitors
            if monitor.kind == "gap"
        }
        assert told <= {("north", "up"), ("south", "down")}
        assert told
        if not more:
            assert {event.data.rates is None for event in drifts if event.data.metric in ("error", "fpr", "fnr")} == {True}
            continue
        [data] = opened
        assert (data.scope, data.affected) == ("group", [data.segment])
        assert data.rates.group - data.rates.rest == pytest.approx(data.current.value)
        last = [event.data for event in drifts if event.type.value.endswith("updated") or event.type.value.endswith("escalated")][-1]
        assert abs(last.rates.group - last.rates.rest) == pytest.approx(0.1, abs=0.03)
        assert abs(last.current.value) == pytest.approx(0.1, abs=0.03)
        assert last.severity == "critical"  # four points more, at least


def test_a_broken_promise_is_an_incident_of_its_own() -> None:
    policy, records = served(
        seed=13, policy='[models.m]\nages = ["2d"]\nbaseline = { gap = 0.04 }\n[models.m.watch.error]\nenabled = true\n', worse=0.2
    )
    _, events = fold(records, policy=policy)
    [opened] = [event for event in events if event.type.value == "gnomon.drift.opened" and event.data.kind.value == "gap"]
    data = opened.data
    assert (data.scope.value, data.metric[:4], data.age_s) == ("group", "gap_", 2 * 86_400)
    assert data.segment in ({"region": "north"}, {"region": "south"})
    assert data.baseline.n == 0
    assert abs(data.rates.group - data.rates.rest) == pytest.approx(abs(data.current.value))
    assert "where 4 points are tolerated" in data.message or "where -4 points are tolerated" in data.message
    assert "in the group," in data.message
    assert data.affected
    assert any(event.data.kind.value == "concept" for event in events if event.type.value == "gnomon.drift.opened")
    severities = [event.data.severity.value for event in events if hasattr(event.data, "severity") and event.data.kind.value == "gap"]
    assert "major" in severities or "critical" in severities
