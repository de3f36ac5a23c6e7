"""What the bank says beside evidence: gates, kinds, severity, clears, River, calibration; and that it can be saved."""

from typing import ClassVar

import msgspec
import numpy as np
import pytest

from detectors.bank import Bank, StepContext
from detectors.baselines.calibration_map import logit
from detectors.bets import sigmoid
from detectors.budget import DAY_MS
from detectors.river.parameters import checked
from detectors.signals import Alarm, Cleared, Key, Moved, Note
from detectors.watched_groups import MOST_GROUPS
from schemas.policy_models import ModelPolicy, WatchPolicy

CONTEXT = StepContext()


class Scripted:
    """A River watch that fires when a pane has more than 30 % ones."""

    made: ClassVar[list] = []

    def __init__(self, *given):
        self.given, self.sum = given, 0
        self.name, self.parameters = given[0], checked(*given)
        Scripted.made.append(given)

    def step(self, n, x):
        self.sum += n
        return x > 0.3 * n

    def to_state(self):
        return [list(self.given), self.sum]

    @classmethod
    def from_state(cls, state):
        watch = cls(*state[0])
        watch.sum = state[1]
        return watch


@pytest.fixture(autouse=True)
def scripted(monkeypatch):
    Scripted.made = []
    monkeypatch.setattr("detectors.warmup.RiverWatch", Scripted)


def only(*names, **rules):
    watch = {name: WatchPolicy(enabled=name in names) for name in ModelPolicy().watch}
    return ModelPolicy(watch=watch | rules)


def feed(bank, reading, days, rate, *, start=0, n=100, context=CONTEXT, **kwargs):
    """One pane a day with ``rate`` errors; returns the signals with their day."""
    found = []
    for day in range(start, start + days):
        x = round(n * rate)
        found += [(day, s) for s in bank.step(reading(24 * day, hours=24, tn=n - x, fn=x, **kwargs), context)]
    return found


def of(kind, found):
    return [(day, s) for day, s in found if isinstance(s, kind)]


def test_a_change_below_the_tolerance_does_not_page_but_a_stricter_policy_does(reading):
    for tolerance, pages in ((None, 0), (0.05, 1)):
        bank = Bank(policy=only("error", error=WatchPolicy(tolerance=tolerance)))
        feed(bank, reading, 30, 0.10, n=2000)
        found = of(Alarm, feed(bank, reading, 60, 0.1155, start=30, n=2000))  # odds ratio 1.18
        assert len(found) == pages, tolerance
    assert bank.panels[1][0].monitors.hot[0] == 1


def test_rates_page_in_their_direction_only(reading):
    bank = Bank(policy=only("error"))
    feed(bank, reading, 30, 0.20)
    assert not of(Alarm, feed(bank, reading, 60, 0.02, start=30))  # an improvement
    both = Bank(policy=only("prior"))
    feed(both, reading, 30, 0.20)
    alarm = of(Alarm, feed(both, reading, 60, 0.02, start=30))[0][1]
    assert (alarm.key.family, alarm.key.direction, alarm.direction, alarm.kind) == ("prior", -1, "down", "prior")
    assert alarm.current.value < alarm.baseline.value


def test_an_alarm_carries_its_evidence(reading):
    bank = Bank(policy=only("error"))
    feed(bank, reading, 30, 0.10)
    day, alarm = of(Alarm, feed(bank, reading, 10, 0.30, start=30))[0]
    assert alarm.log_evidence >= 0
    assert alarm.onset_ms == 30 * DAY_MS
    assert alarm.end_ms == (day + 1) * DAY_MS == alarm.due_ms - DAY_MS
    assert alarm.baseline.value == pytest.approx(0.10)
    assert alarm.current.value == pytest.approx(0.30)
    assert alarm.current.n == 100 * (day - 29)
    assert alarm.current.lo < 0.30 < alarm.current.hi


def test_severity_comes_from_the_data_after_the_alarm_and_a_return_clears(reading):
    bank = Bank(policy=only("error"))
    feed(bank, reading, 30, 0.10)
    up = feed(bank, reading, 30, 0.25, start=30)
    assert len(of(Alarm, up)) == 1
    moved = of(Moved, up)
    assert [s.severity for _, s in moved if s.rose] == [1, 2]  # major, then critical: odds ratio 3
    assert moved[-1][1].current.n < 100 * 30
    assert not of(Cleared, up)
    standing = bank.budget.standing.copy()
    back = feed(bank, reading, 60, 0.10, start=60)
    (day, cleared), *rest = of(Cleared, back)
    assert not rest
    assert day < 75
    assert cleared.current.value == pytest.approx(0.10)
    assert not of(Alarm, back)
    assert bank.budget.standing[0] == standing[0] + 1  # it takes part again
    assert bank.panels[1][0].monitors.log_r[0].max() < np.log(0.5)


def test_an_active_monitor_neither_pages_again_nor_earns(reading):
    bank = Bank(policy=only("error"))
    feed(bank, reading, 30, 0.10)
    feed(bank, reading, 10, 0.30, start=30)
    assert bank.active() == {Key("error", 1, 0, 1)}
    paid = bank.panels[1][0].monitors.paid[0]
    assert bank.budget.standing.tolist() == [0, 0, 0]
    assert not of(Alarm, feed(bank, reading, 50, 0.50, start=40))
    assert bank.panels[1][0].monitors.paid[0] == paid == 0


def test_a_clear_at_the_boundary_is_rare(reading):
    """The change stays at exactly the null of the clear test, midway between 5 % and (12 + 9) / 2 %: at most 1 % may clear."""
    from detectors.active import Active
    from detectors.bets import discover
    from detectors.signals import Estimate

    bet, rng, cleared = discover()["rates"], np.random.default_rng(6), 0
    fit = bet.fit(np.array([10_000.0, 500.0]), phi=1.0, tolerance=0.2, direction=1, parent=None)
    for _ in range(150):
        active = Active.after(
            Key("error", 1, 0, 1),
            bet,
            fit,
            phi=1.0,
            stake=2,
            current=Estimate(0.12, 0.09, 0.15, 300),
            baseline=Estimate(0.05, 0.04, 0.06, 1e4),
            tolerance=0.2,
        )
        cleared += any(isinstance(active.step(np.array([50.0, rng.binomial(50, 0.0775)]), day), Cleared) for day in range(200))
    assert cleared <= 5


def test_a_young_rung_is_unconfirmed_while_labels_come_at_another_pace(reading):
    """From day 40 on only 60 % of the labels are there at the young age, and more of them are failures."""
    found = {}
    for mature in (False, True):
        bank = Bank(policy=only("error"))
        for day in range(60):
            n, x = (100, 10) if day < 40 else (60, 18)
            for s in bank.step(reading(24 * day, hours=24, mature=mature, tn=n - x, fn=x, made={"n": 200}), CONTEXT):
                if isinstance(s, Alarm):
                    found[mature] = s
    assert (found[False].kind, found[False].unconfirmed) == ("label_delay", True)
    assert "pace" in found[False].why
    assert (found[True].kind, found[True].unconfirmed, found[True].why) == ("concept", False, "")


def test_label_coverage_is_watched_both_ways(reading):
    for after, direction in ((100, "down"), (195, "up")):
        bank = Bank(policy=only("coverage"))
        found = []
        for day in range(60):
            n = 150 if day < 40 else after
            found += [s for s in bank.step(reading(24 * day, hours=24, tn=n, made={"n": 200}), CONTEXT) if isinstance(s, Alarm)]
        assert [(s.kind, s.direction, s.unconfirmed) for s in found] == [("label_delay", direction, False)]


def test_families_without_labels_are_read_at_age_zero_only(reading):
    bank = Bank(policy=ModelPolicy())
    bank.step(reading(0, rung=0, age_h=0, made={"n": 10, "alerted": 2}), CONTEXT)
    bank.step(reading(1, rung=1, tn=8, fn=2), CONTEXT)
    names = {rung: {name for panel in panels for name in panel.families} for rung, panels in bank.panels.items()}
    assert names[0] == {"alert_rate", "score"}
    assert names[1] == {"error", "fpr", "fnr", "prior", "coverage", "calibration", "cost"}


def test_calibration_waits_for_the_last_rung(reading):
    bank = Bank(policy=only("calibration"))
    bank.step(reading(0, mature=False, tn=8, fn=2), CONTEXT)
    assert bank.panels[1] == []


def test_switching_off_a_family_and_naming_an_opt_in_one(reading):
    bank = Bank(policy=only("abstention"))
    bank.step(reading(0, rung=0, age_h=0, made={"n": 10}), CONTEXT)
    assert bank.panels[0][0].families == ("abstention",)


def test_more_groups_than_the_cap_are_not_watched(reading):
    bank = Bank(policy=only("error"))
    many = list(range(MOST_GROUPS + 50))
    for day in range(2):
        bank.step(reading(day, segments=many, tn=9, fn=1), CONTEXT)
    assert bank.panels[1][0].monitors.count == MOST_GROUPS + 1
    again = Bank.from_state(bank.to_state(), policy=bank.policy)
    again.step(reading(3, segments=many, tn=9, fn=1), CONTEXT)
    assert again.panels[1][0].monitors.count == MOST_GROUPS + 1


def test_in_warm_up_adwin_watches_and_pages_nobody(reading):
    bank = Bank(policy=only("error"))
    found = feed(bank, reading, 10, 0.1) + feed(bank, reading, 1, 0.5, start=10)
    assert [s.what for _, s in found if isinstance(s, Note)] == ["warm_up"]
    assert "nobody is paged" in found[0][1].text
    assert Scripted.made == [("adwin", {})]
    feed(bank, reading, 60, 0.1, start=11)
    assert bank.warm_up.watches == {}


def test_a_river_detector_may_be_the_pager(reading):
    rule = WatchPolicy(detector="page-hinkley", parameters={"delta": 0.01})
    bank = Bank(policy=only("error", error=rule))
    feed(bank, reading, 40, 0.1)
    assert Scripted.made == [("page-hinkley", {"delta": 0.01})]
    (day, alarm), *rest = of(Alarm, feed(bank, reading, 20, 0.4, start=40))
    assert (day, rest, alarm.detector) == (40, [], "page-hinkley")
    assert alarm.onset_ms == 40 * DAY_MS
    assert bank.budget.pots.tolist() == [0.0, 0.0, 0.0]  # it has no part in the budget


def test_a_detector_that_cannot_watch_a_family_is_refused():
    for name, detector, fault in (
        ("gap", "adwin", r"watch\.gap\.detector: expected 'bank', got 'adwin'"),
        ("calibration", "ddm", r"watch\.calibration\.detector: expected 'bank' or .*\(adwin, page-hinkley, kswin\), got 'ddm'"),
        ("error", "adwim", r"watch\.error: .*adwim.*adwin"),
    ):
        with pytest.raises(ValueError, match=fault):
            Bank(policy=only(name, **{name: WatchPolicy(detector=detector)}))


def test_adwin_itself(reading, monkeypatch):
    """Not a stand-in: in warm-up it remarks, as the pager it pages, and it survives being saved."""
    monkeypatch.undo()
    for detector in ("bank", "adwin"):
        bank, found = Bank(policy=only("error", error=WatchPolicy(detector=detector))), []
        for start, days, rate in ((0, 15, 0.05), (15, 15, 0.15), (30, 30, 0.1), (60, 5, 0.4)):
            found += feed(bank, reading, days, rate, start=start, n=300)
            bank = Bank.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(bank.to_state())), policy=bank.policy)
        notes = [day for day, s in found if isinstance(s, Note) and s.what == "warm_up"]
        assert 15 <= notes[0] <= 17
        alarms = of(Alarm, found)
        assert [(day // 60, s.detector) for day, s in alarms] == [(1, detector)]


def test_a_contract_value_needs_no_data(reading):
    bank = Bank(policy=only("error", error=WatchPolicy(baseline=0.05)))
    day, alarm = of(Alarm, feed(bank, reading, 20, 0.20))[0]
    assert day < 5
    assert alarm.baseline == (0.05, 0.05, 0.05, 0.0)


def test_an_accepted_change_is_learnt_anew(reading):
    bank = Bank(policy=only("error"))
    feed(bank, reading, 30, 0.10)
    key = of(Alarm, feed(bank, reading, 10, 0.30, start=30))[0][1].key
    bank.relearn([key])
    found = feed(bank, reading, 60, 0.30, start=40)
    assert not of(Alarm, found)
    assert [day for day, s in of(Note, found) if s.what == "armed"] == [67]
    assert bank.panels[1][0].monitors.base[0, 0] == pytest.approx(0.30)


def test_a_pace_of_labels_that_was_accepted_is_the_pace_that_the_guard_compares_with(reading):
    """Fewer labels come by the first age from day 40 on; once that is normal, more errors at that age are errors again."""

    def days(bank, first, last, labelled, rate):
        found = []
        for day in range(first, last):
            x = round(labelled * rate)
            pane = reading(24 * day, hours=24, mature=False, tn=[labelled - x], fn=[x], made={"n": [400]})
            found += [signal for signal in bank.step(pane, CONTEXT) if isinstance(signal, Alarm)]
        return found

    policy = ModelPolicy(watch={name: WatchPolicy(enabled=name in ("error", "coverage")) for name in ModelPolicy().watch})
    for accepted in (True, False):
        bank = Bank(policy=policy)
        slower = days(bank, 0, 40, 280, 0.1) + days(bank, 40, 50, 140, 0.1)
        assert [(alarm.key.family, alarm.kind) for alarm in slower] == [("coverage", "label_delay")]
        (bank.relearn if accepted else bank.calm)([slower[0].key])
        assert (1 in bank.guards) != accepted
        again = Bank.from_state(bank.to_state(), policy=policy)
        late = [days(each, 50, 90, 140, 0.1) + days(each, 90, 100, 140, 0.3) for each in (bank, again)]
        assert late[0] == late[1]
        errors = [alarm for alarm in late[0] if alarm.key.family == "error"]
        assert [(alarm.kind, alarm.unconfirmed) for alarm in errors] == [("concept", False) if accepted else ("label_delay", True)]


def test_a_guard_stays_where_another_monitor_or_another_rung_learns_anew(reading):
    bank = Bank(policy=only("error", coverage=WatchPolicy()))
    for rung in (1, 2):
        bank.step(reading(0, hours=24, rung=rung, mature=rung == 2, tn=[90], fn=[10], made={"n": [100]}), CONTEXT)
    bank.relearn([Key("error", 1, 0, 1), Key("coverage", -1, 5, 1)])  # the latter: of a segment that is not watched
    assert set(bank.guards) == {1, 2}
    bank.relearn([Key("coverage", -1, 0, 1)])
    assert set(bank.guards) == {2}


def cells(rng, n, slope=1.0, shift=0.0, claim=1.0):
    """Scores of a model whose outcomes follow ``shift + slope * logit p``; shape (20, 3)."""
    p = sigmoid(claim * rng.normal(-1.5, 1.5, n))
    y = rng.random(n) < sigmoid(shift + slope * logit(p))
    at = np.clip(np.ceil(p * 20).astype(int) - 1, 0, 19)
    return np.stack([np.bincount(at, w, 20) for w in (np.ones(n), y, p)], axis=1)


@pytest.mark.parametrize(
    ("slope", "shift", "how"), [(0.7, 0.0, "over-confident"), (1.0, 0.5, "too low"), (1.0, -0.5, "too high"), (1.5, 0.0, "under-confident")]
)
def test_calibration_that_slips_is_found_and_its_calm_twin_is_not(reading, slope, shift, how):
    for before in (1.0, 0.7):  # absolute, and relative to what the scores have meant so far
        rng, bank, found, calm = np.random.default_rng(21), Bank(policy=only("calibration")), [], []
        for day in range(100):
            changed = day >= 60
            seen = cells(rng, 150, slope=before * (slope if changed else 1.0), shift=shift * changed)
            signals = bank.step(reading(24 * day, hours=24, bins=seen), CONTEXT)
            (found if changed else calm).extend(signals)
        assert [s.what for s in calm if isinstance(s, Note)] == ["armed"] + ["miscalibrated"] * (before != 1.0)
        assert not [s for s in calm if isinstance(s, Alarm)]
        alarm = next(s for s in found if isinstance(s, Alarm))
        assert how in alarm.how
        assert alarm.kind == "calibration"
        assert (alarm.end_ms - 60 * DAY_MS) / DAY_MS * 150 <= 4000
        assert alarm.current.value > alarm.baseline.value


def test_calibration_stays_calm_for_years(reading):
    for slope in (1.0, 0.7):
        rng, bank = np.random.default_rng(22), Bank(policy=only("calibration"))
        found = [s for day in range(700) for s in bank.step(reading(24 * day, hours=24, bins=cells(rng, 300, slope=slope)), CONTEXT)]
        assert not [s for s in found if isinstance(s, Alarm)]


def busy(reading, days, seed=30):
    """A little of everything: two rungs, groups that come late, a change, a return, calibration."""
    rng = np.random.default_rng(seed)
    for day in range(days):
        segments = [0, 1, 2] if day < 20 else [0, 1, 2, 5]
        rate = 0.1 if not 60 <= day < 80 else 0.35
        n = rng.poisson(60, len(segments) - 1)
        x = rng.binomial(n, rate)
        y = rng.binomial(n - x, 0.3)
        cells_ = {"fn": x, "tp": y, "tn": n - x - y}
        whole = {name: np.append(v.sum(), v) for name, v in cells_.items()}
        bins = np.stack([cells(rng, 150) if s == 0 else np.zeros((20, 3)) for s in segments])
        made = {"n": np.append(n.sum(), n) + 10, "alerted": whole["tp"]}
        yield reading(24 * day, hours=24, age_h=24, rung=0, segments=segments, made=made)
        yield reading(24 * day, hours=24, age_h=24, rung=1, segments=segments, mature=True, bins=bins, made=made, **whole)


def test_saved_and_loaded_mid_stream_changes_nothing(reading):
    policy = ModelPolicy()
    whole, parted, said, heard = Bank(policy=policy), Bank(policy=policy), [], []
    for i, r in enumerate(busy(reading, 110)):
        said.append(whole.step(r, CONTEXT))
        if i % 17 == 3:
            wire = msgspec.msgpack.encode(parted.to_state())
            parted = Bank.from_state(msgspec.msgpack.decode(wire), policy=policy)
            assert msgspec.msgpack.encode(parted.to_state()) == wire
        heard.append(parted.step(r, CONTEXT))
    assert heard == said
    kinds = {type(s) for each in said for s in each}
    assert kinds == {Alarm, Cleared, Moved, Note}
    assert msgspec.msgpack.encode(parted.to_state()) == msgspec.msgpack.encode(whole.to_state())


def test_a_changed_policy_keeps_what_it_still_watches(reading):
    bank = Bank(policy=only("error", "fnr", "prior"))
    for r in busy(reading, 50):
        bank.step(r, CONTEXT)
    panel = bank.panels[1][0]
    standing = int(bank.budget.standing[0])
    fnr = panel.monitors.log_r[panel.rows[panel.families.index("fnr"), 0]].copy()
    narrow = Bank.from_state(bank.to_state(), policy=only("fnr", "fpr"))
    kept = narrow.panels[1][0]
    assert kept.families == ("fpr", "fnr")
    np.testing.assert_array_equal(kept.monitors.log_r[kept.rows[1, 0]], fnr)
    assert standing > narrow.budget.standing[0] == 1
    for r in list(busy(reading, 55))[100:]:
        narrow.step(r, CONTEXT)
    assert (kept.rows[0, :4] >= 0).all()


def test_a_state_of_another_version_is_refused():
    with pytest.raises(ValueError, match="version 8, got 9; replay from the log"):
        Bank.from_state({"version": 9}, policy=ModelPolicy())
