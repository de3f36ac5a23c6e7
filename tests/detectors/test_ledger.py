"""The audit trail: every policy, baseline, alarm and decision is a line, chained, and a product of the fold alone."""

import json
from typing import Any

import msgspec
import pytest
from support.documents import documents
from support.stories import DAY_MS, OUTCOMES, PREDICTIONS, START_MS, fold, story, tick

from detectors.audit_chain import chains
from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.ledger import Ledger, Written
from detectors.pending import DictTable
from detectors.watch import Watch
from schemas.audit import FIRST, AuditLine, AuditType, sha256
from schemas.control import Control
from schemas.findings import EventType, from_json, to_json
from schemas.policy import parse_policy
from schemas.scored import Forwarded, Origin

POLICY = parse_policy('[defaults]\nages = ["1d"]\nbaseline = { days = 10, labels = 100, failures = 10 }\n')
CONTROL = Origin("control", "c", 0)
TWO = sorted(
    (record for name, day in (("1", 35), ("2", 45)) for record in story(seed=7, days=70, per_day=40, change_day=day, version=name)),
    key=lambda record: record[0],
)


def lines(watch: Watch) -> list[AuditLine]:
    return [msgspec.json.decode(line.value, type=AuditLine) for line in watch.ledger.take()]


def decide(watch: Watch, offset: int, **fields: Any) -> list[AuditLine]:
    record = json.dumps({"by": "ada", "at": START_MS + offset} | fields).encode()
    watch.apply(Forwarded(CONTROL, offset, 0, record))
    return lines(watch)


@pytest.fixture(scope="module")
def trail() -> list[Written]:
    watch, _ = fold(TWO, policy=POLICY)
    return watch.ledger.take()


def test_every_event_and_every_baseline_is_a_line_in_order_of_time():
    watch, events = fold(TWO, policy=POLICY, close=False)
    assert {EventType.DRIFT_OPENED, EventType.DRIFT_ESCALATED} <= {event.type for event in events}
    trail = lines(watch)
    whole = [line for line in trail if line.model_id == ""]
    assert [(line.type, line.by) for line in whole] == [(AuditType.POLICY, "test")]
    assert whole[0].body["body"]["toml"] == POLICY.toml
    mine = [line for line in trail if line.model_id == "m"]
    assert [line.number for line in mine] == list(range(len(mine)))
    assert {line.policy for line in trail} == {sha256(POLICY.toml.encode())}
    assert (mine[0].type, mine[0].time, mine[0].by) == (AuditType.POLICY, "1970-01-01T00:00:00.000Z", "test")
    found = [from_json(msgspec.json.encode(line.body)) for line in mine if line.type == AuditType.FINDING]
    assert sorted(map(to_json, found)) == sorted(map(to_json, events))
    assert [line.time for line in mine[1:]] == sorted(line.time for line in mine[1:])
    standing = {
        (line.model_version, each["metric"], each["direction"], tuple(each["segment"].items()), each["age_s"]): each
        for line in mine
        if line.type == AuditType.BASELINE
        for each in line.body["baselines"]
    }
    for name, version in watch.models["m"].items():
        for panel in (panel for panels in version.bank.panels.values() for panel in panels):
            for row in range(panel.monitors.count):
                value, lo, hi, n = panel.monitors.base[row].tolist()
                if n:
                    key = panel.key(row, version.bank.segments[int(panel.monitors.slot[row])])
                    way, age_s = ("up" if key.direction > 0 else "down"), version.ladder.age_ms(key.rung) / 1000
                    each = standing.pop((name, key.family, way, tuple(version.sums.segments.name(key.segment).items()), age_s))
                    assert (each["value"], each["lo"], each["hi"], each["n"]) == (value, lo, hi, round(n))
    assert standing == {}  # nothing stands in the trail that does not stand in the bank


@pytest.mark.parametrize("chunk", [97, 10**9])
def test_the_trail_does_not_depend_on_where_the_log_is_cut_and_ticked(trail, chunk):
    other, _ = fold(TWO, policy=POLICY, chunk=chunk)
    assert other.ledger.take() == trail
    assert len(trail) > 20


def test_decisions_are_lines_before_what_they_cause():
    watch, _ = fold([record for record in TWO if record[0] < START_MS + 60 * DAY_MS], policy=POLICY, close=False)
    lines(watch)
    ident = watch.models["m"]["1"].incidents.open[0].incident_id
    (ack,) = decide(watch, 1, type="ack", incident_id=ident, model_id="m")
    assert (ack.type, ack.by, ack.incident_id, ack.text) == (AuditType.DECISION, "ada", ident, f"ada: ack, incident {ident}.")
    to_all, mine = decide(watch, 2, type="verdict", incident_id=ident, body={"verdict": "true"})
    assert [(line.model_id, line.body["type"]) for line in (to_all, mine)] == [("", "verdict"), ("m", "verdict")]
    first, *caused = decide(watch, 3, type="baseline", model_id="m", body={"decision": "accept"})
    assert first.body["body"] == {"decision": "accept"}
    assert {line.type for line in caused} == {AuditType.FINDING}
    assert all(line.text.startswith("drift.cleared: Closed") for line in caused)
    (unknown,) = [line for line in decide(watch, 4, type="ack", incident_id="x", model_id="none") if line.type == AuditType.DECISION]
    assert (unknown.model_id, unknown.number) == ("none", 1)


def test_a_policy_is_told_to_every_chain_and_one_with_a_fault_is_refused_with_all_its_faults():
    watch, _ = fold(TWO[:4_000], policy=POLICY, close=False)
    lines(watch)
    (refused,) = decide(watch, 1, type="policy", body={"toml": "[models.m]\nhorizn = '1d'\nlateness = 7\n"})
    assert (refused.model_id, refused.type, refused.by) == ("", AuditType.REFUSED, "ada")
    assert "models.m.horizn: unknown key; did you mean 'horizon'?; models.m.lateness: expected" in refused.text
    assert watch.policy == POLICY
    toml = '[models.m.watch.error]\nenabled = false\n[models.m]\nages = ["1d"]\n'
    whole, mine, *closed = decide(watch, 2, type="policy", body={"toml": toml})
    assert [(line.model_id, line.type, line.policy) for line in (whole, mine)] == [
        (model, AuditType.POLICY, sha256(toml.encode())) for model in ("", "m")
    ]
    assert "toml" not in str(mine.body)
    assert all(line.type == AuditType.FINDING for line in closed)


def test_the_chain_of_what_was_said_to_all_is_the_same_in_every_partition():
    made = fold(TWO[:4_000], policy=POLICY, close=False)[0], fold([], policy=POLICY, close=False)[0]
    said = [{"type": "policy", "body": {"toml": ""}}, {"type": "ack", "incident_id": "i"}, {"type": "policy", "body": {"toml": "["}}]
    trails = []
    for watch in made:
        for offset, record in enumerate(said, start=1):
            watch.apply(Forwarded(CONTROL, offset, 0, json.dumps(record | {"by": "ada", "at": offset}).encode()))
        trails.append([line for line in watch.ledger.take() if not line.model_id])
    assert trails[0] == trails[1]
    assert len(trails[0]) == 4


def made_trail() -> list[bytes]:
    ledger = Ledger()
    for number in range(5):
        ledger.decision("m", Control(type="ack", by="ada", at=number, incident_id=f"i{number}"))
    return [line.value for line in ledger.take()]


def test_a_whole_trail_has_no_fault_however_it_is_delivered():
    trail = made_trail()
    for delivered in (trail, trail[::-1], trail + trail[2:]):
        chain = chains(delivered)["m"]
        assert (chain.faults, [link.raw for link in chain.links], chain.head) == ([], trail, sha256(trail[-1]))
    assert [link.line.previous for link in chain.links] == [FIRST, *map(sha256, trail[:-1])]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda t: t[1:], "line 0 is missing"),
        (lambda t: [*t[:2], *t[4:]], "lines 2 to 3 are missing"),
        (lambda t: [*t[:2], t[2].replace(b'"by":"ada"', b'"by":"bob"', 1), *t[3:]], "line 2 was changed, or line 3"),
        (lambda t: [*t, t[2].replace(b'"by":"ada"', b'"by":"bob"', 1)], "there are two lines 2"),
        (lambda t: [*t[:3], t[3].replace(b'"number":3', b'"number":2', 1)], "there are two lines 2"),
    ],
)
def test_what_was_removed_or_changed_shows(change, fault):
    changed = change(made_trail())
    assert changed != made_trail()
    assert fault in "; ".join(chains(changed)["m"].faults)


def test_models_beyond_the_cap_share_a_name_but_not_a_chain():
    one, two = Ledger(), Ledger()
    for ledger, by in ((one, "ada"), (two, "bob")):
        for at in range(3):
            ledger.decision("__other__", Control(type="ack", by=by, at=at, incident_id="i"))
    both = [line.value for ledger in (one, two) for line in ledger.take()]
    assert chains(both)["__other__"].faults == []
    assert len(chains(both[:2] + both[3:])["__other__"].faults) == 1


def test_what_is_no_line_is_refused():
    with pytest.raises(ValueError, match="as line 2"):
        chains([made_trail()[0], b'{"model_id": "m"}'])


def test_a_reset_forgets_all_that_was_learnt_and_keeps_what_was_promised():
    toml = '[defaults]\nages = ["1d"]\nbaseline = { days = 10, labels = 100, failures = 10, fpr = 0.05 }\n'
    watch, _ = fold([record for record in TWO if record[0] < START_MS + 60 * DAY_MS], policy=parse_policy(toml), close=False)
    version = watch.models["m"]["1"]
    assert version.incidents.open
    before = version.bank.budget.standing.sum()
    record = {"type": "baseline", "by": "ada", "at": START_MS + 60 * DAY_MS, "model_id": "m", "body": {"decision": "reset"}}
    events = watch.apply(Forwarded(CONTROL, 1, 0, json.dumps(record).encode()))
    assert {event.type for event in events} == {EventType.DRIFT_CLEARED}
    assert all("All baselines were reset by ada" in event.data.message for event in events)
    assert all(not each.incidents.open for each in watch.models["m"].values())
    panels = [panel for panels in version.bank.panels.values() for panel in panels]
    standing = {panel.key(row, 0).family for panel in panels for row in range(panel.monitors.count) if panel.monitors.state[row]}
    assert standing == {"fpr"}
    assert 0 < version.bank.budget.standing.sum() < before
    again = Watch(statistics_every_ms=None)  # what a restart makes of it is the same
    again.load(watch.head_state(), {("m", name): each.to_state() for name, each in watch.models["m"].items()})
    assert msgspec.msgpack.encode(again.models["m"]["1"].to_state()) == msgspec.msgpack.encode(version.to_state())
    assert again.models["m"]["1"].bank.budget.standing.tolist() == version.bank.budget.standing.tolist()


@pytest.mark.parametrize("decision", ["accept", "reset"])
def test_baselines_are_learnt_anew_from_what_comes_after(decision):
    made = story(seed=4, days=110, per_day=60, change_day=35, delay_days=0.1)
    cut = START_MS + 60 * DAY_MS
    watch, _ = fold([record for record in made if record[0] < cut], policy=POLICY, close=False)
    key = watch.models["m"]["1"].incidents.open[0].lead.alarm.key
    watch.ledger.take()
    record = {"type": "baseline", "by": "ada", "at": cut, "model_id": "m", "body": {"decision": decision}}
    watch.apply(Forwarded(CONTROL, 1, 0, json.dumps(record).encode()))
    joiner, table = Joiner(POLICY, b"k"), DictTable()
    later = [record for record in made if record[0] >= cut]
    batches = []
    for origin in (PREDICTIONS, OUTCOMES):
        values = [json.dumps(record).encode() for _, topic, record in later if topic == origin.topic]
        batches.append(SourceBatch(origin, range(10**6, 10**6 + len(values)), [2**50] * len(values), values))
    prepared = joiner.prepare(batches)
    for rows in joiner.finish(prepared, table.exchange_now(prepared.lookups)).rows:
        watch.apply(rows)
    watch.apply(tick(later[-1][0]))
    learnt = [each for line in lines(watch) if line.type == AuditType.BASELINE for each in line.body["baselines"]]
    again = [each for each in learnt if each["metric"] == key.family and not each["segment"] and not each["anew"]]
    assert again
    assert all(each["value"] > 0.25 for each in again if each["metric"] == "error")
    assert ({"alert_rate", "score"} & {each["metric"] for each in learnt if not each["anew"]} != set()) == (decision == "reset")


def test_baselines_of_checks_stand_in_the_trail_as_shares_that_pass():
    made = documents(seed=7, days=60, per_day=30)
    watch, _ = fold(made, close=False)
    found = [each for line in lines(watch) for each in line.body.get("baselines", []) if each["metric"].startswith("check")]
    mine = [each for each in found if not each["segment"]]
    assert mine
    assert {each["direction"] for each in mine} == {"down"}
    shares = [passed / total for _, topic, record in made if topic == "outcomes" for passed, total in record["checks"].values()]
    assert all(abs(each["value"] - sum(shares) / len(shares)) < 0.05 for each in mine)
    assert all(each["lo"] < each["value"] < each["hi"] for each in mine)


def test_a_bad_record_takes_no_decision_with_it_that_was_read_in_the_same_batch():
    said = [{"type": "policy", "by": "ada", "at": 1, "body": {"toml": POLICY.toml}}, {"type": "policy"}, {"type": "ack"}]
    batch = SourceBatch(CONTROL, [0, 1], [9, 9], [json.dumps(part).encode() for part in (said[:2], said[2])])
    joiner, watch = Joiner(POLICY, b"k"), Watch()
    prepared = joiner.prepare([batch])
    joined = joiner.finish(prepared, DictTable().exchange_now(prepared.lookups))
    assert len(joined.dead_letters) == 2
    for record in [*joined.rows, *joined.forwarded, *joined.forwarded]:  # in the order in which they are produced, some twice
        watch.apply(record)
    assert [(line.type, line.by) for line in lines(watch)] == [(AuditType.POLICY, "ada")]
    assert watch.policy.toml == POLICY.toml
