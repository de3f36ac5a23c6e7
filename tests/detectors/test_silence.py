"""What stands open of a version that sends nothing any more is closed, in due order, and does not stand in the way of the next one."""

import pytest
from support.documents import documents
from support.feature_logs import inputs
from support.stories import DAY_MS, START_MS, findings, fold, story

from detectors.companions.checks import AGES_MS
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
    assert closed.time_ms == last + (1 + SILENT_DAYS) * DAY_MS + max(
        version.ladder.age_ms(version.ladder.rungs()[-1]), AGES_MS[-1] if name == "checks" else 0
    )
    assert not watch.companions["m"].members[name].listed()
