"""Scenarios played through the replay, and the same figures by plain counting."""

from functools import cache
from typing import Any

import numpy as np

from schemas.policy_models import ModelPolicy
from streams.scenarios import Logs, discover
from streams.scenarios.playing import Played, play


@cache
def played(name: str) -> Played:
    """Play a scenario once for all tests."""
    return play(discover()[name])


def batch(logs: Logs, policy: ModelPolicy, segment: dict[str, str]) -> dict[str, float | None]:
    """Return a segment's figures by plain counting over the records."""
    made = [record for record in logs.predictions if _inside(record, segment)]
    true = {record["request_id"]: record["true_label"] for record in logs.outcomes if "true_label" in record}
    kept = [record for record in made if not record.get("abstained")]
    known = [(record, true[record["request_id"]]) for record in kept if record["request_id"] in true]
    y, guess = (
        np.array([_truth(record, label) for record, label in known], dtype=int),
        np.array([_guess(record) for record, _ in known], dtype=int),
    )
    tp, fp, fn = int((y & guess).sum()), int((guess & ~y & 1).sum()), int((y & ~guess & 1).sum())
    tn = len(known) - tp - fp - fn
    figures: dict[str, float | None] = {
        "n_predictions": len(made),
        "n_labelled": len(known),
        "tp": tp,
        "fp": fp,
        "tn": tn,
        "fn": fn,
        "abstention_rate": (len(made) - len(kept)) / len(made),
    }
    if known:
        figures["accuracy"] = (tp + tn) / len(known)
        yes_or_no = all(isinstance(record["predicted_label"], int) for record, _ in known)  # an answer of many has no F1
        figures["f1"] = 2 * tp / (2 * tp + fp + fn) if yes_or_no and tp + fp + fn else None
        figures["brier"] = float(np.mean([(record["score"] - label) ** 2 for (record, _), label in zip(known, y, strict=True)]))
    if known and policy.cost is not None:
        figures["cost_total"] = sum(_cost(policy, record, label) for record, label in known)
    return {key: value for key, value in figures.items() if value is not None}


def failed_since(logs: Logs, what: str, segment: dict[str, str]) -> float:
    """Return, by plain counting over what came since the change, the figure that an event of a story states."""
    since = [r for r in logs.predictions if r["timestamp"] >= (logs.changed_ms or 0) and _inside(r, segment)]
    known = {r["request_id"]: r for r in logs.outcomes}
    if what == "abstention":
        return float(np.mean([bool(r.get("abstained")) for r in since]))
    told = [(r, known[r["request_id"]]) for r in since if r["request_id"] in known]
    if what.startswith("check:"):
        counts = np.array([seen["checks"][what.removeprefix("check:")] for _, seen in told])
        return float(counts[:, 0].sum() / counts[:, 1].sum())
    y = np.array([_truth(r, seen["true_label"]) for r, seen in told], dtype=bool)
    guess = np.array([_guess(r) for r, _ in told], dtype=bool)
    if what == "f1":
        return float(2 * (y & guess).sum() / (y.sum() + guess.sum()))
    return float(np.mean(y == guess) if what == "accuracy" else np.mean(y != guess))


def _inside(record: dict[str, Any], segment: dict[str, str]) -> bool:
    if record.get("probe"):
        return False
    groups = record.get("subgroups", {})
    return all(tuple(groups.get(part) for part in name.split("*")) == tuple(value.split("*")) for name, value in segment.items())


def _guess(record: dict[str, Any]) -> int:
    return record["predicted_label"] if isinstance(record["predicted_label"], int) else 1


def _truth(record: dict[str, Any], label: Any) -> int:
    return label if isinstance(record["predicted_label"], int) else int(label == record["predicted_label"])


def _cost(policy: ModelPolicy, record: dict[str, Any], label: int) -> float:
    cell = {(1, 1): "tp", (1, 0): "fp", (0, 0): "tn", (0, 1): "fn"}[record["predicted_label"], label]
    fixed, per_amount = getattr(policy.cost, cell)
    return float(fixed + per_amount * record.get("amount", 0.0))
