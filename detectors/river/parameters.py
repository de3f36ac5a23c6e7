"""River's drift detectors by name: which parameters each has, what they may be, and in which direction it looks."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from river import drift

Value = bool | int | float | str


@dataclass(frozen=True)
class Number:
    """A parameter that is a number within (low, high), or [low, high] if closed."""

    default: float | None  # None: absent
    low: float
    high: float = math.inf
    whole: bool = False
    closed: bool = False

    def check(self, value: Any) -> str | None:
        """Return what was expected, or None if the value is fine."""
        kinds = int if self.whole else (int, float)
        fine = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
        if fine and (self.low <= value <= self.high if self.closed else self.low < value < self.high):
            return None
        ends = "[]" if self.closed else "()"
        return f"a {'whole ' if self.whole else ''}number within {ends[0]}{self.low:g}, {self.high:g}{ends[1]}"


@dataclass(frozen=True)
class Choice:
    """A parameter that is one of a few values."""

    default: Value
    values: tuple[Value, ...]

    def check(self, value: Any) -> str | None:
        """Return what was expected, or None if the value is fine."""
        return (
            None if any(value is one or (isinstance(one, str) and value == one) for one in self.values) else f"one of {list(self.values)}"
        )


def _count(default: int, least: int = 1) -> Number:
    return Number(default, least, whole=True, closed=True)


def _share(default: float) -> Number:
    return Number(default, 0, 1)


def _ordered(small: str, large: str) -> Callable[[Mapping[str, Any]], str | None]:
    def rule(values: Mapping[str, Any]) -> str | None:
        return None if values[small] <= values[large] else f"{small} = {values[small]} must not be above {large} = {values[large]}"

    return rule


def _kswin_sizes(values: Mapping[str, Any]) -> str | None:
    small, large = values["stat_size"], values["window_size"]
    return None if 2 * small <= large else f"window_size = {large} must be at least twice stat_size = {small}"


def _fhddm_sizes(values: Mapping[str, Any]) -> str | None:
    small, large = values["short_window_size"], values["sliding_window_size"]
    return None if small is None or small < large else f"short_window_size = {small} must be below sliding_window_size = {large}"


def _one_sided(values: Mapping[str, Any]) -> str:
    return "both" if values["two_sided_test"] else "up"


@dataclass(frozen=True)
class Kind:
    """One of River's detectors."""

    make: Callable[..., Any]
    parameters: dict[str, Number | Choice]
    direction: Callable[[Mapping[str, Any]], str]
    rules: tuple[Callable[[Mapping[str, Any]], str | None], ...] = ()
    binary: bool = True  # takes zeros and ones only
    flipped: bool = False  # looks for a fall of what it is fed, so it is fed 1 - x
    memory: int = field(default=10_000)  # events that its state is rebuilt from


_HDDM: dict[str, Number | Choice] = {
    "drift_confidence": _share(0.001),
    "warning_confidence": _share(0.005),
    "two_sided_test": Choice(default=False, values=(True, False)),
}

KINDS: dict[str, Kind] = {
    "adwin": Kind(
        drift.ADWIN,
        {
            "delta": _share(0.002),
            "clock": _count(32),
            "max_buckets": _count(5, 2),
            "min_window_length": _count(5),
            "grace_period": _count(10),
        },
        lambda _: "both",
        binary=False,
    ),
    "page-hinkley": Kind(
        drift.PageHinkley,
        {
            "min_instances": _count(30),
            "delta": Number(0.005, 0, closed=True),
            "threshold": Number(50.0, 0),
            "alpha": Number(1 - 0.0001, 1e-9, 1, closed=True),
            "mode": Choice("both", ("up", "down", "both")),
        },
        lambda values: str(values["mode"]),
        binary=False,
    ),
    "kswin": Kind(
        drift.KSWIN,
        # River's default seed is the clock's; two replays would differ.
        {"alpha": _share(0.005), "window_size": _count(100, 2), "stat_size": _count(30), "seed": _count(0, 0)},
        lambda _: "both",
        (_kswin_sizes,),
        binary=False,
        memory=1000,  # a Kolmogorov-Smirnov test per event: some 0.3 ms each
    ),
    "ddm": Kind(
        drift.binary.DDM,
        {"warm_start": _count(30), "warning_threshold": Number(2.0, 0), "drift_threshold": Number(3.0, 0)},
        lambda _: "up",
        (_ordered("warning_threshold", "drift_threshold"),),
    ),
    "eddm": Kind(
        drift.binary.EDDM,
        {"warm_start": _count(30), "alpha": _share(0.95), "beta": _share(0.9)},
        lambda _: "up",
        (_ordered("beta", "alpha"),),
    ),
    "hddm-a": Kind(drift.binary.HDDMA, _HDDM, _one_sided, (_ordered("drift_confidence", "warning_confidence"),)),
    "hddm-w": Kind(
        drift.binary.HDDMW,
        _HDDM | {"lambda_val": _share(0.05)},
        _one_sided,
        (_ordered("drift_confidence", "warning_confidence"),),
    ),
    "fhddm": Kind(
        drift.binary.FHDDM,
        {
            "sliding_window_size": _count(100, 2),
            "confidence_level": _share(1e-6),
            "short_window_size": Number(None, 1, whole=True, closed=True),
        },
        lambda _: "up",
        (_fhddm_sizes,),
        flipped=True,  # its documentation says that 1 is an error, its code looks for a fall of the mean
    ),
}


def kind_of(name: str) -> tuple[str, Kind]:
    """Return a detector's name as spelt here, and what it is; case, ``_`` and ``-`` make no difference.

    Raises
    ------
    ValueError
        If there is no detector of that name.

    Examples
    --------
    >>> kind_of("Page_Hinkley")[0]
    'page-hinkley'
    >>> kind_of("page-hinkly")
    Traceback (most recent call last):
    ValueError: no detector 'page-hinkly'; did you mean 'page-hinkley'?

    """
    plain = {known.replace("-", ""): known for known in KINDS}
    spelt = plain.get(name.lower().replace("-", "").replace("_", ""))
    if spelt is None:
        raise ValueError(f"no detector {name!r}{_hint(name, KINDS)}")
    return spelt, KINDS[spelt]


def checked(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters of a detector, the given ones over its defaults.

    Raises
    ------
    ValueError
        If one is unknown or out of range; River itself builds ``ADWIN(delta=7)`` without a word.

    Examples
    --------
    >>> checked("adwin", {"delta": 7})
    Traceback (most recent call last):
    ValueError: adwin: expected delta to be a number within (0, 1), got 7

    """
    name, kind = kind_of(name)
    for given, value in parameters.items():
        if given not in kind.parameters:
            raise ValueError(f"{name}: no parameter {given!r}{_hint(given, kind.parameters)}")
        expected = kind.parameters[given].check(value)
        if expected is not None:
            raise ValueError(f"{name}: expected {given} to be {expected}, got {value!r}")
    values = {known: parameter.default for known, parameter in kind.parameters.items()} | dict(parameters)
    for rule in kind.rules:
        fault = rule(values)
        if fault is not None:
            raise ValueError(f"{name}: {fault}")
    return values


def _hint(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
