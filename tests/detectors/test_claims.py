"""Claims through the whole fold: refuted where production falls short, left alone where it does not; a change of the claim is followed."""

import msgspec
import pytest
from support.stories import fold, story

from detectors.control_desk import decide
from detectors.watch_report import report
from schemas.control import Control
from schemas.findings import EventType
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
