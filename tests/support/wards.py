"""Made-up alerts of wards: records for the join, and what they amount to, reckoned one by one."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from support.stories import DAY_MS, START_MS, Record

HOUR_MS, MINUTE_MS = DAY_MS // 24, 60_000
ACTIONS = ("acted", "Overridden", "dismissed", " IGNORED ", "escalated")


@dataclass
class Alert:
    """An alert as it stands in the end."""

    at: int
    unit: str
    key: str
    label: int | None = None
    disposition: tuple[int, str, int, float | None] | None = None  # first known at, latest action, review ms, value


@dataclass
class Wards:
    """Records in the order of event time, the alerts they come to, and the hours with predictions."""

    records: list[Record] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    hours: set[int] = field(default_factory=set)


def wards(
    seed: int,
    *,
    days: int = 3,
    alerts: int = 120,
    units: tuple[str | None, ...] = ("icu", "er", None),
    keys: int = 8,
    bursts: int = 2,
    muddle: bool = True,
) -> Wards:
    """Alerts at random times and in bursts, with labels, dispositions, corrections of both, conflicts, repeats and probes."""
    rng = np.random.default_rng(seed)
    out = Wards()
    times = START_MS + rng.integers(0, days * DAY_MS, alerts)
    for _ in range(bursts):
        times = np.append(times, times[rng.integers(alerts)] + rng.integers(0, 300_000, 45))
    for i, at in enumerate(np.sort(times).tolist()):
        unit, key = units[rng.integers(len(units))], f"patient {rng.integers(keys)}" if rng.random() < 0.9 else None
        made: dict[str, Any] = {"request_id": f"r{i}", "model_id": "m", "model_version": "12"[rng.integers(2)], "timestamp": at}
        made |= {"score": 0.9, "unit": unit, "alert_key": key}
        alert = Alert(at, unit or "", key or "")
        kind = rng.random()
        if kind < 0.1:
            made["score"] = 0.1  # no alert
        elif kind < 0.2 and muddle:
            made["probe"] = True
        out.records.append((at, "predictions", made))
        if muddle and rng.random() < 0.1:
            out.records.append((at, "predictions", made))
        if muddle and rng.random() < 0.1:  # another prediction for the same slot: the earlier one wins
            later = at + int(rng.integers(1, 4_000))
            out.records.append((later, "predictions", made | {"timestamp": later, "unit": "er", "alert_key": "patient 0"}))
        if "probe" not in made:
            out.hours.add(at // HOUR_MS)
        if "probe" not in made and made["score"] > 0.5:
            out.alerts.append(alert)
        _outcomes(rng, out, alert, f"r{i}", muddle=muddle)
    out.records.sort(key=lambda record: record[0])
    return out


def _outcomes(rng: np.random.Generator, out: Wards, alert: Alert, key: str, *, muddle: bool) -> None:
    if rng.random() < 0.8:
        known = alert.at + int(rng.exponential(20) * HOUR_MS) + 1
        for version in range(1 + (muddle and rng.random() < 0.2)):
            alert.label = int(rng.random() < 0.3)
            known += version * HOUR_MS
            out.records.append((known, "outcomes", {"request_id": key, "timestamp": known, "true_label": alert.label}))
    if rng.random() < 0.85:
        known = alert.at + int(rng.lognormal(6, 1.5) * 1000)
        first = known
        for version in range(1 + (muddle and rng.random() < 0.3)):
            known += version * 60_000
            action, review = ACTIONS[rng.integers(len(ACTIONS))], round(float(rng.lognormal(4, 1)), 3)
            value = [None, 0.0, round(float(rng.normal(0, 50)), 2)][rng.integers(3)]
            record = {"request_id": key, "timestamp": known, "action_taken": action, "review_seconds": review, "value": value}
            alert.disposition = first, action, round(review * 1000), value
            out.records.append((known, "outcomes", record))


def reckoned(told: Wards, unit: str | None, *, people: int = 1, review_ms: int | None = None) -> dict[str, Any]:
    """Return the figures of one unit (None: of all), one alert at a time."""
    alerts = sorted((a for a in told.alerts if unit in (None, a.unit)), key=lambda a: a.at)
    hours = max(told.hours) + 1 - min(told.hours)
    named = len({a.unit for a in told.alerts if a.unit}) if unit is None else 1
    labelled = [a.label for a in alerts if a.label is not None]
    done = [a.disposition for a in alerts if a.disposition]
    actions = [d[1].strip().lower() for d in done]
    refused = sum(action in ("overridden", "dismissed", "ignored") for action in actions)
    counts: dict[str, int] = {}
    for alert in alerts:
        if alert.key:
            counts[alert.key] = counts.get(alert.key, 0) + 1
    review = sum(d[2] for d in done)
    weeks = hours / (7 * 24)
    sides: tuple[list[float], list[float]] = ([], [])
    for d, action in zip(done, actions, strict=True):
        if d[3] is not None:
            sides[action in ("acted", "escalated")].append(d[3])
    return {
        "alerts": len(alerts),
        "alerts_per_hour": len(alerts) / hours / people / max(named, 1),
        "labelled": len(labelled),
        "false_alerts": labelled.count(0),
        "false_alerts_per_year": labelled.count(0) / hours * 24 * 365.25 if labelled else None,
        "ppv": sum(labelled) / len(labelled) if labelled else None,
        "nne": len(labelled) / sum(labelled) if sum(labelled) else None,
        "dispositions": len(done),
        "override_rate": refused / len(done) if done else None,
        "dismiss_rate": actions.count("dismissed") / len(done) if done else None,
        "ignore_rate": actions.count("ignored") / len(done) if done else None,
        "mean_review_s": review / len(done) / 1000 if done else None,
        "review_hours_per_week": review / HOUR_MS / weeks if done else None,
        "review_delta_hours_per_week": None if review_ms is None or not done else (review - len(done) * review_ms) / HOUR_MS / weeks,
        "top10_share": sum(sorted(counts.values())[-10:]) / sum(counts.values()) if counts else None,
        "value_difference": _welch(sides[1], sides[0]),
        "responses": sorted(d[0] - a.at for a in alerts if (d := a.disposition)),
    }


def _welch(one: list[float], other: list[float]) -> tuple[float, float] | None:
    """Return the difference of means and half its interval."""
    if min(len(one), len(other)) < 2:
        return None
    half = 1.959964 * math.sqrt(float(np.var(one, ddof=1) / len(one) + np.var(other, ddof=1) / len(other)))
    return float(np.mean(one) - np.mean(other)), half


def floods(times: list[int], *, start: int = 10, end: int = 5, width: int = 600_000, until: int) -> list[tuple[int, int | None]]:
    """Return (begin, end) of floods by walking through every moment at which something changes."""
    moments = sorted({*times, *(t + width for t in times)})
    out: list[tuple[int, int | None]] = []
    began = None
    for now in moments:
        if now >= until:
            break
        n = sum(now - width < t <= now for t in times)
        if began is None and n > start:
            began = now
        elif began is not None and n < end:
            out.append((began, now))
            began = None
    return out if began is None else [*out, (began, None)]


def chatters(alerts: list[Alert], *, n: int = 3, width: int = 60_000) -> int:
    """Return how often a key began to chatter, one alert at a time."""
    began = 0
    for unit, key in {(a.unit, a.key) for a in alerts if a.key}:
        times = sorted(a.at for a in alerts if (a.unit, a.key) == (unit, key))
        before = False
        for i in range(len(times)):
            hit = i >= n - 1 and times[i] - times[i - n + 1] < width
            began += hit and not before
            before = hit
    return began


def stale(alerts: list[Alert], *, until: int, age: int = DAY_MS) -> int:
    """Return how many alerts of the hours that have reached an age were not dealt with in time."""
    old = [a for a in alerts if (a.at // HOUR_MS + 1) * HOUR_MS + age <= until]
    return sum(a.disposition is None or a.disposition[0] - a.at > age for a in old)


def alert(i: Any, at: int, unit: str | None = "icu", key: str | None = None) -> Record:
    """A prediction that alerts a ward."""
    made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": at, "score": 0.9, "unit": unit, "alert_key": key}
    return at, "predictions", made


def outcome(i: Any, at: int, **parts: Any) -> Record:
    """What became known of it."""
    return at, "outcomes", {"request_id": f"r{i}", "timestamp": at, **parts}


def ward_days(
    seed: int, *, days: int = 40, per_day: int = 12, units: tuple[str, ...] = ("icu", "er"), changed: str = "", day: int = 20, **after: Any
) -> list[Record]:
    """Alerts that are right in half of the cases, acted upon in most, within minutes; those of one ward change on a day."""
    rng = np.random.default_rng(seed)
    records = []
    for unit in units:
        for i, at in enumerate(np.sort(START_MS + rng.integers(0, days * DAY_MS, days * per_day)).tolist()):
            how = {"ppv": 0.5, "acted": 0.7, "minutes": 10.0, "review_s": 60.0}
            if unit == changed and at >= START_MS + day * DAY_MS:
                how |= after
            key = f"{unit}-{i}"
            answered = at + int(how["minutes"] * MINUTE_MS * rng.lognormal(0, 0.5))
            action = "acted" if rng.random() < how["acted"] else "dismissed"
            records += [
                alert(key, at, unit),
                outcome(key, answered, action_taken=action, review_seconds=float(how["review_s"] * rng.lognormal(0, 0.5))),
                outcome(key, at + int(rng.uniform(0.5, 20) * HOUR_MS), true_label=int(rng.random() < how["ppv"])),
            ]
    return records
