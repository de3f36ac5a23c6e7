"""A sepsis model misses two of three cases and alerts on 18 % of stays, until nobody listens."""

import numpy as np
import numpy.typing as npt

from streams.scenarios import DAY_MS, START_MS, Expected, Logs, Play, Record, Scenario
from streams.scenarios.traffic import Floats, Ints, after, groups, happens, ids, pick, records, scores, times

POLICY = """\
[models.sepsis]
ages = ["3d", "7d"]
dimensions = ["ward"]

[models.sepsis.claims]
sensitivity = 0.8    # as promised

[models.sepsis.fatigue]
ppv = 0.2            # at least one alert in five must be right
override = 0.9       # at most nine in ten may go unheeded
"""
WARDS = {"emergency": 0.3, "medical": 0.4, "surgical": 0.2, "intensive": 0.1}
SEPSIS = 0.0664  # 2,552 of 38,455 stays
SENSITIVITY, ALERTED = 0.33, 0.18
STAYS, DAYS = 38_455, 123
# at the beginning and at the end: share of alerts that nobody acts upon, minutes until somebody looks
UNHEEDED, MINUTES = (0.6, 0.98), (4, 44)


def _make(play: Play) -> Logs:
    at = times(play, days=DAYS, per_day=STAYS / DAYS)
    n = len(at)
    ward, sick = pick(play, WARDS, n), happens(play, SEPSIS, n)
    found, alerted = (0.84, 0.1) if play.calm else (SENSITIVITY, ALERTED)
    false = (alerted - found * SEPSIS) / (1 - SEPSIS)
    alert = happens(play, np.where(sick, found, false), n)
    stay = ids("stay", n)
    made = records(
        request_id=stay,
        model_id="sepsis",
        model_version="1",
        timestamp=at,
        score=scores(play, alert, sharp=2.0),
        predicted_label=alert.astype(int),
        alerted=alert,
        unit=ward,
        alert_key=stay,
        subgroups=groups(ward=ward),
    )
    known = records(request_id=stay, timestamp=after(at, play, hours=30), true_label=sick.astype(int))
    patience = np.zeros(n) if play.calm else (at - START_MS) / (DAYS * DAY_MS)
    known += _answers(play, np.array(stay)[alert], at[alert], patience[alert])
    truth = {} if play.calm else {"fnr": 1 - SENSITIVITY, "alert_rate": ALERTED, "false_alerts_per_year": 18_000.0, "ppv": 0.122}
    return Logs(predictions=made, outcomes=known, truth=truth)


def _answers(play: Play, stay: npt.NDArray[np.str_], at: Ints, patience: Floats) -> list[Record]:
    """Return what becomes of alerts; ``patience`` is how much of it is gone, 0 to 1."""
    n = len(stay)
    unheeded = happens(play, UNHEEDED[0] + (UNHEEDED[1] - UNHEEDED[0]) * patience, n)
    minutes = (MINUTES[0] + (MINUTES[1] - MINUTES[0]) * patience) * play.rng.gamma(4.0, 0.25, n)
    return records(
        request_id=stay,
        timestamp=at + (60_000 * minutes).astype(np.int64) + 1_000,
        action_taken=np.where(unheeded, np.where(happens(play, 0.5, n), "dismissed", "ignored"), "acted"),
        review_seconds=(30 + 90 * play.rng.random(n)).round(1),
    )


SCENARIO = Scenario(
    name="sepsis",
    title="Misses 67 % of cases, alerts on 18 % of stays: 18,000 false alerts a hospital and year, and clinicians stop listening",
    source="Wong et al., JAMA Internal Medicine 181:1065 (2021): 38,455 stays, 2,552 with sepsis, alerts in 18 %, sensitivity 33 %",
    policy=POLICY,
    make=_make,
    expects=(
        Expected(type="gnomon.drift.opened", kind="claim"),
        *(Expected(type="gnomon.fatigue.opened", kind="ppv", unit=ward) for ward in WARDS),
    ),
    demo=1.0,
)
