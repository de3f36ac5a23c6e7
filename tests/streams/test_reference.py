"""A reference set as files: what is counted, what is refused, and the ways in: the command, a replay, a policy that is applied."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.logs import gnomon
from support.stories import START_MS, Record, story

from schemas.audit import AuditLine, AuditType
from schemas.codec import encode
from schemas.control import Control, ship
from schemas.findings import EventType, from_json
from schemas.policy import Policy, parse_policy
from schemas.reference import MOST_BYTES, Reference
from streams import control_log
from streams.logs import ReplayError
from streams.reference import count_reference

SET = story(seed=31, days=10, per_day=200, labelled=1.0)
BAD = story(seed=32, days=20, per_day=40, change_day=0, error_after=0.35)


def rows(records: list[Record], *, bare: bool = False) -> list[dict[str, Any]]:
    """One table of predictions with their labels; ``bare``: without ids, versions and times."""
    labels = {record["request_id"]: record["true_label"] for _, topic, record in records if topic == "outcomes"}
    made = [record | {"true_label": labels[record["request_id"]]} for _, topic, record in records if topic == "predictions"]
    drop = {"request_id", "model_id", "model_version", "timestamp"} if bare else set()
    return [{key: value for key, value in row.items() if key not in drop} for row in made]


def written(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def logs(folder: Path, records: list[Record]) -> tuple[Path, Path]:
    predictions, outcomes = ([record for _, topic, record in records if topic == name] for name in ("predictions", "outcomes"))
    return written(folder / "p.jsonl", predictions), written(folder / "o.jsonl", outcomes)


def totals(reference: Reference, family: str) -> dict[tuple[str, ...], list[float]]:
    [found] = [each for each in reference.families if each.family == family]
    return {tuple(each.segment.values()): each.total for each in found.segments}


def test_what_is_counted_is_a_count(tmp_path: Path) -> None:
    [found] = count_reference(logs(tmp_path, SET), Policy(), "m")
    table = rows(SET)
    assert (found.model_version, found.predictions, found.labelled) == ("1", 2_000, 2_000)
    wrong = [row["predicted_label"] != row["true_label"] for row in table]
    assert totals(found, "error")[()] == [2_000, sum(wrong)]
    mine = [bad for bad, row in zip(wrong, table, strict=True) if row["subgroups"]["group"] == "b"]
    assert totals(found, "error")["b",] == [len(mine), sum(mine)]
    assert totals(found, "alert_rate")[()] == [2_000, sum(row["predicted_label"] for row in table)]
    assert {each.family for each in found.families} >= {"error", "fpr", "fnr", "calibration", "score", "prior", "alert_rate"}
    assert "coverage" not in {each.family for each in found.families}


def test_one_table_says_what_two_logs_say_also_as_parquet_and_without_ids(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    [two] = count_reference(logs(tmp_path, SET), Policy(), "m")
    [one] = count_reference((written(tmp_path / "t.jsonl", rows(SET)),), Policy(), "m")
    pq.write_table(pa.Table.from_pylist(rows(SET)), tmp_path / "t.parquet")
    [packed] = count_reference((tmp_path / "t.parquet",), Policy(), "m")
    bare = written(tmp_path / "bare.jsonl", rows(SET, bare=True))
    [nameless] = count_reference((bare,), Policy(), "m", any_version=True)
    [named] = count_reference((bare,), Policy(), "m", "7")
    for other in (one, packed, nameless, named):
        assert [(f.family, [s.total for s in f.segments]) for f in other.families] == [
            (f.family, [s.total for s in f.segments]) for f in two.families
        ]
    assert (one.model_version, nameless.model_version, named.model_version) == ("1", None, "7")
    assert len({each.sha256 for each in (two, one, packed, nameless)}) == 4


def test_groups_that_find_no_room_are_left_out_the_smallest_first(tmp_path: Path) -> None:
    many = [row | {"subgroups": {"desk": f"desk-{i % 190}" if i % 3 else "large"}} for i, row in enumerate(rows(SET))]
    [found] = count_reference((written(tmp_path / "t.jsonl", many),), Policy(), "m")
    assert len(msgspec.json.encode(found)) <= MOST_BYTES
    assert list(totals(found, "error"))[:2] == [(), ("large",)]
    assert 5 < len(totals(found, "error")) < 192


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "the file is empty"),
        ([{"true_label": 1, "amount": 2}], "row 0: expected a column score .*, got amount, true_label"),
        ([{"score": 0.5, "predicted_label": 1}], "expected outcomes for the predictions of m .*is `true_label` there"),
        ([{"score": 7, "true_label": 1}], r"prediction 0 cannot be read: .*score"),
        ([{"score": 0.5, "true_label": 1, "model_id": "n", "model_version": "2"}], "expected predictions of m, found those of n 2"),
        ([[1]], "row 0: expected a table's row"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path: Path, lines: list[Any], why: str) -> None:
    path = written(tmp_path / "t.jsonl", lines)
    with pytest.raises(ReplayError, match=why):
        count_reference((path,), Policy(), "m")
    with pytest.raises(ReplayError, match="found no file"):
        count_reference((tmp_path / "none.parquet",), Policy(), "m")
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    with pytest.raises(ReplayError, match=r"expected .*t.parquet to be"):
        count_reference((tmp_path / "t.parquet",), Policy(), "m")


def test_a_replay_ships_the_file_of_its_policy(tmp_path: Path) -> None:
    predictions, outcomes = logs(tmp_path, BAD)
    (tmp_path / "sets").mkdir()
    written(tmp_path / "sets" / "reference.jsonl", rows(SET, bare=True))
    text = '[models.m]\nages = ["3d"]\n'
    (tmp_path / "policy.toml").write_text(text + 'baseline = { file = "sets/reference.jsonl" }\n')
    out, audit = tmp_path / "events.jsonl", tmp_path / "audit.jsonl"
    words = ("replay", predictions, outcomes, "--policy", tmp_path / "policy.toml", "--events", out, "--audit", audit)
    assert gnomon(*words).exit_code == 0
    opened = [event for line in out.read_bytes().splitlines() if (event := from_json(line)).type is EventType.DRIFT_OPENED]
    assert (opened[0].data.metric, opened[0].data.baseline.n) == ("error", 2_000)
    assert opened[0].time_ms < START_MS + 9 * 86_400_000
    lines = [msgspec.json.decode(line, type=AuditLine) for line in audit.read_bytes().splitlines()]
    [decision] = [line for line in lines if line.type is AuditType.DECISION]
    assert decision.text.startswith("replay: baseline reference for every version, SHA-256 ")
    again = audit.read_bytes()
    assert gnomon(*words).exit_code == 0
    assert audit.read_bytes() == again


def test_the_record_goes_through_the_join_like_any_other(tmp_path: Path) -> None:
    """As on the control topic: read by the join within the limits of the codec, forwarded, and folded at its time."""
    predictions, outcomes = logs(tmp_path, BAD)
    many = [row | {"subgroups": {"desk": f"desk-{i % 190}" if i % 3 else "large"}} for i, row in enumerate(rows(SET))]
    [found] = count_reference((written(tmp_path / "t.jsonl", many),), Policy(), "m")
    record = encode(ship("m", found, by="ada", at_ms=START_MS + 10 * 86_400_000))
    assert len(record) > 50_000
    (tmp_path / "control.jsonl").write_bytes(record + b"\n")
    (tmp_path / "policy.toml").write_text('[models.m]\nages = ["3d"]\n')
    out = tmp_path / "events.jsonl"
    words = (
        "replay",
        predictions,
        outcomes,
        "--policy",
        tmp_path / "policy.toml",
        "--control",
        tmp_path / "control.jsonl",
        "--events",
        out,
    )
    assert gnomon(*words).exit_code == 0
    opened = [event for line in out.read_bytes().splitlines() if (event := from_json(line)).type is EventType.DRIFT_OPENED]
    assert (opened[0].data.metric, opened[0].data.baseline.n) == ("error", 2_000)
    assert START_MS + 10 * 86_400_000 < opened[0].time_ms < START_MS + 18 * 86_400_000


def test_a_policy_whose_file_is_missing_is_told_so(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[models.m]\nbaseline = { file = "none.parquet" }\n')
    result = gnomon("check", policy)
    assert result.exit_code == 2
    assert "models.m.baseline.file: expected a table of predictions with their true_label, found no file at 'none.parquet'" in result.stderr
    too_long = "x" * 256
    policy.write_text(f'[models.m]\nbaseline = {{ file = "{too_long}" }}\n')
    assert f"found no file at '{too_long}'" in gnomon("check", policy).stderr
    policy.write_text('[models.m]\nbaseline = { file = "none.parquet" }\n')
    written(tmp_path / "none.parquet", [])
    assert gnomon("check", policy).exit_code == 0
    policy.write_text('[defaults]\nbaseline = { file = "none.parquet" }\n')
    result = gnomon("check", policy)
    assert result.exit_code == 2
    assert "expected it under the model whose set it is" in result.stderr
    assert parse_policy(policy.read_text()).defaults.baseline.file == "none.parquet"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Control]:
    records: list[Control] = []

    def publish(settings: object, record: bytes) -> int:
        records.append(msgspec.json.decode(record, type=Control))
        return len(records) - 1

    monkeypatch.setattr(control_log, "publish", publish)
    monkeypatch.setenv("GNOMON_REDIS", "memory://")
    return records


def test_the_command_counts_and_sends(tmp_path: Path, sent: list[Control]) -> None:
    predictions, outcomes = logs(tmp_path, SET)
    result = gnomon("baseline", "ship", "m", "1", "--predictions", predictions, "--outcomes", outcomes, "--by", "ada")
    assert result.exit_code == 0, result.output
    assert "2,000 predictions, 2,000 of them labelled: " in result.stdout
    [record] = sent
    assert (record.type, record.model_id, record.by, record.body["decision"]) == ("baseline", "m", "ada", "reference")
    assert (record.body["model_version"], record.body["labelled"]) == ("1", 2_000)
    table = written(tmp_path / "t.jsonl", rows(SET, bare=True))
    assert gnomon("baseline", "ship", "m", "8", table).exit_code == 0
    assert sent[1].body["model_version"] == "8"
    wrong = gnomon("baseline", "ship", "m", "9", "--predictions", predictions, "--outcomes", outcomes)
    assert wrong.exit_code == 2
    assert "expected predictions of m 9, found those of m 1" in wrong.stderr
    assert gnomon("baseline", "ship", "m", "9").exit_code == 2
    assert len(sent) == 2


def test_a_policy_that_is_applied_ships_its_file(tmp_path: Path, sent: list[Control]) -> None:
    written(tmp_path / "t.jsonl", rows(SET))
    (tmp_path / "policy.toml").write_text('[models.m]\nbaseline = { file = "t.jsonl" }\n')
    result = gnomon("policy", "apply", tmp_path / "policy.toml", "--by", "ada")
    assert result.exit_code == 0, result.output
    assert [(record.type, record.body.get("decision")) for record in sent] == [("policy", None), ("baseline", "reference")]
    assert "Its reference for m 1 follows: 2,000 predictions, 2,000 labelled." in result.stdout
