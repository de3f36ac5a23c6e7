"""Small logs on disk, and the command line run on them."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from typer.testing import CliRunner, Result

from streams.cli.main import app

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000


def prediction(ident: str, at_ms: int, score: float, **fields: object) -> dict[str, object]:
    """A prediction of model m, version 1."""
    return {"request_id": ident, "model_id": "m", "model_version": "1", "timestamp": at_ms, "score": score, **fields}


def outcome(ident: str, at_ms: int, label: int, **fields: object) -> dict[str, object]:
    """The label of a prediction."""
    return {"request_id": ident, "timestamp": at_ms, "true_label": label, **fields}


def write_lines(path: Path, records: Sequence[object]) -> Path:
    """Write records as JSON lines; bytes are written as they are."""
    lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def story(days: int, per_day: int, *, changes_on: int, seed: int = 1) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Predictions and labels two hours later; from a day on the model is mostly wrong about the north, and as good as before elsewhere."""
    r = random.Random(seed)
    made, known = [], []
    for day in range(days):
        for i in range(per_day):
            ident, at = f"{day}-{i}", START_MS + day * DAY_MS + i * (DAY_MS // per_day)
            region, score = r.choice(["north", "south"]), round(r.random(), 3)
            label = int(r.random() < score)
            if region == "north" and day >= changes_on:
                label = 1 - int(score >= 0.5) if r.random() < 0.8 else label
            made.append(prediction(ident, at, score, subgroups={"region": region}))
            known.append(outcome(ident, at + 2 * 3_600_000, label))
    return made, known


def gnomon(*arguments: object) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
