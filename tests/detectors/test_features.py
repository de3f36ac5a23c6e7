"""The family ``covariate``: what of the inputs has moved, whatever the order of arrival, within its part of the budget."""

import json
import random
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from support.feature_logs import CHANGE, inputs
from support.stories import DAY_MS, PREDICTIONS, START_MS, Record, findings, fold, tick

from detectors.bank import StepContext
from detectors.bets import UP, discover
from detectors.bets.covariates import CELLS, CategoryBet, CovariateReading
from detectors.budget import LABEL_FREE, SHARES
from detectors.cells import BIN, KNOWN, MADE
from detectors.companions.features import Features
from detectors.feature_bank import FeatureBank
from detectors.feature_scale import CATEGORIES, NUMBERS, Scale
from detectors.feature_watch import MOST_CATEGORIES, VersionFeatures
from detectors.joiner import Joiner, SourceBatch
from detectors.pending import DictTable
from detectors.signals import Alarm
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.findings import Event
from schemas.policy import Policy, parse_policy
from schemas.policy_models import Budget, ModelPolicy, WatchPolicy
from streams.checkpoint_pack import Packer, Position, unpack

POLICY = parse_policy("[models.m]\nbaseline = { days = 7 }\n[models.m.watch.covariate]\n")


@cache
def folded(what: str) -> tuple[Watch, list[Event]]:
    """Folded once; nobody changes it."""
    return fold(inputs(what), chunk=200, policy=POLICY, close=False)


def covariates(events: list[Event]) -> list[Any]:
    return [event for event in events if getattr(event.data, "kind", "") == "covariate"]


def elsewhere(events: list[Event]) -> list[bytes]:
    """The findings, wherever their records lie in the topics."""
    moved = [msgspec.structs.replace(event, data=msgspec.structs.replace(event.data, origins={})) for event in covariates(events)]
    return findings(moved)


def features_of(watch: Watch) -> VersionFeatures:
    member = watch.companions["m"].members["features"]
    assert isinstance(member, Features)
    return member.versions["1"]


def whole(watch: Watch) -> Any:
    state = watch.companions["m"].members["features"].to_state()
    return None if state is None else msgspec.msgpack.encode(state)


@pytest.mark.parametrize(
    ("what", "metric", "words"),
    [
        ("age", "feature:age", "the share of age above "),
        ("site", "category:site", "the share of site = B rose from 1"),
        ("income", "missing:income", "the share of predictions without income rose from "),
        ("gone", "missing:income", "the share of predictions without income rose from "),
    ],
)
def test_a_change_is_told_by_feature(what: str, metric: str, words: str) -> None:
    watch, events = folded(what)
    found = covariates(events)
    assert [event.type.value for event in found[:1]] == ["gnomon.drift.opened"]
    opened = found[0].data
    assert (opened.metric, opened.scope, opened.segment, opened.age_s) == (metric, "all", {}, 0)
    assert words in opened.message
    assert opened.message.startswith("Inputs of m 1 shifted: ")
    assert 0 < (found[0].time_ms - START_MS) / DAY_MS - CHANGE < 4
    assert opened.evidence >= opened.threshold
    assert opened.current.lo > opened.baseline.hi
    states = {each.name: each.state for each in report([watch]).models[0].features}
    assert states == {name: "alarm" if metric.endswith(f":{name}") else "watching" for name in ("age", "income", "site")}
    assert any("population stability index" in event.data.message for event in found) == (metric != "missing:income")


def test_nothing_is_told_of_calm_inputs() -> None:
    watch, events = folded("")
    assert covariates(events) == []
    assert {each.state for each in report([watch]).models[0].features} == {"watching"}


def test_the_report_counts_what_is_missing() -> None:
    for what, absent in (("income", False), ("gone", True)):
        watch, _ = folded(what)
        records = [record["features"] for _, _, record in inputs(what)]
        lacking = sum(features.get("income") is None for features in records)
        age, income, site = report([watch]).models[0].features
        assert (age.name, age.kind, age.n, age.missing, age.absent, age.missing_share) == ("age", NUMBERS, len(records), 0, 0, 0.0)
        assert (site.name, site.kind, site.missing_share) == ("site", CATEGORIES, 0.0)
        null = sum("income" in features and features["income"] is None for features in records)
        assert (income.name, income.missing, income.absent) == ("income", null, lacking - null)
        assert (income.absent > 0) == absent
        assert income.missing_share == pytest.approx(lacking / len(records))


def test_order_and_batches_change_nothing() -> None:
    records = inputs("age", days=24, per_day=100)
    watch, events = fold(records, chunk=50, policy=POLICY, close=False)
    told = findings(covariates(events))
    assert told
    for chunk in (17, 600):
        again, others = fold(records, chunk=chunk, policy=POLICY, close=False)
        assert sorted(findings(covariates(others))) == sorted(told)
        assert whole(again) == whole(watch)
    rng = random.Random(1)
    parts = [records[start : start + 60] for start in range(0, len(records), 60)]
    other, found = fold([record for part in parts for record in rng.sample(part, len(part))], chunk=60, policy=POLICY, close=False)
    assert elsewhere(found) == elsewhere(events)
    assert report([other]).models[0].features == report([watch]).models[0].features


def test_a_restart_changes_nothing() -> None:
    records = inputs("site", days=24, per_day=100)
    straight, events = fold(records, chunk=60, policy=POLICY, close=False)
    for part in (0.2, 0.9):  # before a baseline stands, and past the alarm
        half, first = fold(records[: int(part * len(records)) // 60 * 60], chunk=60, policy=POLICY, close=False)
        saved = unpack(Packer().pack(half, Position("scored", 1, 0)))
        assert saved is not None
        restored = saved.watch
        restored.statistics_every_ms = None
        _, rest = fold(records, chunk=60, policy=POLICY, watch=restored, close=False)
        assert findings(covariates(first) + covariates(rest)) == findings(covariates(events))
        assert bool(covariates(first)) == (part > 0.5)
        assert whole(restored) == whole(straight)


def feed(watch: Watch, joiner: Joiner, table: DictTable, records: list[Record], first: int) -> list[Event]:
    """Join and fold some records, and a tick."""
    values = [json.dumps(record).encode() for _, _, record in records]
    batch = SourceBatch(PREDICTIONS, range(first, first + len(values)), [2**50] * len(values), values)
    prepared = joiner.prepare([batch])
    events: list[Event] = []
    for rows in joiner.finish(prepared, table.exchange_now(prepared.lookups)).rows:
        events += watch.apply(rows)
    return events + watch.apply(tick(max(at for at, _, _ in records)))


def test_a_policy_that_is_turned_on_later_learns_from_then_on() -> None:
    records, table, watch = inputs("age", days=36), DictTable(), Watch(statistics_every_ms=None)
    events: list[Event] = []
    cut = 6 * 120
    for policy, start, stop in ((Policy(), 0, cut), (POLICY, cut, len(records))):
        events += watch.use(policy)
        joiner = Joiner(policy, b"k")
        for at in range(start, stop, 240):
            events += feed(watch, joiner, table, records[at : min(at + 240, stop)], at)
        assert (watch.companions["m"].weight(2**60) > 0) == (policy is POLICY)
    assert [event.data.metric for event in covariates(events)][:1] == ["feature:age"]
    assert report([watch]).models[0].features[0].n == len(records) - cut
    closed = covariates(watch.use(Policy()))
    assert [event.type.value for event in closed] == ["gnomon.drift.cleared"]
    assert "the policy no longer watches it" in closed[0].data.message.lower()
    assert {each.state for each in report([watch]).models[0].features} == {"off"}
    assert watch.companions["m"].weight(2**60) == 0


def test_only_what_the_policy_names_is_watched() -> None:
    policy = parse_policy('[models.m]\nbaseline = { days = 7 }\n[models.m.watch.covariate]\nfeatures = ["site"]\n')
    watch, events = fold(inputs("age"), chunk=300, policy=policy, close=False)
    assert covariates(events) == []
    assert [each.name for each in report([watch]).models[0].features] == ["site"]


def test_nothing_is_kept_where_the_policy_does_not_ask() -> None:
    watch, _ = fold(inputs("age", days=2), close=False)
    assert whole(watch) is None
    assert report([watch]).models[0].features == []


def test_a_conflict_takes_back_what_the_loser_added() -> None:
    made = {"request_id": "r", "model_id": "m", "model_version": "1", "score": 0.5}
    wins = (START_MS, "predictions", made | {"timestamp": START_MS, "features": {"age": 40.0, "site": "A"}})
    loses = (START_MS + 1, "predictions", made | {"timestamp": START_MS + 1, "features": {"age": 7.0, "income": None, "site": "Z"}})
    alone, _ = fold([wins], policy=POLICY, close=False, ticks=False)
    both, _ = fold([loses, wins], chunk=1, policy=POLICY, close=False, ticks=False)
    assert report([both]).models[0].features == report([alone]).models[0].features
    mine, other = (features_of(watch).panes.table for watch in (alone, both))
    assert mine.rows.sum() == other.rows.sum() == 3
    assert (other.rows >= 0).all()


def test_state_is_bounded() -> None:
    rng = np.random.default_rng(3)
    records: list[Record] = []
    for i in range(3_000):
        features = {f"f{j}": float(rng.normal()) for j in range(8)} | {f"n{i}_{j}": 1.0 for j in range(3)} | {"user": f"u{i}"}
        made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": START_MS + i * 60_000, "score": 0.5}
        records.append((START_MS + i * 60_000, "predictions", made | {"features": features}))
    watch, _ = fold(records, chunk=300, policy=POLICY, close=False)
    mine = features_of(watch)
    assert len(mine.names) <= 101
    assert max(map(len, mine.words)) <= MOST_CATEGORIES + 1
    assert len(mine.panes.table.keys) < 5_000


def fair(bet: CategoryBet, table: Any, cell: int, share: float) -> Any:
    """The expected factor of one value, by alternative, if a cell has this share and the others what is left."""
    one = np.exp(bet.log_factors(np.eye(CELLS), table.repeat(CELLS, axis=0)))
    law = np.full(CELLS, (1 - share) / (CELLS - 1))
    law[cell] = share
    return law @ one


def test_bets_on_categories_are_fair_at_the_edge_of_the_null_and_unfair_inside() -> None:
    bet, seen = CategoryBet(), np.zeros(CELLS)
    seen[:4] = 5000, 3000, 1500, 500
    fit = bet.fit(seen, phi=1.0, tolerance=0.02, direction=UP, parent=None)
    table = bet.table(fit.null, UP)[None]
    kinds = {bet.cell(stake, fit.null) for stake in range(bet.stakes)}
    assert kinds == {(cell, sign) for cell in (0, 1, 2, 3) for sign in (1, -1)} | {(CELLS - 1, 1)}
    for stake in range(bet.stakes):
        cell, sign = bet.cell(stake, fit.null)
        measured = seen[cell] / seen.sum()
        share = measured if sign > 0 else 1 - measured
        slack = 2.58 * np.sqrt(max(share * (1 - share), 1e-4) / seen.sum()) + 0.02
        for moved, bound in ((0.0, 1.0), (0.7, 1.0), (3.0, np.inf)):
            inside = share + moved * slack
            expected = fair(bet, table, cell, inside if sign > 0 else 1 - inside)[stake]
            assert (expected <= bound + 1e-12) and (moved < 2 or expected > 1)


SCALES = {f"n{i}": Scale(NUMBERS, borders=tuple(range(19))) for i in range(4)} | {"c": Scale(CATEGORIES, names=("a", "b", "c"))}


def calm(rng: np.random.Generator, bank: FeatureBank, days: int, per_pane: int = 40) -> int:
    """Step a bank through inputs that do not change, three hours at a time; return how many false alarms it raised."""
    alarms, law = 0, np.full(CELLS, 1 / CELLS)
    for pane in range(8 * days):
        counts: dict[str, Any] = {}
        for name, scale in SCALES.items():
            without = int(rng.binomial(per_pane, 0.03))
            if scale.kind == NUMBERS:
                counts[f"feature:{name}"] = rng.multinomial(per_pane - without, law)
            else:
                counts[f"category:{name}"] = np.append(rng.multinomial(per_pane - without, [0.6, 0.3, 0.1]), np.zeros(CELLS - 3, dtype=int))
            counts[f"missing:{name}"] = np.array([per_pane, without])
        start = pane * DAY_MS // 8
        alarms += sum(isinstance(signal, Alarm) for signal in bank.step(reading(start, counts), StepContext(share=0.5)))
    return alarms


def reading(start_ms: int, counts: dict[str, Any]) -> CovariateReading:
    none, one = np.zeros((1, 0, BIN.width), dtype=np.int64), np.zeros(1, dtype=np.int64)
    times = {"start_ms": start_ms, "end_ms": start_ms + DAY_MS // 8, "due_ms": start_ms + DAY_MS // 8}
    made = {"made": MADE.zeros(1), "known": KNOWN.zeros(1), "made_bins": none, "known_bins": none}
    return CovariateReading(rung=0, age_ms=0, mature=False, segments=one, counts=counts, **times, **made)


def test_false_alarms_stay_within_what_is_deposited() -> None:
    """A budget so large that false alarms would be seen: ten a month for this family."""
    pages, days, runs = 100, 60, 8
    policy = ModelPolicy(budget=Budget(pages=pages, days=30), watch={"covariate": WatchPolicy(tolerance=0.0)})
    alarms = 0
    for seed in range(runs):
        bank = FeatureBank(policy=policy)
        bank.watch(SCALES)
        alarms += calm(np.random.default_rng(seed), bank, days)
    deposited = runs * pages * 0.5 * float(SHARES[LABEL_FREE]) * (days - 28) / 30
    assert 0 < alarms < deposited + 2 * deposited**0.5


def test_bets_are_found_and_serve_no_family_of_their_own() -> None:
    assert {name: discover()[name].families for name in ("numbers", "categories", "missing")} == dict.fromkeys(
        ("numbers", "categories", "missing"), ()
    )
