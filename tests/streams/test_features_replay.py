"""Drift of the inputs, from files to the incident and the report."""

import random

import msgspec
from support.logs import START_MS, gnomon, outcome, prediction, write_lines

from schemas.findings import from_json
from schemas.report import Report

POLICY = "[defaults]\nbaseline = { days = 6 }\n[defaults.watch.covariate]\n"
HOUR_MS = 3_600_000


def test_a_feature_that_shifts_is_named(tmp_path):
    rng = random.Random(5)
    made = []
    for i in range(2_400):  # 24 days, from the 14th on they come older
        at, older = START_MS + i * HOUR_MS // 4, i >= 1_400
        features = {
            "age": rng.gauss(60 if older else 40, 10),
            "plan": rng.choice(["gold", "basic"]),
            "income": rng.choice([1.0, 2.0, None]),
        }
        made.append(prediction(f"r{i}", at, rng.random()) | {"features": features})
    write_lines(tmp_path / "p.jsonl", made)
    write_lines(tmp_path / "o.jsonl", [outcome("r0", START_MS + 1, 1)])
    (tmp_path / "policy.toml").write_text(POLICY)
    out = {name: tmp_path / name for name in ("report.json", "events.jsonl")}
    files = (tmp_path / "p.jsonl", tmp_path / "o.jsonl", "--policy", tmp_path / "policy.toml")
    result = gnomon("replay", *files, "--report", out["report.json"], "--events", out["events.jsonl"])
    assert result.exit_code == 0, result.output
    events = [from_json(line) for line in out["events.jsonl"].read_bytes().splitlines()]
    opened = [event.data for event in events if event.type == "gnomon.drift.opened" and event.data.kind == "covariate"]
    assert [(data.metric, data.direction) for data in opened] == [("feature:age", "up")]
    assert "the share of age above" in opened[0].message
    assert "Inputs of m 1 shifted" in result.output
    assert opened[0].origins["predictions"]
    [model] = msgspec.json.decode(out["report.json"].read_bytes(), type=Report).models
    assert [(each.name, each.kind, each.state) for each in model.features] == [
        ("age", "numbers", "alarm"),
        ("income", "numbers", "watching"),
        ("plan", "categories", "watching"),
    ]
    assert 0.3 < model.features[1].missing_share < 0.36
