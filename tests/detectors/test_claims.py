"""Claims through the whole fold: refuted where production falls short, left alone where it does not; a change of the claim is followed."""

import msgspec
import pytest
from support.stories import DAY_MS, START_MS, Record, fold, state, story

from detectors.control_desk import decide
from detectors.model_companions import COMPANIONS
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.control import Control
from schemas.findings import Event, EventType
from schemas.policy import Policy, encode_policy, parse_policy

RECORDS = story(seed=31, days=60, per_day=60, error=0.2)


def claims(**claimed: float) -> Policy:
    lines = "\n".join(f"{name} = {value}" for name, value in claimed.items())
    return parse_policy(f'[models.m]\nages = ["8d"]\n[models.m.claims]\n{lines}\n')


def test_a_claim_that_production_does_not_reach_is_refuted_with_both_figures() -> None:
    watch, events = fold(RECORDS, policy=claims(f1=0.94, accuracy=0.79, ece=0.02))
    [event] = [event for event in events if event.type == EventType.DRIFT_OPENED]
    assert event.data.kind.value == "claim"
    assert event.data.metric == "f1"
    assert event.data.message.startswith("Claimed F1 of m 1 94 %, production says ")
    by_name = {claim.name: claim for claim in report([watch]).models[0].claims}
    assert {name: claim.refuted for name, claim in by_name.items()} == {"f1": True, "accuracy": False, "ece": False}
    [mature] = [one for one in report([watch]).models[0].mature if not one.segment]
    f1 = 2 * mature.tp / (2 * mature.tp + mature.fp + mature.fn)
    assert by_name["f1"].value == pytest.approx(f1)
    assert by_name["f1"].lo < f1 < by_name["f1"].hi < 0.94
    assert by_name["accuracy"].value == pytest.approx(0.8, abs=0.03)
    assert by_name["ece"].value == mature.ece_10


def test_claims_that_hold_are_quiet() -> None:
    watch, events = fold(RECORDS, policy=claims(f1=0.6, accuracy=0.79, sensitivity=0.5, specificity=0.9, ppv=0.5))
    assert events == []
    assert not any(claim.refuted for claim in report([watch]).models[0].claims)


@pytest.mark.parametrize("then", [0.79, 0.9, None])
def test_a_policy_may_claim_otherwise_later(then: float | None) -> None:
    watch, _ = fold(RECORDS[:2_000], policy=claims(accuracy=0.78), close=False)
    policy = parse_policy('[models.m]\nages = ["8d"]\n') if then is None else claims(accuracy=then)
    decide(watch, msgspec.json.decode(encode_policy(policy, by="x", at=RECORDS[2_000][0]), type=Control))
    panels = [panel for panel in watch.models["m"]["1"].bank.panels[1] if panel.bet.name == "claim_accuracy"]
    if then is None:
        assert panels == []
    else:
        [panel] = panels
        assert panel.monitors.null[0].tolist() == [then]
        budget = watch.models["m"]["1"].bank.budget
        assert budget.standing.tolist()[0] == 1


def of_two_versions(*, back_day: int | None = None, error_after: float = 0.2) -> list[Record]:
    """Version 1, which makes too many mistakes, is replaced on day 40; it may come back, for 60 days."""
    first = story(seed=31, days=40, per_day=60, error=0.2)
    parts = [first, later(story(seed=32, days=110, per_day=20, error=0.01, version="2"), 40)]
    if back_day is not None:
        back = later(story(seed=33, days=60, per_day=60, error=error_after), back_day)
        parts.append([(at, topic, record | {"request_id": f"back-{record['request_id']}"}) for at, topic, record in back])
    return sorted((record for part in parts for record in part), key=lambda record: record[0])


def later(records: list[Record], days: int) -> list[Record]:
    return [(at + days * DAY_MS, topic, record | {"timestamp": record["timestamp"] + days * DAY_MS}) for at, topic, record in records]


def refuted(watch: Watch, version: str = "1") -> bool:
    [model] = [model for model in report([watch]).models if model.model_version == version]
    return model.claims[0].refuted


def of_claims(events: list[Event], kind: EventType) -> list[Event]:
    return [event for event in events if event.type == kind and event.subject == "m/1" and event.data.metric == "accuracy"]


def test_a_claim_that_was_refuted_stays_so_when_its_version_is_out_of_service() -> None:
    watch, events = fold(of_two_versions(), policy=claims(accuracy=0.9), close=False)
    [closed] = of_claims(events, EventType.DRIFT_CLEARED)
    assert "out of service" in closed.data.message
    assert refuted(watch)
    assert not refuted(watch, "2")
    assert not watch.models["m"]["1"].bank.active()
    again = Watch(statistics_every_ms=None)
    again.load(watch.head_state(), {("m", name): watch.state_of("m", name) for name in ("1", "2", COMPANIONS)})
    assert refuted(again), "after a restart"
    assert state(again) == state(watch)


@pytest.mark.parametrize(("error", "stays"), [(0.2, True), (0.02, False)])
def test_a_version_that_comes_back_is_judged_anew_and_its_claim_refuted_until_the_clear_test_says_otherwise(
    error: float, stays: bool
) -> None:
    watch, events = fold(of_two_versions(back_day=90, error_after=error), policy=claims(accuracy=0.9), close=False)
    assert len(of_claims(events, EventType.DRIFT_OPENED)) == 1 + stays, "people are told anew, if it still falls short"
    assert refuted(watch) == stays
    assert not watch.models["m"]["1"].bank.outlived()


@pytest.mark.parametrize("decision", ["accept", "reset"])
def test_a_baseline_that_is_accepted_absolves_a_claim_that_silence_did_not(decision: str) -> None:
    watch, _ = fold(of_two_versions(), policy=claims(accuracy=0.9), close=False)
    decide(watch, Control(type="baseline", by="ada", at=START_MS + 200 * DAY_MS, model_id="m", body={"decision": decision}))
    assert not refuted(watch)
