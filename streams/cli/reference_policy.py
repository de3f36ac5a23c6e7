"""The generated page of the policy."""
# ruff: noqa: PLC0415  each page imports what it is about

from collections.abc import Iterator, Mapping

INTRODUCTION = """\
What is watched of which model, and how many false pages that may cost: a TOML file. `gnomon check POLICY` tells every fault at once, and
what the policy comes to with all defaults filled in. Unknown keys are refused.

Built-in defaults, then `[defaults]`, then the model's own table are merged key by key. Durations are text: `90s`, `5m`, `1h`, `7d`, `2w`.
A join worker that starts with `GNOMON_POLICY` puts the file into force by a record on the control topic, unless it was put into force
before; a replay takes it from `--policy`. `gnomon policy apply FILE` does the same at any time, and all workers follow without a restart:
the watch from the record's place in its log on, the join for what it stores from then on. What is stored keeps its meaning, and a
version's ages stay as they were when its first prediction came."""

NAMED = """\
What arrives under a name is watched under it, without being declared; a table in the policy says more.

**Checks** are what people or programs verify of a prediction, a document as a rule: `checks = {"citation_accuracy": [9, 10]}` in an
outcome. The share that passes is held against what was learnt, or against `baseline`, at the ages of the policy (by default 75 minutes,
26 hours, 8 and 32 days): of each document what was known when it had that age. A document counts once, by the share of its checks that
failed. A contract value holds at every age. With `zero_tolerance` the first document that fails is an incident as soon as it is known. It
ends when someone acknowledges or judges it (the next failure must not hide behind it), when its failures have all been corrected, or
after `clean` documents without another one.

**Probes** are synthetic: `probe = "card-testing"` in a prediction. They are in no other figure. One is detected if it is predicted
positive or a person is alerted, as soon as it is made; where labels are not 0 and 1, if the answer was right. A benign canary (its label
is 0) is left out of the rate in the report, but the evidence, which does not wait for labels, takes it for an attack: turn its kind off.

Checks and probes each spend a tenth of the model's budget from their first event on, and nothing before; zero tolerance spends nothing."""

RIVER = """\
`detector` is `bank` (evidence within the budget) or one of River's: for rates {rates}; for `calibration` (outcomes less scores), `cost`,
`score` and `regression` (logs of absolute errors) {means}, which are fed with the mean of each pane, however many events it has. Other keys
are the detector's parameters. With `role = "pager"` (default) it pages for the whole in the bank's place once a baseline stands, with the
false-alarm rate that it has and no part in the budget; what is normal, how large a change is and when it is over is the bank's to say.
With `role = "watch"` the bank pages as ever, and what the detector finds is kept as a note. The groups are the bank's in any case. A
detector whose name or parameters change begins anew."""

EXAMPLE = """\
[defaults]                                  # every model that is not named
budget = { pages = 1, days = 30 }

[models.fraud]
ages = ["1h", "1d", "7d", "30d"]            # judge predictions when they are so old
horizon = "60d"                             # after that no label is waited for ...
on_timeout = "negative"                     # ... and none means: not fraud
baseline = { days = 28, labels = 200, failures = 20 }
dimensions = ["country", "channel"]
intersections = [["country", "channel"]]
cost = { fp = 5.0, fn = "amount" }
metrics = ["MCC"]

[models.fraud.probes.card-testing]          # synthetic attacks of this name
baseline = 0.9
[models.legal.checks.citation_accuracy]
zero_tolerance = true
[models.fraud.watch.abstention]             # naming a family turns it on
[models.fraud.watch.gap]                    # does a group fare worse than the rest?
dimensions = ["country"]
baseline = 0.05                             # by more than 5 points; leave it out: by more than it did
[models.fraud.watch.fpr]
detector = "adwin"                          # one of River's instead of the evidence bank ...
delta = 0.002
[models.fraud.watch.fnr]
detector = "ddm"
role = "watch"                              # ... or beside it: it pages nobody
[models.fraud.watch.prior]
enabled = false"""

KEYS = {
    "budget.pages": "false pages that all monitors of the model together may raise, on average ...",
    "budget.days": "... in so many days",
    "positive_label": "the label that counts as positive",
    "threshold": "where a prediction brings no label: positive if its score is at least this",
    "ages": "when each prediction is judged, ascending; default: learnt from the label delays of the first 1,000 predictions",
    "horizon": "after which no label is waited for; default: labels never expire",
    "on_timeout": "what a missing label past the horizon counts as: `unknown` or `negative` (binary labels)",
    "lateness": "how much later than the newest record one may still come before the watermark passes it",
    "baseline.days": "what must have been seen before a monitor may page: days of predictions, ...",
    "baseline.labels": "... matured labels ...",
    "baseline.failures": "... and failures among them",
    "baseline.seasonal": "follow the hour of the week once four weeks of it have been seen (default), or hold one level for all hours",
    "baseline.file": "a table of predictions with their `true_label`, which arms monitors at once: [how to](how-to/ship-a-baseline.md)",
    "dimensions": "the subgroups to watch; default: all that arrive",
    "intersections": "lists of dimensions that are also watched together",
    "cost.tp": 'what a true positive costs: a number, `"amount"`, or a line such as `"25 + 0.3*amount"`; negative is a benefit',
    "cost.fp": "a false positive, likewise",
    "cost.tn": "a true negative",
    "cost.fn": "a false negative",
    "review_cost_per_hour": "what an hour of a person's review costs: it counts in the net value of decisions",
    "review_baseline": "how long a person took for one document before there was the model: the time saved is reported against it",
    "checks": 'a table per check by name (`"*"`: all others): `enabled`, `baseline` (share that should pass, instead of what was learnt), '
    "`tolerance`, `zero_tolerance` (the first failure is an incident), `clean` (documents without a failure that end it)",
    "probes": 'a table per kind of probe (`"*"`: all others): `enabled`, `baseline` (share that should be detected), `tolerance`',
    "claims": "what was promised of the model; refuted by evidence without any baseline (ece: reported only)",
    "decay": "limits of error, f1, brier and cost (per labelled prediction): when decay crosses them, if it surely does, is in the report",
    "watch": "a table per family of monitors: `enabled`, `detector`, its `role` and parameters, `tolerance`, `baseline`",
    "metrics": "River's label metrics to report, by name",
    "fatigue.enabled": "whether fatigue from the model's alerts is watched; it is reported in any case",
    "fatigue.people": "people on duty in each unit",
    "fatigue.alerts_per_hour": "alerts an hour and person, over a day, that are too many",
    "fatigue.flood_start": "a flood of alerts starts above so many ...",
    "fatigue.flood_end": "... ends below so many ...",
    "fatigue.flood_window": "... in so long",
    "fatigue.chatter": "so many alerts of one alert key ...",
    "fatigue.chatter_window": "... within so long are chatter",
    "fatigue.stale": "how long an alert may stay open; five of a day's that stay open longer are too many",
    "fatigue.ppv": "the least share of alerts that must be right; default: each unit's own past",
    "fatigue.override": "the largest share of alerts that may be overridden, dismissed or ignored",
    "fatigue.response_time": "the longest median time to a disposition; default: each unit's own past",
    "fatigue.review_time": "the longest mean review; what review hours are held against in the report; default: each unit's own past",
    "retrain.enabled": "whether findings become requests to retrain",
    "retrain.severity": "how severe a finding must be: `minor`, `major` or `critical`",
    "retrain.min_labels": "how many labelled predictions made since the onset there must be to learn from",
    "retrain.cool_down": "how long after a request none is made for the model",
    "retrain.decay_within": "ask without an incident when a figure of `decay` will be past its limit within so long; none: never",
    "retrain.min_gain": "the least that the change must cost a day, where money is known",
    "retrain.cost": "what retraining costs: asked for only where money is known and this is won back within ...",
    "retrain.payback": "... this time",
}


def described() -> Iterator[str]:
    """Yield every key that a model's table may hold, two levels deep where a table is described key by key."""
    from schemas.policy_models import FAMILIES
    from schemas.policy_tables import MODEL

    for key, (_, read) in MODEL.items():
        if isinstance(read, Mapping) and any(name.startswith(f"{key}.") for name in KEYS):
            yield from (f"{key}.{inner}" for inner in read if key != "baseline" or inner not in FAMILIES)
        else:
            yield key


def families() -> list[tuple[str, str, str]]:
    """Return each family that a policy may name, whether it is on by default, and what it watches."""
    from detectors.families import families as watched
    from schemas.policy_models import DEFAULT_FAMILIES, FAMILIES

    nouns: dict[str, list[str]] = {"covariate": ["each input's numbers or categories", "how often it is missing"]}
    for name, (family, _) in watched().items():
        nouns.setdefault(family.watch or name, []).append(family.noun)
    nouns["challenger"] = ["which of two versions is better, on the requests that both answered; [how to](how-to/compare-versions.md)"]
    return [
        (f"`{name}`", "on" if name in DEFAULT_FAMILIES else "", ", ".join(nouns.get(name, ["accepted; not watched yet"])))
        for name in FAMILIES
    ]


def detectors(*, means: bool = False) -> str:
    """Return the names of River's detectors that a policy may choose; those only that take ``means``."""
    from detectors.river.parameters import KINDS

    return ", ".join(f"`{name}`" for name, kind in KINDS.items() if not (means and kind.binary))
