import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode_records
from schemas.control import Control
from schemas.cost import CostMatrix, parse_line
from schemas.drift import Severity
from schemas.durations import LONGEST_MS, format_duration, parse_duration
from schemas.policy import PolicyError, decode_policy, encode_policy, parse_policy
from schemas.policy_models import DEFAULT_FAMILIES, FAMILIES, Budget, FatiguePolicy, ModelPolicy, RetrainPolicy
from schemas.policy_tables import MODEL

DAY = 86_400_000
FULL = """
[defaults]
budget = { pages = 1, days = 30 }
[models.fraud]
positive_label = 1
ages = ["1h", "1d", "7d", "30d"]
horizon = "60d"
on_timeout = "negative"
lateness = "5s"
baseline = { days = 28, labels = 200, failures = 20 }
dimensions = ["country", "channel"]
intersections = [["country", "channel"]]
cost = { fp = 5.0, fn = "amount", tp = 0.0, tn = 0.0 }
[models.fraud.claims]
f1 = 0.94
[models.fraud.watch.error]
[models.fraud.watch.score]
detector = "adwin"
delta = 0.002
tolerance = 0.05
[models.fraud.fatigue]
alerts_per_hour = 6
stale = "12h"
[models.fraud.retrain]
cool_down = "14d"
min_gain = 100
severity = "critical"
"""


def faults(text):
    with pytest.raises(PolicyError) as caught:
        parse_policy(text)
    return caught.value.faults


def model(text, name="m"):
    return parse_policy(text).for_model(name)


def test_every_key():
    policy = model(FULL, "fraud")
    assert policy.budget == Budget(pages=1.0, days=30.0)
    assert policy.ages_ms == (DAY // 24, DAY, 7 * DAY, 30 * DAY)
    assert (policy.horizon_ms, policy.on_timeout, policy.lateness_ms) == (60 * DAY, "negative", 5_000)
    assert (policy.dimensions, policy.intersections) == (("country", "channel"), (("country", "channel"),))
    assert policy.cost == CostMatrix(fp=(5.0, 0.0), fn=(0.0, 1.0))
    assert policy.claims == {"f1": 0.94}
    assert (policy.watch["score"].detector, policy.watch["score"].parameters, policy.watch["score"].tolerance) == (
        "adwin",
        {"delta": 0.002},
        0.05,
    )
    assert policy.fatigue == FatiguePolicy(alerts_per_hour=6.0, stale_ms=DAY // 2)
    assert policy.retrain == RetrainPolicy(cool_down_ms=14 * DAY, min_gain=100.0, severity=Severity.CRITICAL)


def test_an_empty_policy_is_the_defaults():
    assert model("") == model("[defaults]") == model("[models.m]") == ModelPolicy()


def test_families_are_on_by_default_or_when_named():
    assert {family for family, watch in model("").watch.items() if watch.enabled} == set(DEFAULT_FAMILIES)
    named = model("[models.m.watch.gap]\n[models.m.watch.error]\nenabled = false")
    assert {family for family, watch in named.watch.items() if watch.enabled} == {*DEFAULT_FAMILIES, "gap"} - {"error"}
    assert set(named.watch) == set(FAMILIES)


def test_tables_merge_key_by_key_defaults_first():
    text = """
    [defaults]
    baseline = { days = 7, labels = 50, error = 0.1 }
    cost = { fp = 1, fn = "amount" }
    dimensions = ["a", "b"]
    [defaults.watch.error]
    detector = "adwin"
    delta = 0.01
    tolerance = 0.2
    [models.m]
    baseline = { labels = 99, file = "reference.parquet" }
    cost = { fp = 2 }
    dimensions = ["c"]
    watch.error.clock = 8
    [models.n.watch.error]
    detector = "kswin"
    [models.o.watch.error]
    role = "watch"
    """
    policy = model(text)
    assert (policy.baseline.days, policy.baseline.labels, policy.baseline.failures, policy.baseline.file) == (
        7.0,
        99,
        20,
        "reference.parquet",
    )
    assert policy.baseline.values == {"error": 0.1}
    assert policy.watch["error"].baseline == 0.1
    assert policy.cost == CostMatrix(fp=(2.0, 0.0), fn=(0.0, 1.0))
    assert policy.dimensions == ("c",)
    assert policy.watch["error"].parameters == {"delta": 0.01, "clock": 8}
    other = model(text, "n").watch["error"]
    assert (other.detector, other.parameters, other.tolerance) == ("kswin", {}, 0.2)  # adwin's parameters are not kswin's
    beside = model(text, "o").watch["error"]
    assert (beside.detector, beside.parameters, beside.role, other.role) == ("adwin", {"delta": 0.01}, "watch", "pager")
    back = model(text.replace("clock = 8", 'detector = "bank"').replace("delta = 0.01", 'role = "watch"')).watch["error"]
    assert (back.detector, back.role) == ("bank", "pager")  # a watch in the defaults is none of the bank's
    assert model(text, "unnamed").watch["error"].detector == "adwin"


@pytest.mark.parametrize("key", [*MODEL])
def test_every_key_stands_in_defaults_and_under_a_model(key):
    bad = f"{key} = 1979-05-27"
    assert [fault.split(": ")[0].split(".")[0:2] for fault in faults(f"[defaults]\n{bad}")] == [["defaults", key]]
    assert [fault.split(": ")[0] for fault in faults(f"[models.m]\n{bad}")] == [f"models.m.{key}"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("default = 1", "default: unknown key; did you mean 'defaults'?"),
        ("[models.m]\nhorizn = '1d'", "models.m.horizn: unknown key; did you mean 'horizon'?"),
        ('[models."a.b"]\nx = 1', 'models."a.b".x: unknown key; expected one of '),
        ("[models.m.budget]\npage = 1", "models.m.budget.page: unknown key; did you mean 'pages'?"),
        ("[models.m.watch.eror]", "models.m.watch.eror: unknown key; did you mean 'error'?"),
        ("[models.m.watch.error]\ntolerence = 1", "models.m.watch.error.tolerence: unknown key; did you mean 'tolerance'?"),
        ("[models.m.claims]\nacuracy = 1", "models.m.claims.acuracy: unknown key; did you mean 'accuracy'?"),
        ("[models.m.claims]\nf1 = 1.1", "models.m.claims.f1: expected a number from 0 to 1, got 1.1"),
        ("[models.m.budget]\npages = 0", "models.m.budget.pages: expected a number above 0, got 0"),
        ("[models.m.budget]\npages = nan", "models.m.budget.pages: expected a number above 0, got nan"),
        ("[models.m.budget]\npages = true", "models.m.budget.pages: expected a number above 0, got True"),
        ("[models.m]\nages = ['1d', '1d']", "models.m.ages: expected at most 20 ages, ascending, got ['1d', '1d']"),
        ("[models.m]\nages = []", "models.m.ages: expected at most 20 ages, ascending, got []"),
        (f"[models.m]\nages = {[f'{i}d' for i in range(1, 22)]}", "models.m.ages: expected at most 20 ages"),
        ("[models.m]\nhorizon = 60", "models.m.horizon: expected a duration such as"),
        ("[models.m]\nhorizon = '0s'", "models.m.horizon: expected a duration above zero"),
        (
            "[models.m]\non_timeout = 'negativ'",
            "models.m.on_timeout: expected one of 'negative', 'unknown', got 'negativ'; did you mean 'negative'?",
        ),
        ("[models.m]\non_timeout = 'negative'", "models.m.on_timeout: expected a horizon beside"),
        ("[models.m]\npositive_label = 0.5", "models.m.positive_label: Expected `bool | int | str`"),
        ("[models.m]\ncost = { fp = 'amont' }", "models.m.cost.fp: expected a number up to 1e10"),
        ("[models.m]\nintersections = [['a']]", "models.m.intersections: expected a list of lists of at least two"),
        (
            "[models.m]\ndimensions = ['a']\nintersections = [['a', 'b']]",
            "models.m.intersections: expected dimensions named in `dimensions`, got 'b'",
        ),
        ("[models.m]\ndimensions = ['a', 'a']", "models.m.dimensions: expected each name once"),
        ("[models.m.fatigue]\nflood_end = 11", "models.m.fatigue.flood_end: expected at most flood_start, 10, got 11"),
        (
            "[models.m.retrain]\nseverity = 'mayor'",
            "models.m.retrain.severity: expected one of 'minor', 'major', 'critical', got 'mayor'; did you mean 'major'?",
        ),
        ("[models.m.watch.error]\ndetector = 'adwin'\ndelta = inf", "models.m.watch.error.delta: expected a finite number"),
        ("models = 3", "models: expected a table per model, got 3"),
        ("= 3", "not TOML: "),
    ],
)
def test_a_mistake_is_told_with_its_path(text, fault):
    [got] = faults(text)
    assert got.startswith(fault)


def test_all_mistakes_are_told_at_once():
    got = faults("x = 1\n[defaults]\nthreshold = 2\n[models.a]\nlateness = 'x'\n[models.b.watch.score]\ntolerance = -1")
    assert [fault.split(":")[0] for fault in got] == ["x", "defaults.threshold", "models.a.lateness", "models.b.watch.score.tolerance"]


def test_a_policy_travels_as_a_control_record():
    policy = parse_policy(FULL)
    [(_, control, _)] = decode_records(encode_policy(policy, by="ada", at=5), Control)
    assert (control.by, control.at) == ("ada", 5)
    assert decode_policy(control) == policy


@pytest.mark.parametrize(
    ("cost", "line"),
    [
        (5, (5, 0)),
        (-2.5, (-2.5, 0)),
        ("amount", (0, 1)),
        ("-amount", (0, -1)),
        ("0.3*amount", (0, 0.3)),
        ("amount * .5 + 2", (2, 0.5)),
        ("1 - 2*amount + 3", (4, -2)),
        ("1e3", (1000, 0)),
    ],
)
def test_costs_are_lines_in_the_amount(cost, line):
    assert parse_line(cost) == line


@pytest.mark.parametrize(
    "cost",
    [
        "",
        " ",
        "amount amount",
        "2amount",
        "amount*amount",
        "+",
        "1 +",
        True,
        None,
        [1],
        float("nan"),
        float("inf"),
        1e11,
        "1e11*amount",
        "__import__('os')",
        "1" * 1000,
    ],
)
def test_other_costs_are_refused(cost):
    with pytest.raises(ValueError, match="expected a number up to 1e10"):
        parse_line(cost)


@given(st.integers(0, LONGEST_MS))
def test_durations_are_written_so_that_they_are_read_again(ms):
    assert parse_duration(format_duration(ms)) == ms


@pytest.mark.parametrize("text", ["", "5", "d", "-5s", "5 days", "1h30m", "inf s", "101y", "99999999d", "9" * 400 + "d", "٣d"])
def test_other_durations_are_refused(text):
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)
