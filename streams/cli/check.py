"""``gnomon check``: is a policy right, and what does it come to."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.output import MISTAKE, clean
from streams.cli.policies import read_policy, try_policy

if TYPE_CHECKING:
    from schemas.policy import Policy
    from schemas.policy_models import ModelPolicy


def check(
    policy: Annotated[Path, typer.Argument(help="The policy file, TOML.", metavar="POLICY")],
    model: Annotated[str | None, typer.Option("--model", help="Explain what holds for this model only.", metavar="ID")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON; the faults too.")] = False,
) -> None:
    """Check a policy and explain it: every fault at once, or what holds for each model with all defaults filled in.

    Nothing is put into force; that does: gnomon policy apply

    Example: gnomon check policy.toml --model fraud

    Exit status: 0, or 2 if the policy has a fault.
    """
    if as_json:
        _print_json(policy, model)
        return
    parsed = read_policy(policy)
    for line in explain(parsed, model):
        typer.echo(clean(line))


def _print_json(path: Path, model: str | None) -> None:
    import json

    parsed, faults = try_policy(path)
    models = [] if parsed is None or faults else _models(parsed, model)
    built_in = _built_in()
    told = [
        {"model": name, "named": named, "keys": {key: {"value": value, "built_in": built_in.get(key) == value} for key, value in lines}}
        for name, named, lines in models
    ]
    typer.echo(json.dumps({"faults": faults, "models": told}, ensure_ascii=False))
    if faults:
        raise typer.Exit(MISTAKE)


def explain(policy: "Policy", model: str | None = None) -> list[str]:
    """Return what a policy comes to, a line per key; ``*`` marks what differs from the built-in value."""
    built_in = _built_in()
    out: list[str] = []
    for name, named, lines in _models(policy, model):
        title = "every model not named" if name is None else name if named else f"{name} (not named in the policy: the defaults)"
        out += ["", title] if out else [title]
        out += [f"{' ' if built_in.get(key) == value else '*'} {key:<28} {value}" for key, value in lines]
    return [*out, "", "* differs from the built-in value"]


def _models(policy: "Policy", model: str | None) -> list[tuple[str | None, bool, list[tuple[str, str]]]]:
    """Return each model that is to be explained, whether the policy names it, and its lines; None: every model that is not named."""
    if model is not None:
        return [(model, model in policy.models, _lines(policy.for_model(model)))]
    return [(None, False, _lines(policy.defaults)), *((name, True, _lines(found)) for name, found in policy.models.items())]


def _built_in() -> dict[str, str]:
    from schemas.policy_models import ModelPolicy

    return dict(_lines(ModelPolicy()))


def _lines(policy: "ModelPolicy") -> list[tuple[str, str]]:
    from schemas.durations import format_duration
    from schemas.policy_tables import MODEL

    ages = [format_duration(age) for age in policy.ages_ms or ()]
    baseline = policy.baseline
    lines = [
        ("budget", f"{policy.budget.pages:g} false page(s) in {policy.budget.days:g} days, all monitors together"),
        ("positive_label", repr(policy.positive_label)),
        ("threshold", f"{policy.threshold:g}, where a prediction brings no label"),
        ("ages", ", ".join(ages) or "learnt from the label delays of the baseline window"),
        ("horizon", "labels never expire" if policy.horizon_ms is None else format_duration(policy.horizon_ms)),
        ("on_timeout", policy.on_timeout),
        ("lateness", format_duration(policy.lateness_ms)),
        ("baseline", _baseline(baseline.days, baseline.labels, baseline.failures, baseline.file)),
        ("dimensions", "all that arrive, capped" if policy.dimensions is None else ", ".join(policy.dimensions) or "none"),
        ("intersections", ", ".join(" x ".join(names) for names in policy.intersections) or "none"),
        ("cost", _cost(policy)),
        ("claims", ", ".join(f"{name} {value:g}" for name, value in policy.claims.items()) or "none"),
        ("decay", ", ".join(f"{name} {value:g}" for name, value in policy.decay.items()) or "no limit"),
        ("metrics", ", ".join(policy.metrics) or "none"),
    ]
    for family, watch in policy.watch.items():
        beside = watch.role == "watch"
        parts = [f"bank, {watch.detector} beside it" if beside else watch.detector] if watch.enabled else ["off"]
        parts += [f"{key} {value}" for key, value in watch.parameters.items()]
        parts += [f"{key} {value:g}" for key in ("tolerance", "baseline") if (value := getattr(watch, key)) is not None]
        lines.append((f"watch.{family}", ", ".join(parts)))
    for name, settings in (("fatigue", policy.fatigue), ("retrain", policy.retrain)):
        table = MODEL[name][1]
        assert isinstance(table, Mapping)  # noqa: S101  a table of keys
        lines += [(f"{name}.{key}", _setting(field, getattr(settings, field))) for key, (field, _) in table.items()]
    return lines


def _baseline(days: float, labels: int, failures: int, file: str | None) -> str:
    if file is not None:
        return f"the reference set {file}"
    return f"the first {days:g} days, at least {labels} labels and {failures} failures"


def _cost(policy: "ModelPolicy") -> str:
    if policy.cost is None:
        return "no matrix: cost is watched where realised costs come"
    return ", ".join(f"{cell} {_line(*getattr(policy.cost, cell))}" for cell in policy.cost.__struct_fields__)


def _line(fixed: float, share: float) -> str:
    if not share:
        return f"{fixed:g}"
    return f"{share:g}*amount" if not fixed else f"{fixed:g} {'+' if share > 0 else '-'} {abs(share):g}*amount"


def _setting(field: str, value: object) -> str:
    from schemas.durations import format_duration

    if value is None:
        return "never" if field == "decay_within_ms" else "held against its own past"
    if field.endswith("_ms") and isinstance(value, int):
        return format_duration(value)
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
