"""Ages that are learnt: a rung is read before it is known to be the mature one, and then does what only the mature one does."""

import msgspec
import pytest
from support.stories import DAY_MS, START_MS, findings, fold, labelled_after, story

from detectors.bank import Bank
from detectors.model_version import ModelVersion
from detectors.watch import Watch
from schemas.findings import EventType
from schemas.policy import Policy, parse_policy

LEARNT = Policy()
HOUR_MS = 3_600_000


# the first age that has the labels has them all: it is read, and then the next one adds none
RECORDS = labelled_after(HOUR_MS, story(seed=8, days=40, per_day=60, error=0.2, labelled=1.0))


def with_rule(rule: str) -> Policy:
    return parse_policy(f"[models.m]\n{rule}\n")


def bank_of(watch: Watch) -> Bank:
    return watch.models["m"]["1"].bank


def mature_rows(bank: Bank, family: str) -> list[dict[str, object]]:
    """Of the aggregate, by rung whose panels are mature: the null and whether the baseline is a promise."""
    found = []
    for rung, panels in bank.panels.items():
        for panel in panels if bank.mature[rung] else ():
            for track in panel.tracks_of[panel.families.index(family)] if family in panel.families else ():
                row, m = int(panel.rows[track, 0]), panel.monitors
                found.append({"null": m.null[row].tolist(), "promised": bool(m.frozen[row] and m.base[row, 3] == 0)})
    return found


@pytest.mark.parametrize("ages", ["", 'ages = ["1h", "8d"]'])
def test_claims_are_refuted_whether_ages_are_learnt_or_declared(ages: str) -> None:
    _, events = fold(RECORDS, policy=with_rule(f"{ages}\n[models.m.claims]\naccuracy = 0.9"))
    assert [event.data.metric for event in events if event.type == EventType.DRIFT_OPENED] == ["accuracy"]


def test_what_was_promised_of_a_rate_is_the_baseline_at_the_mature_age_once_that_is_learnt() -> None:
    watch, _ = fold(RECORDS, policy=with_rule("[models.m.watch.error]\nbaseline = 0.25"), close=False)
    assert mature_rows(bank_of(watch), "error") == [{"null": [0.25, 0.25], "promised": True}]


def test_an_alarm_from_a_baseline_that_a_promise_replaces_is_let_go_and_the_budget_is_split_anew() -> None:
    rule = with_rule("baseline = { days = 2, labels = 50, failures = 5 }\n[models.m.watch.error]\nbaseline = 0.5")
    watch, events = fold(
        labelled_after(5 * DAY_MS, story(seed=8, days=35, per_day=100, change_day=8, labelled=1.0)), policy=rule, close=False
    )
    version = watch.models["m"]["1"]
    mature = version.ladder.mature
    assert mature is not None
    assert version.ladder.age_ms(mature) == 8 * DAY_MS
    raised = [each for incident in version.incidents.open for each in incident.members if each.alarm.key[:3] == ("error", 1, 0)]
    assert mature in {each.alarm.key.rung for each in raised}  # before it was known to be the mature one
    active = {each.alarm.key for incident in version.incidents.open for each in incident.members if each.active}
    assert active == version.bank.active()
    assert mature not in {key.rung for key in active if key.family == "error" and key.segment == 0}
    assert any(event.type == EventType.DRIFT_OPENED for event in events)
    loaded = Bank.from_state(version.bank.to_state(), policy=version.policy)
    assert version.bank.budget.standing.tolist() == loaded.budget.standing.tolist()  # who draws on the budget is counted once


def test_monitors_go_on_with_what_they_have_learnt() -> None:
    watch, _ = fold(RECORDS, policy=LEARNT, close=False)
    bank = bank_of(watch)
    [rung] = [rung for rung, mature in bank.mature.items() if mature]
    rates = next(panel for panel in bank.panels[rung] if panel.bet.name == "rates")
    first = min(int(each) for each in rates.monitors.first[: rates.monitors.count] if each >= 0)
    assert first < START_MS + HOUR_MS  # not only since the next age was decided


PROMISED = with_rule("[models.m.claims]\naccuracy = 0.9\n[models.m.watch.error]\nbaseline = 0.25")


@pytest.mark.parametrize("chunk", [53, 10_000])
def test_however_the_log_is_cut_the_state_is_the_same(chunk: int) -> None:
    whole, events = fold(RECORDS, policy=PROMISED, close=False)
    cut, others = fold(RECORDS, policy=PROMISED, close=False, chunk=chunk)
    assert msgspec.msgpack.encode(cut.state_of("m", "1")) == msgspec.msgpack.encode(whole.state_of("m", "1"))
    assert findings(others) == findings(events)


def test_a_restart_before_the_mature_age_is_known_changes_nothing() -> None:
    watch, _ = fold(RECORDS[:4_000], policy=PROMISED, close=False, ticks=False)
    version = watch.models["m"]["1"]
    version.advance(RECORDS[2_020][0], lambda due_ms: 1.0)  # the age of 75 minutes is read, that of 6.5 hours not yet decided
    assert 3 in version.bank.mature
    assert not any(version.bank.mature.values())
    saved = msgspec.msgpack.decode(msgspec.msgpack.encode(version.to_state()))
    again = ModelVersion.from_state(saved, "m", "1", version.policy, distinct_scores=64)
    found = [each.advance(RECORDS[3_999][0], lambda due_ms: 1.0) for each in (version, again)]
    assert findings(found[0]) == findings(found[1])
    assert version.bank.mature[3]
    assert msgspec.msgpack.encode(again.to_state()) == msgspec.msgpack.encode(version.to_state())
