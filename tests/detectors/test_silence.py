"""What stands open of a version that sends nothing any more is closed, in due order, and does not stand in the way of the next one."""

import random
from dataclasses import replace

import pytest
from support.documents import documents
from support.feature_logs import inputs
from support.stories import DAY_MS, START_MS, findings, fold, story

from detectors.companions.checks import AGES_MS
from detectors.companions.retrain import Request, Retrain
from detectors.model_companions import COMPANIONS
from detectors.silence import SILENT_DAYS
from schemas.policy import parse_policy

POLICY = parse_policy('[models.m]\nages = ["1d", "3d"]\n[models.m.retrain]\nmin_labels = 200\n')
AGE_DAYS, DAYS = 3, 90
SILENT_MS = START_MS + (DAYS + SILENT_DAYS + AGE_DAYS) * DAY_MS


def shifted(records, days):
    return [(at + days * DAY_MS, topic, record | {"timestamp": record["timestamp"] + days * DAY_MS}) for at, topic, record in records]


def replaced(days=180):
    """Version 1 begins to err on day 60 and is replaced on day 90 by version 2, which is calm."""
    first = [record for record in story(seed=5, days=DAYS, change_day=60, labelled=1.0) if record[0] < START_MS + (DAYS + 3) * DAY_MS]
    return sorted(first + shifted(story(seed=6, days=days - DAYS, version="2", per_day=30), DAYS), key=lambda record: record[0])


def told(events, kind, version="1"):
    return [event for event in events if event.type.value == kind and event.subject == f"m/{version}"]


def opened(events, version="1"):
    return told(events, "gnomon.drift.opened", version)


@pytest.fixture(scope="module")
def folded():
    return fold(replaced(), policy=POLICY, close=False)


def test_incidents_of_a_version_that_was_replaced_are_closed_when_it_has_been_silent_for_long(folded):
    watch, events = folded
    assert opened(events)
    late = [event for event in told(events, "gnomon.drift.cleared") if event.time_ms == SILENT_MS]
    assert late, "what was open has been closed, at its due time"
    assert all("out of service" in event.data.message for event in late)
    assert {event.data.incident_id for event in opened(events)} == {
        event.data.incident_id for event in told(events, "gnomon.drift.cleared")
    }
    assert not watch.models["m"]["1"].incidents.open
    assert not watch.models["m"]["1"].bank.active()


def test_a_request_that_rests_on_them_is_withdrawn(folded):
    _, events = folded
    [asked] = told(events, "gnomon.retrain.requested")
    [withdrawn] = told(events, "gnomon.retrain.cancelled")
    assert withdrawn.time_ms == SILENT_MS
    assert withdrawn.data.request_id == asked.data.request_id


@pytest.mark.parametrize("chunk", [150, 40_000])
def test_it_does_not_hang_on_how_far_the_watermark_jumps(folded, chunk):
    watch, events = folded
    again, others = fold(replaced(), policy=POLICY, close=False, chunk=chunk)
    assert sorted(findings(others)) == sorted(findings(events))
    for part in ("1", COMPANIONS):  # version 2 numbers its groups as they arrive
        assert again.state_of("m", part) == watch.state_of("m", part)


def of_the_first(records):
    return [record for record in records if "-2-" not in record[2]["request_id"]]


def test_the_end_of_a_log_is_no_silence():
    _, events = fold(of_the_first(replaced()), policy=POLICY)
    assert opened(events)
    assert not [event for event in told(events, "gnomon.drift.cleared") if "out of service" in event.data.message]


@pytest.mark.parametrize(("gap", "closed"), [(20, False), (60, True)])
def test_a_version_that_comes_back_is_judged_by_its_old_baseline(gap, closed):
    back = shifted(story(seed=7, days=60, change_day=0, labelled=1.0), DAYS + gap)
    back = [(at, topic, record | {"request_id": f"back-{record['request_id']}"}) for at, topic, record in back]
    first = of_the_first(replaced(DAYS + 1))
    for close in (False, True):
        _, events = fold(sorted(first + back, key=lambda record: record[0]), policy=POLICY, close=close)
        ended = [event for event in told(events, "gnomon.drift.cleared") if "out of service" in event.data.message]
        assert bool(ended) == closed
        assert {event.time_ms for event in ended} <= {SILENT_MS}
        again = [event for event in opened(events) if event.time_ms > SILENT_MS - 3 * DAY_MS]
        assert bool([event for event in again if event.data.kind == "concept"]) == closed, "it still errs: people are told anew"


def companion_stories():
    """By companion: records of version 1 alone, of which something goes wrong, the policy, and the metric that tells it."""
    features = [(at, topic, record | {"timestamp": at}) for at, topic, record in inputs("site", days=30)]
    watched = parse_policy("[models.m]\nbaseline = { days = 7 }\n[models.m.watch.covariate]\n")
    return {
        "checks": (documents(seed=1, change_day=60), parse_policy(""), "check:citation"),
        "features": (features, watched, "category:site"),
    }


@pytest.mark.parametrize("name", ["checks", "features"])
@pytest.mark.parametrize("chunk", [150, 40_000])
def test_what_companions_have_open_is_closed_likewise(name, chunk):
    first, policy, metric = companion_stories()[name]
    last = max(at for at, topic, _ in first if topic == "predictions") // DAY_MS * DAY_MS
    later = shifted(story(seed=6, days=150, version="2", per_day=5), (last - START_MS) // DAY_MS + 1)
    later = [(at, topic, record | {"request_id": f"later-{record['request_id']}"}) for at, topic, record in later]
    watch, events = fold(sorted(first + later, key=lambda record: record[0]), policy=policy, close=False, chunk=chunk)
    mine = [event for event in told(events, "gnomon.drift.cleared") if getattr(event.data, "metric", "") == metric]
    [closed] = [event for event in mine if "out of service" in event.data.message]
    version = watch.models["m"]["1"]
    age_ms = max(version.ladder.oldest_ms(closed.time_ms), AGES_MS[-1] if name == "checks" else 0)
    assert closed.time_ms == last + (1 + SILENT_DAYS) * DAY_MS + age_ms
    assert not watch.companions["m"].members[name].listed()


def test_probes_that_go_on_are_a_sign_of_life_for_what_is_watched_of_them():
    """Real traffic ends on day 90; from day 100 on fewer probes are caught, and they stay as they are."""
    rng, probes = random.Random(1), []
    for i in range(170 * 20):
        at = START_MS + i // 20 * DAY_MS + i % 20 * 3_600_000 + 7
        caught = rng.random() < (0.9 if i // 20 < 100 else 0.4)
        made = {"request_id": f"p{i}", "model_id": "m", "model_version": "1", "timestamp": at, "score": 0.9 if caught else 0.1}
        probes.append((at, "predictions", made | {"predicted_label": int(caught), "probe": "card", "alerted": caught}))
    records = sorted(story(seed=5, days=DAYS, labelled=1.0) + probes, key=lambda record: record[0])
    watch, events = fold(records, policy=POLICY, close=False)
    mine = [event for event in events if getattr(event.data, "metric", "") == "probe:card"]
    assert [event.type.value for event in mine if not event.type.value.endswith(("updated", "escalated"))] == ["gnomon.drift.opened"]
    assert watch.companions["m"].members["probes"].listed()


@pytest.mark.parametrize("chunk", [150, 2_000, 40_000])
def test_an_age_that_is_learnt_later_does_not_move_when_companions_close(chunk):
    """Labels come when the version is silent already; however far the watermark jumps, its ages count from when they were decided."""
    rng, known = random.Random(1), []
    made = [(at, topic, r | {"timestamp": at, "predicted_label": int(r["score"] > 0.5)}) for at, topic, r in inputs("site", days=30)]
    for at, _, record in made:
        late = at + int(rng.uniform(50, 62) * DAY_MS)
        label = record["predicted_label"] ^ (rng.random() < 0.1)
        known.append((late, "outcomes", {"request_id": record["request_id"], "timestamp": late, "true_label": int(label)}))
    later = shifted(story(seed=6, days=200, version="2", per_day=5), 31)
    policy = parse_policy("[models.m]\nbaseline = { days = 7 }\n[models.m.watch.covariate]\n")
    _, events = fold(sorted(made + known + later, key=lambda record: record[0]), policy=policy, close=False, chunk=chunk)
    [closed] = [e for e in told(events, "gnomon.drift.cleared") if e.data.metric == "category:site" and "out of service" in e.data.message]
    assert closed.time_ms == START_MS + 60 * DAY_MS


def test_nothing_is_closed_before_it_was_opened():
    """The last rung of a version is decided when it has been silent for long, and reads at once what is overdue."""
    policy = parse_policy('[models.m.watch.error]\ndetector = "page_hinkley"\n')
    first = story(seed=5, days=50, per_day=200, change_day=30, delay_days=20, labelled=1.0, error_after=0.3)
    later = shifted(story(seed=6, days=230, version="2", per_day=20, error=0.08), 50)
    watch, events = fold(sorted(first + later, key=lambda record: record[0]), policy=policy, close=False)
    opened_ms = {event.data.incident_id: event.time_ms for event in opened(events)}
    ends = [event for event in told(events, "gnomon.drift.cleared") if "out of service" in event.data.message]
    assert [event for event in ends if event.time_ms == opened_ms[event.data.incident_id]], "one was opened in the silence"
    open_now = set()
    for event in events:
        if event.type.value == "gnomon.drift.opened":
            open_now.add(event.data.incident_id)
        elif event.type.value == "gnomon.drift.cleared":
            open_now.remove(event.data.incident_id)  # fails where it has not been opened yet
    assert not watch.models["m"]["1"].incidents.open
    assert not [each for each in watch.companions["m"].members["retrain"].grounds.values() if each.model_version == "1"]


def test_a_request_that_rests_on_a_forecast_is_withdrawn_with_its_version(folded):
    watch, _ = folded
    companion = Retrain("m", POLICY.for_model("m"))
    made = Request(request_id="f", model_version="1", at_ms=START_MS + DAYS * DAY_MS, incidents=(), from_ms=START_MS, n_labelled=500)
    companion.requests = [made]
    assert companion.advance(SILENT_MS - 1, watch.models["m"], []) == []
    [withdrawn] = companion.advance(SILENT_MS + 9 * DAY_MS, watch.models["m"], [])
    assert (withdrawn.type.value, withdrawn.time_ms) == ("gnomon.retrain.cancelled", SILENT_MS)
    companion.requests = [replace(made, state="acknowledged")]  # somebody is at it: only people end it
    assert companion.advance(SILENT_MS + 9 * DAY_MS, watch.models["m"], []) == []
