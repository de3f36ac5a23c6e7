"""A screener of eye images rejects 89 % of those that rural clinics send; seen over all clinics, it looks fine."""

import numpy as np

from streams.scenarios import DAY_MS, START_MS, Expected, Logs, Play, Scenario
from streams.scenarios.traffic import after, groups, happens, ids, masked, pick, records, scores, times

POLICY = """\
[models.eyes]
ages = ["3d", "7d"]
dimensions = ["clinic"]

[models.eyes.watch.abstention]     # opt-in: images that are rejected
"""
CLINICS = {"city": 0.36, "harbour": 0.25, "north": 0.2, "university": 0.16, "rural": 0.03}
REJECTED, REJECTED_RURAL = 0.21, 0.89
LIVE_DAY, DAYS = 60, 110


def _make(play: Play) -> Logs:
    at = times(play, days=DAYS, per_day=400)
    n = len(at)
    live_ms = START_MS + LIVE_DAY * DAY_MS
    clinic = pick(play, CLINICS, n)
    dark = (clinic == "rural") & (at >= live_ms) & (not play.calm)
    rejected = happens(play, np.where(dark, REJECTED_RURAL, REJECTED), n)
    true = happens(play, 0.07, n)
    predicted = happens(play, np.where(true, 0.9, 0.02), n)
    made = records(
        request_id=ids("image", n),
        model_id="eyes",
        model_version="4",
        timestamp=at,
        score=masked(scores(play, predicted), rejected),
        predicted_label=masked(predicted.astype(int), rejected),
        abstained=rejected,
        abstain_reason=masked(["image quality"] * n, ~rejected),
        subgroups=groups(clinic=clinic),
    )
    read = happens(play, 0.9, n)
    known = records(
        request_id=np.array(ids("image", n))[read], timestamp=after(at, play, hours=30)[read], true_label=true[read].astype(int)
    )
    truth = {} if play.calm else {"rejected_rural": REJECTED_RURAL}
    return Logs(predictions=made, outcomes=known, changed_ms=None if play.calm else live_ms, truth=truth)


SCENARIO = Scenario(
    name="retinopathy",
    title="89 % of the images of rural clinics are rejected, and the aggregate looks fine",
    source="Beede et al., CHI 2020: 21 % of images rejected in the clinics of a field study; the share by clinic as in the story",
    policy=POLICY,
    make=_make,
    expects=(Expected(type="gnomon.drift.opened", kind="abstention", segment={"clinic": "rural"}),),
)
