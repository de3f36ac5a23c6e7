"""Policies: what is watched of which model, and how many false pages that may cost. Written in TOML.

A policy is resolved when it is parsed: built-in defaults, then ``[defaults]``, then the model's own table, merged key by key. A policy that
cannot be read is a mistake, not data: ``PolicyError`` names all its faults at once.
"""

import tomllib
from typing import Any

import msgspec

from schemas.codec import encode
from schemas.control import Control, ControlType
from schemas.cost import CostMatrix
from schemas.drift import Severity
from schemas.policy_models import (
    DEFAULT_FAMILIES,
    FAMILIES,
    MAX_FEATURE_NAME,
    MAX_FEATURES,
    BaselinePolicy,
    Budget,
    CheckPolicy,
    FatiguePolicy,
    ModelPolicy,
    ProbePolicy,
    RetrainPolicy,
    WatchPolicy,
)
from schemas.policy_reader import Faults, join, merge, read_table, shown
from schemas.policy_tables import FAMILY_PARAMETERS, LISTS, MODEL, WATCH, parameter


class PolicyError(ValueError):
    """A policy that cannot be read; ``faults`` lists all that is wrong with it."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("\n".join(faults))


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed policy and the text that it came from."""

    toml: str = ""
    defaults: ModelPolicy = ModelPolicy()
    models: dict[str, ModelPolicy] = msgspec.field(default_factory=dict)

    def for_model(self, model_id: str) -> ModelPolicy:
        """Return what holds for a model: its own table over the defaults, or the defaults alone.

        >>> policy = parse_policy('''
        ... [defaults]
        ... lateness = "1m"
        ... [models.fraud]
        ... horizon = "60d"
        ... ''')
        >>> policy.for_model("fraud").lateness_ms, policy.for_model("other").horizon_ms
        (60000, None)
        """
        return self.models.get(model_id, self.defaults)


def parse_policy(text: str) -> Policy:
    r"""Parse a policy.

    Raises
    ------
    PolicyError
        With every fault, each with the path of its key.

    Examples
    --------
    >>> parse_policy('[models.fraud]\nhorizn = "60d"\nages = ["1d", "1h"]')
    Traceback (most recent call last):
    schemas.policy.PolicyError: models.fraud.horizn: unknown key; did you mean 'horizon'?
    models.fraud.ages: expected at most 20 ages, ascending, got ['1d', '1h']

    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError([f"not TOML: {error}"]) from None
    faults = Faults()
    for key in given:
        if key not in ("defaults", "models"):
            faults.unknown("", key, ("defaults", "models"))
    shared = _read_model(given.get("defaults", {}), "defaults", faults)
    tables = given.get("models", {})
    if not isinstance(tables, dict):
        faults.add("models", f"expected a table per model, got {shown(tables)}")
        tables = {}
    own = {model: _read_model(table, join("models", model), faults) for model, table in tables.items()}
    defaults = _resolve(shared, "defaults", faults)
    models = {model: _resolve(_layer(shared, fields), join("models", model), faults) for model, fields in own.items()}
    if faults:
        raise PolicyError(list(dict.fromkeys(faults)))
    return Policy(toml=text, defaults=defaults, models=models)


def encode_policy(policy: Policy, *, by: str, at: int) -> bytes:
    """Return the control record that puts a policy into force, as JSON; ``at`` in epoch ms."""
    return encode(Control(type=ControlType.POLICY, by=by, at=at, body={"toml": policy.toml}))


def decode_policy(control: Control) -> Policy:
    """Return the policy that a control record of type policy carries.

    Raises
    ------
    PolicyError
        If its text is not a policy.

    Examples
    --------
    >>> decode_policy(Control(type=ControlType.POLICY, by="ada", at=0, body={"toml": ""})).for_model("x") == ModelPolicy()
    True

    """
    return parse_policy(control.body["toml"])


def _read_model(given: Any, path: str, faults: Faults) -> dict[str, Any]:
    fields = read_table(given, MODEL, path, faults)
    if "watch" in fields:
        fields["watch"] = _read_watch(fields["watch"], join(path, "watch"), faults)
    return fields


def _read_watch(given: Any, path: str, faults: Faults) -> dict[str, Any]:
    if not isinstance(given, dict):
        faults.add(path, f"expected a table per family, got {shown(given)}")
        return {}
    families: dict[str, Any] = {}
    for family, table in given.items():
        if family not in FAMILIES:
            faults.unknown(path, family, FAMILIES)
        elif not isinstance(table, dict):
            faults.add(join(path, family), f"expected a table, got {shown(table)}")
        else:
            rest = {key: (key, parameter) for key in table.keys() - WATCH.keys()}
            fields = read_table(table, dict(WATCH) | rest, join(path, family), faults)
            parameters = {key: fields.pop(key) for key in list(fields) if key in rest}
            families[family] = fields | {"parameters": parameters}
    return families


def _layer(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return a model's fields over the defaults; a family given another detector inherits neither the old one's parameters nor its role."""
    merged = merge(shared, own)
    for family, fields in own.get("watch", {}).items():
        if fields.get("detector", "") not in ("", shared.get("watch", {}).get(family, {}).get("detector", "bank")):
            merged["watch"][family] |= {"parameters": fields["parameters"], "role": fields.get("role", "pager")}
    return merged


def _resolve(fields: dict[str, Any], path: str, faults: Faults) -> ModelPolicy:
    resolved = dict(fields)
    baseline = dict(fields.get("baseline", {}))
    values = {family: baseline.pop(family) for family in FAMILIES if family in baseline}
    resolved["baseline"] = BaselinePolicy(**baseline, values=values)
    resolved["watch"] = _resolve_watch(fields.get("watch", {}), values, path, faults)
    for key, kind in (("budget", Budget), ("cost", CostMatrix), ("fatigue", FatiguePolicy)):
        if key in fields:
            resolved[key] = kind(**fields[key])
    for key, named in (("checks", CheckPolicy), ("probes", ProbePolicy)):
        if key in fields:
            resolved[key] = {name: named(**table) for name, table in fields[key].items()}
    if "retrain" in fields:
        severity = fields["retrain"].get("severity", Severity.MAJOR)
        resolved["retrain"] = RetrainPolicy(**fields["retrain"] | {"severity": Severity(severity)})
    policy = ModelPolicy(**resolved)
    _check(policy, path, faults)
    return policy


def _resolve_watch(given: dict[str, Any], values: dict[str, float], path: str, faults: Faults) -> dict[str, WatchPolicy]:
    watch = {}
    for family in FAMILIES:
        fields = given.get(family)
        named = fields is not None or family in values  # whoever promises a value for it wants it watched
        settings = {"enabled": named or family in DEFAULT_FAMILIES, "baseline": values.get(family)} | (fields or {})
        watch[family] = WatchPolicy(**settings)
        if watch[family].detector == "bank":
            known = (*WATCH, *FAMILY_PARAMETERS.get(family, ()))
            at = join(join(path, "watch"), family)
            if watch[family].role != "pager":
                faults.add(
                    join(at, "role"), f"expected a detector of River's beside it, got {shown(watch[family].role)} for the evidence bank"
                )
            for key in watch[family].parameters:
                if key not in known:
                    faults.unknown(at, key, known)
                elif key in LISTS and not isinstance(watch[family].parameters[key], list):
                    faults.add(join(at, key), f"expected a list of names, got {shown(watch[family].parameters[key])}")
            champion = watch[family].parameters.get("champion", "")
            if family == "challenger" and not isinstance(champion, str):
                faults.add(join(at, "champion"), f"expected the name of a version, got {shown(champion)}")
            if family == "covariate":
                _check_features(watch[family].parameters.get("features", []), join(at, "features"), faults)
    return watch


def _check_features(named: Any, path: str, faults: Faults) -> None:
    """Note what of a list of features could not be watched."""
    if isinstance(named, list) and any(len(name) > MAX_FEATURE_NAME for name in named):
        faults.add(path, f"expected names of at most {MAX_FEATURE_NAME} characters, got {shown(named)}")
    elif isinstance(named, list) and len(named) > MAX_FEATURES:
        faults.add(path, f"expected at most {MAX_FEATURES} names, got {len(named)}")


def _check(policy: ModelPolicy, path: str, faults: Faults) -> None:
    """Note what no key shows alone."""
    if policy.on_timeout == "negative" and policy.horizon_ms is None:
        faults.add(join(path, "on_timeout"), 'expected a horizon beside "negative": without one no label ever times out')
    if policy.fatigue.flood_end > policy.fatigue.flood_start:
        faults.add(
            join(join(path, "fatigue"), "flood_end"),
            f"expected at most flood_start, {policy.fatigue.flood_start}, got {policy.fatigue.flood_end}",
        )
    for dimensions in policy.intersections:
        for dimension in dimensions:
            if policy.dimensions is not None and dimension not in policy.dimensions:
                faults.add(join(path, "intersections"), f"expected dimensions named in `dimensions`, got {dimension!r}")
