"""``gnomon audit``: what a person, a shell and a regulator see of the trail."""

import gzip
import json

import pytest
from support.logs import gnomon, write_lines
from support.stories import START_MS, fold, story

from schemas.audit import sha256
from schemas.policy import parse_policy
from streams import live_report
from streams.cli import audit as command
from streams.replay import replay

TOML = '[defaults]\nages = ["1d"]\nbaseline = { days = 10, labels = 100, failures = 10 }\n'
SAID = [
    {"type": "ack", "by": "ada", "at": START_MS + 1, "incident_id": "i-1", "model_id": "m"},
    {"type": "policy", "by": "eve\u001b", "at": START_MS + 2, "body": {"toml": "[models.m"}},
]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    made = story(seed=7, days=50, per_day=40, change_day=35)
    for topic in ("predictions", "outcomes"):
        write_lines(folder / f"{topic}.jsonl", [record for _, name, record in made if name == topic])
    write_lines(folder / "control.jsonl", SAID)
    (folder / "policy.toml").write_text(TOML)
    return folder


@pytest.fixture(scope="module")
def trail(logs):
    options = ("--policy", logs / "policy.toml", "--control", logs / "control.jsonl", "--audit", logs / "audit.jsonl")
    result = gnomon("replay", logs / "predictions.jsonl", logs / "outcomes.jsonl", *options)
    assert result.exit_code == 0, result.output
    return (logs / "audit.jsonl").read_bytes().splitlines()


def test_two_replays_give_the_same_trail_whenever_they_run(logs, trail):
    given = {"policy": parse_policy(TOML), "control": logs / "control.jsonl"}
    for started_ms in (2 * START_MS, 3 * START_MS):
        assert replay(logs / "predictions.jsonl", logs / "outcomes.jsonl", started_ms=started_ms, **given).audit == trail


def test_a_person_sees_policies_with_their_text_baselines_with_their_bounds_and_who_decided(logs, trail):
    shown = gnomon("audit", "m", "--from", logs / "audit.jsonl").stdout
    assert shown.index("(every model): 2 lines") < shown.index(f"m: {len(trail) - 2} lines")
    assert "        baseline = { days = 10, labels = 100, failures = 10 }\n" in shown
    assert "refused   The policy of eve? is refused whole: not TOML" in shown
    assert "ada: ack, incident i-1." in shown
    assert "error up of all at age 1 d: 0." in shown
    assert "drift.opened: " in shown
    assert sha256(trail[-1]) in shown


def test_a_shell_sees_the_lines_as_they_are(logs, trail):
    packed = logs / "audit.jsonl.gz"
    packed.write_bytes(gzip.compress((logs / "audit.jsonl").read_bytes()))
    for model in ([], ["m"]):
        shown = gnomon("audit", *model, "--from", packed, "--json").stdout.encode().splitlines()
        assert sorted(shown) == sorted(trail)
        assert [json.loads(line)["number"] for line in shown if json.loads(line)["model_id"]] == list(range(len(trail) - 2))


def test_a_trail_is_whole_until_a_line_is_taken_out(logs, trail, tmp_path):
    result = gnomon("audit", "--verify", "--from", logs / "audit.jsonl")
    assert (result.exit_code, result.stdout.count("whole")) == (0, 2)
    cut = write_lines(tmp_path / "cut.jsonl", [line for line in trail if line != trail[-3]])
    broken = gnomon("audit", "--verify", "--from", cut)
    assert broken.exit_code == 1
    assert "BROKEN m: " in broken.stdout
    number = json.loads(trail[-3])["number"]
    assert f"line {number} is missing" in broken.stdout
    told = json.loads(gnomon("audit", "--verify", "--json", "--from", cut).stdout)
    assert (told["whole"], told["chains"][""]["faults"], len(told["chains"]["m"]["faults"])) == (False, [], 1)
    plain = gnomon("audit", "m", "--from", cut)
    assert (plain.exit_code, f"line {number} is missing" in plain.stderr) == (0, True)


def test_lines_missing_at_the_end_are_told_from_the_checkpoints(monkeypatch, trail):
    watch, _ = fold(story(seed=7, days=30, per_day=40), policy=parse_policy(TOML), close=False)
    lines = [line.value for line in watch.ledger.take()]

    async def read_watches(client, settings):
        return [watch]

    monkeypatch.setattr(live_report, "read_watches", read_watches)
    monkeypatch.setattr(command, "_topic", lambda settings: kept)
    kept = lines
    assert gnomon("audit", "--verify").exit_code == 0
    kept = lines[:-1]
    result = gnomon("audit", "m", "--verify")
    assert result.exit_code == 1
    assert f"the watch has written {len(lines) - 1} lines, and its last is not among these" in result.stdout
    kept = [line for line in lines if json.loads(line)["model_id"]]
    result = gnomon("audit", "--verify")
    assert (result.exit_code, "all lines are missing" in result.stdout) == (1, True)


@pytest.mark.parametrize(
    ("data", "says"), [(None, "gnomon replay --audit FILE"), (b"{}\n", "expected a line of an audit trail, got something else as line 1")]
)
def test_what_is_no_trail_is_a_mistake(tmp_path, data, says):
    if data is not None:
        (tmp_path / "a.jsonl").write_bytes(data)
    result = gnomon("audit", "m", "--from", tmp_path / "a.jsonl")
    assert (result.exit_code, says in result.stderr) == (2, True)


def test_a_model_without_lines_is_a_mistake(logs, trail):
    result = gnomon("audit", "fraud", "--from", logs / "audit.jsonl")
    assert (result.exit_code, "there are lines of m" in result.stderr) == (2, True)
