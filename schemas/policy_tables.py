"""The keys of a policy: which there are, which field each sets, how each is read."""

import math
from itertools import pairwise
from typing import Any

from schemas.cost import parse_line
from schemas.drift import Severity
from schemas.fields import check_label, label_value
from schemas.policy_models import CLAIMS, DECAY, FAMILIES, MAX_AGES
from schemas.policy_reader import ByName, Table, duration, flag, name, names, number, one_of, shown, whole

FAMILY_PARAMETERS = {"covariate": ("features",), "gap": ("dimensions",), "challenger": ("champion",)}  # of the evidence bank
LISTS = ("features", "dimensions")  # of these, lists of names


def _label(value: Any) -> int | str:
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"expected a label, got {shown(value)}")  # noqa: TRY004  # a fault of the text
    check_label(value, "positive_label")
    return label_value(value)


def _ages(value: Any) -> tuple[int, ...]:
    ages = tuple(duration()(age) for age in value) if isinstance(value, list) else ()
    if not 1 <= len(ages) <= MAX_AGES or any(a >= b for a, b in pairwise(ages)):
        raise ValueError(f"expected at most {MAX_AGES} ages, ascending, got {shown(value)}")
    return ages


def _intersections(value: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, list) or not all(isinstance(item, list) and len(item) >= 2 for item in value):
        raise ValueError(f"expected a list of lists of at least two dimensions, got {shown(value)}")
    return tuple(names(item) for item in value)


def parameter(value: Any) -> Any:
    """Read a detector's parameter: a finite number, text, true or false, or a list of names."""
    if isinstance(value, list):
        return list(names(value))
    if not isinstance(value, bool | int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"expected a finite number, text, true or false, got {shown(value)}")  # a fault of the text
    return value


_RATE = number(0, 1)
_POSITIVE = number(above=0)
WATCH: Table = {
    "enabled": ("enabled", flag),
    "detector": ("detector", name),
    "role": ("role", one_of("pager", "watch")),
    "tolerance": ("tolerance", number(0)),
    "baseline": ("baseline", number(0)),
}
PROBE: Table = {"enabled": ("enabled", flag), "baseline": ("baseline", _RATE), "tolerance": ("tolerance", number(0))}
CHECK: Table = {**PROBE, "zero_tolerance": ("zero_tolerance", flag), "clean": ("clean", whole(1))}
MODEL: Table = {
    "budget": ("budget", {"pages": ("pages", _POSITIVE), "days": ("days", _POSITIVE)}),
    "positive_label": ("positive_label", _label),
    "threshold": ("threshold", _RATE),
    "ages": ("ages_ms", _ages),
    "horizon": ("horizon_ms", duration()),
    "on_timeout": ("on_timeout", one_of("negative", "unknown")),
    "lateness": ("lateness_ms", duration(zero=True)),
    "baseline": (
        "baseline",
        {"days": ("days", number(0)), "labels": ("labels", whole(1)), "failures": ("failures", whole(0))}
        | {"seasonal": ("seasonal", flag), "file": ("file", name)}
        | {family: (family, number(0)) for family in FAMILIES},
    ),
    "dimensions": ("dimensions", names),
    "intersections": ("intersections", _intersections),
    "cost": ("cost", {cell: (cell, parse_line) for cell in ("tp", "fp", "tn", "fn")}),
    "review_cost_per_hour": ("review_cost_per_hour", number(0)),
    "review_baseline": ("review_baseline_ms", duration()),
    "checks": ("checks", ByName(CHECK)),
    "probes": ("probes", ByName(PROBE)),
    "claims": ("claims", {claim: (claim, _RATE) for claim in CLAIMS}),
    "decay": ("decay", {figure: (figure, number() if figure == "cost" else _RATE) for figure in DECAY}),
    "watch": ("watch", lambda value: value),  # read by ``_read_watch``: its tables hold parameters that only the detector knows
    "metrics": ("metrics", names),
    "fatigue": (
        "fatigue",
        {
            "enabled": ("enabled", flag),
            "people": ("people", _POSITIVE),
            "alerts_per_hour": ("alerts_per_hour", _POSITIVE),
            "flood_start": ("flood_start", whole(1)),
            "flood_end": ("flood_end", whole(0)),
            "flood_window": ("flood_window_ms", duration()),
            "chatter": ("chatter", whole(2)),
            "chatter_window": ("chatter_window_ms", duration()),
            "stale": ("stale_ms", duration()),
            "ppv": ("ppv", _RATE),
            "override": ("override", _RATE),
            "response_time": ("response_ms", duration()),
            "review_time": ("review_ms", duration()),
        },
    ),
    "retrain": (
        "retrain",
        {
            "enabled": ("enabled", flag),
            "cool_down": ("cool_down_ms", duration(zero=True)),
            "min_labels": ("min_labels", whole(0)),
            "min_gain": ("min_gain", number()),
            "cost": ("cost", number(0)),
            "payback": ("payback_ms", duration()),
            "severity": ("severity", one_of(*(level.value for level in Severity))),
            "decay_within": ("decay_within_ms", duration()),
        },
    ),
}
