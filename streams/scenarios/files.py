"""A scenario on disk: logs, policy, and a page that says what they are."""

from collections.abc import Callable
from pathlib import Path

import orjson

from streams.scenarios import Logs, Record, Scenario

Write = Callable[[Path, bytes], None]


def to_lines(records: list[Record]) -> bytes:
    r"""Return records as JSON lines.

    >>> to_lines([{"a": 1}, {"a": 2}])
    b'{"a":1}\n{"a":2}\n'
    """
    return b"".join(orjson.dumps(record) + b"\n" for record in records)


def files(scenario: Scenario, *, seed: int, calm: bool = False, scale: float = 1.0) -> tuple[Logs, dict[str, bytes]]:
    """Return the records of a run, and the files that hold them, by name."""
    logs = scenario.play(seed=seed, calm=calm, scale=scale)
    made = {
        "predictions.jsonl": to_lines(logs.predictions),
        "outcomes.jsonl": to_lines(logs.outcomes),
        "policy.toml": scenario.policy.encode(),
        "README.md": _page(scenario, logs, seed=seed, calm=calm, scale=scale).encode(),
    }
    return logs, made


def _page(scenario: Scenario, logs: Logs, *, seed: int, calm: bool, scale: float) -> str:
    truth = "\n".join(f"- {name}: {value:g}" for name, value in logs.truth.items())
    return "\n".join(
        [
            f"# {scenario.name}: {'the calm twin, in which nothing goes wrong' if calm else scenario.title}",
            f"Story: {scenario.source}.",
            "",
            f"{len(logs.predictions):,} predictions and {len(logs.outcomes):,} outcomes, made up with seed {seed} at scale {scale:g}.",
            "",
            *(["What the generator knows:", "", truth, ""] if truth else []),
            "```bash",
            "gnomon replay predictions.jsonl outcomes.jsonl --policy policy.toml --events events.jsonl --html report.html",
            "```",
            "",
        ]
    )
