"""What pages nobody is told all the same: in the message of the monitor that it is about, and once in the audit trail."""

import json
import math
import random
from datetime import datetime

import msgspec
import pytest
from support.stories import DAY_MS, START_MS, Record, fold

from detectors.model_version import ModelVersion
from detectors.progress import monitor_states
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.policy import parse_policy
from schemas.report import MonitorState

POLICY = parse_policy('[models.m]\nages = ["1d"]\n')


def told(rows: list[tuple[float, bool]], per_day: int) -> list[Record]:
    """Scores and what came true an hour later, so many a day."""
    records: list[Record] = []
    for i, (score, positive) in enumerate(rows):
        at = START_MS + i * DAY_MS // per_day
        made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": at, "score": score}
        records.append((at, "predictions", made))
        known = at + 3_600_000
        records.append((known, "outcomes", {"request_id": f"r{i}", "timestamp": known, "true_label": int(positive)}))
    return sorted(records, key=lambda record: record[0])


def overconfident(days: int) -> list[Record]:
    """Scores that have been too extreme from the start."""
    r, rows = random.Random(3), []
    for _ in range(days * 200):
        logit = r.gauss(-0.5, 2)
        rows.append((round(1 / (1 + math.exp(-logit)), 4), r.random() < 1 / (1 + math.exp(-0.6 * logit))))
    return told(rows, 200)


def worse_while_learning(days: int, change_day: int = 15) -> list[Record]:
    r = random.Random(5)
    return told([(0.2, r.random() < (0.1 if i < change_day * 100 else 0.6)) for i in range(days * 100)], 100)


def monitor(watch: Watch, metric: str) -> MonitorState:
    [found] = [each for each in report([watch]).models[0].monitors if each.metric == metric]
    return found


def restarted(version: ModelVersion) -> ModelVersion:
    saved = msgspec.msgpack.decode(msgspec.msgpack.encode(version.to_state()))
    again = ModelVersion.from_state(saved, version.model_id, version.name, version.policy, distinct_scores=64)
    again.watermark_ms = version.watermark_ms
    return again


@pytest.mark.parametrize("ages", ['ages = ["1d"]', 'ages = ["2h", "12h", "1d"]', ""], ids=["one age", "several ages", "learnt ages"])
def test_a_model_that_was_miscalibrated_from_the_start_is_told_once_and_the_report_says_so_from_then_on(ages: str) -> None:
    watch, events = fold(overconfident(45), policy=parse_policy(f"[models.m]\n{ages}\n"), close=False)
    said = [json.loads(line.value) for line in watch.ledger.take() if b"miscalibrated" in line.value]
    [line] = said
    assert line["type"] == "baseline"
    assert "the scores were miscalibrated from the start (intercept" in line["text"]
    [baseline] = [each for each in line["body"]["baselines"] if "remark" in each]
    assert (baseline["metric"], baseline["segment"]) == ("calibration", {})
    assert baseline["remark"] in line["text"]
    each, ladder = monitor(watch, "calibration"), watch.models["m"]["1"].ladder
    assert each.age_s * 1000 == ladder.age_ms(ladder.mature or 0)
    assert each.state == "watching"
    assert each.message.startswith("Watching. The scores were miscalibrated from the start (intercept")
    assert [other.metric for other in report([watch]).models[0].monitors if "miscalibrated" in other.message] == ["calibration"]
    assert not [event for event in events if event.type.startswith("gnomon.drift.")]
    version = watch.models["m"]["1"]
    assert monitor_states(restarted(version), 1.0) == monitor_states(version, 1.0)


def test_a_change_that_is_seen_while_a_monitor_learns_is_in_its_message_and_in_the_trail_and_pages_nobody() -> None:
    watch, events = fold(worse_while_learning(26), policy=POLICY, close=False)
    trail = [json.loads(line.value) for line in watch.ledger.take()]
    [line] = [each for each in trail if each["body"].get("warm_up", {}).get("metric") == "error"]
    assert line["text"] == "Adwin sees a change of the error rate; no baseline stands yet, so nobody is paged."
    assert line["body"] == {"baselines": [], "warm_up": {"metric": "error", "segment": {}, "age_s": 86_400.0}}
    each = monitor(watch, "error")
    assert each.state == "learning"
    day, month = int(line["time"][8:10]), int(line["time"][5:7])
    assert month == 1
    assert each.message.endswith(f" While it learns: a change was seen on {day} January 2023; it does not page.")
    assert "While" not in monitor(watch, "alert_rate").message
    assert not [event for event in events if event.type.startswith("gnomon.drift.")]
    version = watch.models["m"]["1"]
    assert monitor_states(restarted(version), 1.0) == monitor_states(version, 1.0)


def test_what_was_seen_while_it_learnt_is_past_when_the_baseline_stands_or_is_learnt_anew() -> None:
    watch, _ = fold(worse_while_learning(60), policy=POLICY, close=False)
    assert monitor(watch, "error").state == "watching"
    assert "learns" not in monitor(watch, "error").message
    early, _ = fold(worse_while_learning(26), policy=POLICY, close=False)
    version = early.models["m"]["1"]
    version.bank.reset()
    assert "While it learns" not in monitor(early, "error").message


def test_a_remark_on_a_baseline_is_not_made_of_what_is_learnt_in_its_place() -> None:
    watch, _ = fold(overconfident(45), policy=POLICY, close=False)
    watch.models["m"]["1"].bank.reset()
    assert "miscalibrated" not in monitor(watch, "calibration").message


def worse(days: int, change_day: int) -> list[Record]:
    """Over-confident from the start, and turned round from a day on."""
    r, rows = random.Random(3), []
    for i in range(days * 200):
        logit = r.gauss(-0.5, 2)
        true = r.random() < 1 / (1 + math.exp(-0.6 * logit))
        rows.append((round(1 / (1 + math.exp(-logit)), 4), true != (i >= change_day * 200)))
    return told(rows, 200)


WATCHED = parse_policy('[models.m]\nages = ["1d"]\n[models.m.watch.calibration]\ndetector = "adwin"\nrole = "watch"\n')


def test_what_a_watch_beside_the_bank_sees_is_told_beside_what_was_known_from_the_start_and_in_the_trail() -> None:
    watch, _ = fold(worse(60, change_day=45), policy=WATCHED, close=False)
    trail = [json.loads(line.value) for line in watch.ledger.take()]
    seen = [line for line in trail if "watch" in line["body"]]
    said = "Adwin sees a change of the calibration; it watches beside the evidence bank and pages nobody"
    assert {line["text"] for line in seen} == {f"{said}."}
    assert seen[0]["body"] == {"baselines": [], "watch": {"metric": "calibration", "segment": {}, "age_s": 86_400.0}}
    assert [line["type"] for line in seen] == ["baseline"] * len(seen)
    assert all(line["time"] >= "2023-02-15" for line in seen)
    version = watch.models["m"]["1"]
    assert len(seen) == len([note for note in version.notes if note.what == "watch"])
    each = monitor(watch, "calibration")
    assert " The scores were miscalibrated from the start (intercept" in each.message
    at = datetime.fromisoformat(seen[-1]["time"])
    assert each.message.endswith(f"so far. {said} (latest: {at.day} {at:%B} 2023).")
    assert monitor_states(restarted(version), 1.0) == monitor_states(version, 1.0)
