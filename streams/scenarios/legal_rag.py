"""A research tool for lawyers begins to make up a quarter of its citations, as sure of itself as before."""

import numpy as np

from streams.scenarios import DAY_MS, START_MS, Expected, Logs, Play, Scenario
from streams.scenarios.traffic import after, groups, ids, pick, records, times

POLICY = """\
[models.research]
ages = ["3d", "7d"]
dimensions = ["area"]
review_baseline = "20m"    # what a lawyer took without the tool
"""
AREAS = {"contract": 0.4, "tax": 0.25, "labour": 0.2, "criminal": 0.15}
CITATIONS = 8
SOUND, MADE_UP = 0.98, 0.75  # share of citations that exist and say so
CHANGE_DAY, DAYS = 60, 120
MINUTES, MINUTES_AFTER = 10, 38  # of a lawyer's time to verify one answer


def _make(play: Play) -> Logs:
    at = times(play, days=DAYS, per_day=80)
    n = len(at)
    change_ms = START_MS + CHANGE_DAY * DAY_MS
    broken = (at >= change_ms) & (not play.calm)
    passed = play.rng.binomial(CITATIONS, np.where(broken, MADE_UP, SOUND))
    made = records(
        request_id=ids("memo", n),
        model_id="research",
        model_version="3",
        timestamp=at,
        score=play.rng.normal(0.86, 0.03, n).clip(0, 1).round(3),
        predicted_label=1 + 0 * at,
        alerted=np.zeros(n, dtype=bool),
        unit="litigation",
        subgroups=groups(area=pick(play, AREAS, n)),
    )
    minutes = np.where(broken, MINUTES_AFTER, MINUTES) * play.rng.gamma(6.0, 1 / 6, n)
    fine = play.rng.binomial(1, 0.97, (n, 2))
    checks = [
        {"citation_accuracy": [ok, CITATIONS], "jurisdiction": [int(one), 1], "currency": [int(two), 1]}
        for ok, (one, two) in zip(passed.tolist(), fine.tolist(), strict=True)
    ]
    known = records(
        request_id=ids("memo", n),
        timestamp=after(at, play, hours=20),
        checks=checks,
        review_seconds=(60 * minutes).round(1),
        action_taken=np.where(passed >= CITATIONS - 1, "acted", "overridden"),
    )
    truth = {} if play.calm else {"hallucinated": 1 - MADE_UP, "review_minutes": float(MINUTES_AFTER)}
    return Logs(predictions=made, outcomes=known, changed_ms=None if play.calm else change_ms, truth=truth)


SCENARIO = Scenario(
    name="legal-rag",
    title="17 to 33 % made-up citations under steady confidence; verification eats the time saved",
    source="Magesh et al., Journal of Empirical Legal Studies (2025): 17 to 33 % of answers of legal research tools hallucinate",
    policy=POLICY,
    make=_make,
    expects=(Expected(type="gnomon.drift.opened", kind="check", metric="check:citation_accuracy"),),
)
