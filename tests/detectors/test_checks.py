"""Verification by name: figures, evidence, and checks of which no failure is tolerated."""

import random
from typing import Any

import msgspec
import numpy as np
import pytest
from support.documents import documents
from support.stories import DAY_MS, START_MS, Record, findings, fold, tick

from detectors.baselines.wilson import wilson
from detectors.statistics.clustered import CHECKS, check_sums, pass_rate
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.findings import Event, EventType
from schemas.policy import Policy, parse_policy
from schemas.scored import Forwarded, Origin
from streams.checkpoint_pack import Packer, Position, unpack

CHANGED = documents(seed=1, change_day=60)
STRICT = parse_policy("[models.m.checks.citation]\nzero_tolerance = true\nclean = 50\n")


def of_checks(events: list[Event], name: str = "citation") -> list[Event]:
    return [event for event in events if getattr(event.data, "metric", "") == f"check:{name}"]


def kinds(events: list[Event]) -> list[str]:
    return [event.type.value.rsplit(".", 1)[1] for event in events]


def whole(watch: Watch) -> list[Any]:
    """The state of the fold and of the checks."""
    return [watch.head_state(), watch.state_of("m", "1"), watch.state_of("m", "")["checks"]]


def test_the_figures_are_those_of_a_count() -> None:
    watch, _ = fold(CHANGED, close=False)
    made = {record["request_id"]: record["subgroups"]["court"] for _, topic, record in CHANGED if topic == "predictions"}
    counted: dict[str, list[list[int]]] = {"all": [], "a": [], "b": []}
    for _, topic, record in CHANGED:
        if topic == "outcomes":
            for group in ("all", made[record["request_id"]]):
                counted[group].append(record["checks"]["citation"])
    model = report([watch]).models[0]
    found = {next(iter(one.segment.values()), "all"): one.checks["citation"] for one in model.segments}
    for group, each in counted.items():
        passed, total = np.array(each).T
        figures = found[group]
        assert (figures.passed, figures.total, figures.documents) == (passed.sum(), total.sum(), len(each))
        assert figures.documents_failed == (passed < total).sum()
        assert figures.rate == pytest.approx(passed.sum() / total.sum(), abs=1e-12)
        assert (figures.lo, figures.hi) == pytest.approx(_slow_interval(passed, total), abs=1e-9)
    assert [(one.name, one.figures) for one in model.checks] == [("citation", found["all"])]


def _slow_interval(passed: Any, total: Any) -> tuple[float, float]:
    """The ratio of two sums over documents, document by document."""
    failed = total - passed
    missed = failed.sum() / total.sum()
    squares = sum((f - missed * t) ** 2 for f, t in zip(failed.tolist(), total.tolist(), strict=True))
    n = len(total)
    effect = max(squares * n / (n - 1) / (missed * (1 - missed) * total.sum()), 1.0)
    return wilson(total.sum() / effect, passed.sum() / effect, 1.959963984540054)


def test_the_interval_of_documents_that_hang_together_holds_the_rate() -> None:
    """All or nothing in documents of ten: as wide as of the documents, and the truth lies in 95 of 100; of single checks in 47."""
    rng, inside, naive = np.random.default_rng(3), 0, 0
    for _ in range(400):
        total = np.full(60, 10)
        passed = np.where(rng.random(60) < 0.8, 10, 0)
        row = check_sums(passed, total, np.ones(60, dtype=np.int64)).sum(axis=0)
        _, lo, hi = pass_rate(row)
        inside += lo <= 0.8 <= hi
        low, high = wilson(600, float(passed.sum()), 1.959963984540054)
        naive += low <= 0.8 <= high
    assert inside >= 366  # a true 95 % gives fewer once in ten thousand
    assert naive < 240


def test_sums_are_taken_back() -> None:
    sums = check_sums(np.array([3, 3]), np.array([9, 9]), np.array([1, -1]))
    assert not sums.sum(axis=0).any()
    assert not check_sums(np.array([0]), np.array([0]), np.array([1])).any()
    with pytest.raises(ValueError, match="expected 0 <= passed <= total and total > 0, got 0 of 0"):
        pass_rate(CHECKS.zeros(1)[0])


def test_a_fall_of_the_pass_rate_is_one_incident() -> None:
    _, events = fold(CHANGED, close=False)
    mine = of_checks(events)
    assert kinds(mine)[0] == "opened"
    assert kinds(mine).count("opened") == 1
    data = mine[0].data
    assert (data.kind.value, data.direction.value) == ("check", "down")
    assert (mine[-1].data.scope.value, mine[-1].data.segment) == ("all", {})
    assert START_MS + 60 * DAY_MS < mine[0].time_ms < START_MS + 75 * DAY_MS
    assert data.baseline.value == pytest.approx(0.98, abs=0.02)
    assert data.current.hi < data.baseline.lo
    assert mine[-1].data.message.startswith("Pass rate of citation of m 1 fell from 9")
    assert data.origins["predictions"]["0"][0] > 0
    model = report([fold(CHANGED, close=False)[0]]).models[0]
    assert model.checks[0].state == "alarm"
    assert model.checks[0].baseline is not None
    assert model.state["open_incidents"] == 1


def test_no_change_no_incident() -> None:
    assert of_checks(fold(documents(seed=2), close=False)[1]) == []


def test_a_group_is_named() -> None:
    _, events = fold(documents(seed=4, days=120, per_day=80, change_day=70, group_after="b", fails_after=0.4), close=False)
    named = [event.data.affected for event in of_checks(events)]
    assert [{"court": "b"}] in named
    assert all({"court": "a"} not in affected for affected in named)


def test_a_contract_needs_no_baseline() -> None:
    policy = parse_policy("[models.m.checks.citation]\nbaseline = 0.97\n")
    broken = documents(seed=5, days=20, change_day=0, fails_after=0.3)
    first = of_checks(fold(broken, policy=policy, close=False)[1])[0]
    assert first.time_ms < START_MS + 12 * DAY_MS
    assert first.data.baseline.value == pytest.approx(0.97)
    assert of_checks(fold(broken, close=False)[1]) == []
    kept = documents(seed=5, days=60, fails=0.03)
    assert of_checks(fold(kept, policy=policy, close=False)[1]) == []


def test_what_is_turned_off_is_reported_only() -> None:
    policy = parse_policy('[models.m.checks."*"]\nenabled = false\n')
    watch, events = fold(CHANGED, policy=policy, close=False)
    assert of_checks(events) == []
    assert report([watch]).models[0].checks[0].state == "off"
    assert watch.companions["m"].members["checks"].weight(2**60) == 0.0


def test_it_takes_its_part_of_the_budget_once_checks_have_come() -> None:
    watch, _ = fold(CHANGED[:400], close=False)
    first = min(at for at, topic, _ in CHANGED if topic == "outcomes")
    assert watch.companions["m"].members["checks"].weight(first) == 0.0
    assert watch.companions["m"].members["checks"].weight(first + 1) == pytest.approx(0.1)
    assert watch._model("m").share("1")(first + 1) == pytest.approx(1 - watch.companions["m"].weight(first + 1))


def _verified(n: int, failing: dict[int, int], *, start: int = START_MS, base: str = "v") -> list[Record]:
    """Documents an hour apart, each verified half an hour later; those named fail so many of their five checks."""
    records: list[Record] = []
    for i in range(n):
        at = start + i * 3_600_000
        records.append(
            (at, "predictions", {"request_id": f"{base}{i}", "model_id": "m", "model_version": "1", "timestamp": at, "score": 0.9})
        )
        seen = {"request_id": f"{base}{i}", "timestamp": at + 1_800_000, "checks": {"citation": [5 - failing.get(i, 0), 5]}}
        records.append((at + 1_800_000, "outcomes", seen))
    return sorted(records, key=lambda record: record[0])


def test_the_first_failure_fires_when_it_is_known() -> None:
    records = _verified(120, {40: 1})
    watch, events = fold(records, policy=STRICT, close=False, chunk=1)
    opened, cleared = of_checks(events)
    assert kinds([opened, cleared]) == ["opened", "cleared"]
    assert opened.time_ms == START_MS + 40 * 3_600_000 + 1_800_000
    assert cleared.time_ms == opened.time_ms + 50 * 3_600_000
    data = opened.data
    assert (data.kind.value, data.severity.value, data.evidence, data.threshold) == ("check", "critical", 1.0, 1.0)
    assert (data.current.n, data.baseline.value, data.age_s) == (41, 1.0, 1_800.0)
    assert data.message == (
        "citation of m 1 failed in 1 of 41 documents, made since 2 January 2023; no failure of it is tolerated. "
        "Look at what has failed before it is used, and at documents of the same kind."
    )
    assert cleared.data.message == "Closed: citation of m 1 failed in 1 of 91 documents. None has failed in 50 documents since."
    assert report([watch]).models[0].checks[0].zero_tolerance
    assert watch.companions["m"].members["checks"].weight(2**60) == 0.0  # a fact spends no budget


def test_a_check_that_the_policy_names_is_never_one_of_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.rate_watch.MOST_NAMES", 2)
    records = _verified(6, {2: 1})
    for _, topic, record in records:
        if topic == "outcomes":
            record["checks"] = {"a": [1, 1], "b": [1, 1], "c": [1, 1]} | record["checks"]
    watch, events = fold(records, policy=STRICT, close=False, chunk=1)
    assert kinds(of_checks(events)) == ["opened"]
    assert [check.name for check in report([watch]).models[0].checks] == ["__other__", "a", "b", "citation"]


def test_more_failures_are_the_same_incident_until_it_ends() -> None:
    records = _verified(300, {40: 1, 41: 2, 60: 1, 62: 1, 200: 1})
    _, events = fold(records, policy=STRICT, close=False)
    mine = of_checks(events)
    assert kinds(mine) == ["opened", "updated", "updated", "cleared", "opened", "cleared"]  # 1, 2, 4 failures; another one
    assert len({event.data.incident_id for event in mine}) == 2
    assert [round(event.data.evidence) for event in mine[:3]] == [1, 2, 4]


def _control(kind: str, incident: str, at: int, body: str = "{}") -> Forwarded:
    text = f'{{"type":"{kind}","by":"ada","at":{at},"incident_id":"{incident}","model_id":"m","body":{body}}}'
    return Forwarded(Origin("control", "c", 0), 1 + at % 1000, 0, text.encode())


@pytest.mark.parametrize(("kind", "body", "word"), [("ack", "{}", "Acknowledged"), ("verdict", '{"verdict":"true"}', "Judged")])
def test_a_person_ends_it_and_the_next_failure_is_news(kind: str, body: str, word: str) -> None:
    records = _verified(60, {10: 1, 20: 1})
    cut = next(i for i, (at, _, _) in enumerate(records) if at > START_MS + 12 * 3_600_000)
    watch, events = fold(records[:cut], policy=STRICT, close=False)
    opened = of_checks(events)[0]
    ended = watch.apply(_control(kind, opened.data.incident_id, opened.time_ms + 1, body))
    assert kinds(ended) == ["cleared"]
    assert f"{word} by ada" in ended[0].data.message
    _, more = fold(records, policy=STRICT, watch=watch, close=False)  # the first ones are below the marks
    assert kinds(of_checks(more)) == ["opened"]
    assert of_checks(more)[0].data.incident_id != opened.data.incident_id
    assert of_checks(more)[0].data.evidence == 1.0  # the first one since


def test_a_failure_that_is_corrected_ends_the_incident() -> None:
    records = _verified(30, {10: 1})
    at = START_MS + 15 * 3_600_000
    records.append((at, "outcomes", {"request_id": "v10", "timestamp": at, "checks": {"citation": [5, 5]}}))
    watch, events = fold(sorted(records, key=lambda record: record[0]), policy=STRICT, close=False)
    opened, cleared = of_checks(events)
    assert cleared.time_ms == at
    assert "have been corrected" in cleared.data.message
    figures = report([watch]).models[0].checks[0].figures
    assert (figures.documents, figures.documents_failed, figures.passed) == (30, 0, 150)
    assert opened.data.incident_id == cleared.data.incident_id


def test_a_policy_that_tolerates_failures_closes_it() -> None:
    watch, events = fold(_verified(30, {10: 1}), policy=STRICT, close=False)
    closed = watch.use(Policy())
    assert kinds(closed) == ["cleared"]
    assert "the policy no longer watches it" in closed[0].data.message.lower()
    assert closed[0].data.incident_id == of_checks(events)[0].data.incident_id


MIXED = parse_policy("[models.m.checks.planted]\nzero_tolerance = true\n")


def _mixed(seed: int) -> list[Record]:
    """Documents with two checks, one of them of zero tolerance, a fall, a correction and repeats."""
    records = documents(seed=seed, days=70, per_day=20, change_day=45, fails_after=0.5)
    out: list[Record] = []
    for i, (at, topic, record) in enumerate(records):
        mine = record | ({"checks": record["checks"] | {"planted": [int(i % 611 != 0), 1]}} if topic == "outcomes" else {})
        out.append((at, topic, mine))
        if i % 50 == 0:
            out.append((at, topic, mine))
        if topic == "outcomes" and i % 97 == 0:
            out.append((at + 5_000, topic, mine | {"timestamp": at + 5_000, "checks": {"citation": [1, 2], "planted": [1, 1]}}))
    return sorted(out, key=lambda record: record[0])


def _elsewhere(events: list[Event]) -> list[bytes]:
    """The findings, wherever their records lie in the topics."""
    return findings(msgspec.structs.replace(event, data=msgspec.structs.replace(event.data, origins={})) for event in events)


def test_order_and_batches_change_nothing() -> None:
    records = _mixed(7)
    watch, events = fold(records, chunk=50, policy=MIXED, close=False)
    assert of_checks(events)
    assert of_checks(events, "planted")
    for chunk in (7, 1_000):
        again, others = fold(records, chunk=chunk, policy=MIXED, close=False)
        assert sorted(findings(others)) == sorted(findings(events))
        assert whole(again) == whole(watch)
    rng = random.Random(1)
    parts = [records[start : start + 40] for start in range(0, len(records), 40)]
    other, found = fold([record for part in parts for record in rng.sample(part, len(part))], chunk=40, policy=MIXED, close=False)
    for name in ("citation", "planted"):
        assert _elsewhere(of_checks(found, name)) == _elsewhere(of_checks(events, name))
    mine, theirs = report([watch]).models[0], report([other]).models[0]
    assert mine.checks == theirs.checks
    assert mine.segments == theirs.segments


def test_a_restart_changes_nothing() -> None:
    records = _mixed(8)
    watch, events = fold(records, policy=MIXED, close=False)
    cut = len(records) // 2
    half, first = fold(records[:cut], policy=MIXED, close=False)
    saved = unpack(Packer().pack(half, Position("scored", 1, 0)))
    assert saved is not None
    restored = saved.watch
    restored.news.every_ms = None
    _, rest = fold(records, policy=MIXED, watch=restored, close=False)
    assert findings(of_checks(first) + of_checks(rest)) == findings(of_checks(events))
    assert whole(restored)[-1] == whole(watch)[-1]


def test_a_checkpoint_leaves_out_what_only_time_has_changed() -> None:
    watch, _ = fold(_verified(3, {}), close=False)
    companions = watch.companions["m"]
    watch.changed.clear()
    saved = companions.to_state()["checks"]
    watch.apply(tick(START_MS + 3 * 3_600_000 + 600_000))
    assert ("m", "") not in watch.changed
    assert companions.to_state()["checks"] != saved
    again = Watch()
    again.load(watch.head_state(), {("m", "1"): watch.state_of("m", "1"), ("m", ""): {"checks": saved}})
    assert again.companions["m"].to_state()["checks"] == companions.to_state()["checks"]
    watch.apply(tick(START_MS + 10 * 3_600_000))
    assert ("m", "") in watch.changed


def test_late_checks_correct_the_report_only() -> None:
    records = documents(seed=9, days=60)
    watch, events = fold(records, close=False)
    before = watch.companions["m"].members["checks"].to_state()
    old = {"request_id": "old", "model_id": "m", "model_version": "1", "timestamp": START_MS, "score": 0.9}
    seen = {"request_id": "old", "timestamp": START_MS + 1, "checks": {"citation": [0, 7]}}
    _, found = fold([*records, (START_MS, "predictions", old), (START_MS + 1, "outcomes", seen)], watch=watch, close=False)
    after = watch.companions["m"].members["checks"].to_state()
    assert before is not None
    assert after is not None
    [[_, was]], [[_, now]] = before["versions"], after["versions"]
    assert was["bank"] == now["bank"]
    assert was["panes"] == now["panes"]
    assert was["totals"] != now["totals"]
    assert of_checks(found) == of_checks(events) == []


def test_probes_are_no_documents() -> None:
    records = documents(seed=10, days=20, probes=0.3)
    watch, _ = fold(records, close=False)
    planted = {record["request_id"] for _, topic, record in records if topic == "predictions" and "probe" in record}
    real = [record for _, topic, record in records if topic == "outcomes" and record["request_id"] not in planted]
    assert planted
    figures = report([watch]).models[0].segments[0].checks["citation"]
    assert figures.documents == len(real)
    assert figures.total == sum(record["checks"]["citation"][1] for record in real)


def test_statistics_events_hold_the_checks() -> None:
    watch, events = fold(documents(seed=12, days=3), watch=Watch(statistics_every_ms=1), close=False)
    last = [event.data for event in events if event.type == EventType.STATISTICS and not event.data.segment][-1]
    assert last.checks == report([watch]).models[0].segments[0].checks != {}


def test_review_time_is_held_against_the_policy() -> None:
    policy = parse_policy('[models.m]\nreview_baseline = "5m"\nreview_cost_per_hour = 90\n')
    records = documents(seed=11, days=10, review_s=120)
    seconds = [record["review_seconds"] for _, topic, record in records if topic == "outcomes"]
    whole = report([fold(records, policy=policy, close=False)[0]]).models[0].segments[0]
    assert whole.mean_review_s == pytest.approx(np.mean(seconds))
    assert whole.review_saved_s == pytest.approx(300 - np.mean(seconds))
    assert whole.review_cost == pytest.approx(sum(seconds) / 3600 * 90)
    assert report([fold(records, close=False)[0]]).models[0].segments[0].review_saved_s is None
