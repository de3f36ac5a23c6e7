"""A matcher with a benchmark F1 of 0.94 reaches 0.07 on a customer's own data."""

from streams.scenarios import Expected, Logs, Play, Scenario
from streams.scenarios.traffic import after, happens, ids, records, scores, times

POLICY = """\
[models.matcher]
ages = ["1d", "7d"]

[models.matcher.claims]
f1 = 0.94            # of the benchmark
"""
MATCHES = 0.1
F1 = 0.07
# chance that a match is found, and that a wrong one is proposed
IN_PRODUCTION, AS_CLAIMED = (0.05, 0.0421), (0.96, 0.004)


def _make(play: Play) -> Logs:
    found, wrong = AS_CLAIMED if play.calm else IN_PRODUCTION
    at = times(play, days=60, per_day=300)
    n = len(at)
    true = happens(play, MATCHES, n)
    predicted = happens(play, found * true + wrong * ~true, n)
    made = records(
        request_id=ids("match", n),
        model_id="matcher",
        model_version="2",
        timestamp=at,
        score=scores(play, predicted),
        predicted_label=predicted.astype(int),
    )
    known = records(request_id=ids("match", n), timestamp=after(at, play, hours=12), true_label=true.astype(int))
    return Logs(predictions=made, outcomes=known, truth={} if play.calm else {"f1": F1})


SCENARIO = Scenario(
    name="sap",
    title="F1 0.94 on the benchmark, 0.07 on customer data",
    source="reported for language models that match tables on an enterprise's own data instead of a public benchmark (SAP)",
    policy=POLICY,
    make=_make,
    expects=(Expected(type="gnomon.drift.opened", kind="claim"),),
)
