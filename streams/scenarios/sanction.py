"""One made-up case in a brief is enough for a sanction: a check of zero tolerance."""

import numpy as np

from streams.scenarios import DAY_MS, START_MS, Expected, Logs, Play, Scenario
from streams.scenarios.traffic import after, groups, ids, pick, records, times

POLICY = """\
[models.briefs]
ages = ["1d", "7d"]
dimensions = ["court"]

[models.briefs.checks.citation_exists]
zero_tolerance = true
"""
COURTS = {"district": 0.7, "appeal": 0.2, "supreme": 0.1}
CITATIONS = 12
FABRICATED_DAY, DAYS = 45, 90


def _make(play: Play) -> Logs:
    at = times(play, days=DAYS, per_day=30)
    n = len(at)
    fabricated_ms = START_MS + FABRICATED_DAY * DAY_MS
    passed = np.full(n, CITATIONS)
    if not play.calm:
        passed[np.searchsorted(at, fabricated_ms)] -= 1
    made = records(
        request_id=ids("brief", n),
        model_id="briefs",
        model_version="1",
        timestamp=at,
        score=play.rng.normal(0.9, 0.02, n).clip(0, 1).round(3),
        predicted_label=1 + 0 * at,
        alerted=np.zeros(n, dtype=bool),
        subgroups=groups(court=pick(play, COURTS, n)),
    )
    checks = [{"citation_exists": [ok, CITATIONS]} for ok in passed.tolist()]
    known = records(request_id=ids("brief", n), timestamp=after(at, play, hours=10), checks=checks)
    return Logs(predictions=made, outcomes=known, changed_ms=None if play.calm else fabricated_ms)


SCENARIO = Scenario(
    name="sanction",
    title="One fabricated citation: zero tolerance",
    source="Mata v. Avianca, S.D.N.Y. 2023: sanctions for a brief with cases that do not exist",
    policy=POLICY,
    make=_make,
    expects=(Expected(type="gnomon.drift.opened", kind="check"),),
)
