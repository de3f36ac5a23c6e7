"""Requests to retrain: a finding becomes one when every rule lets it, and never two are open for one model."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import msgspec

from detectors.companions import NEVER, Companion
from detectors.decay_forecast import foresee, looks, of_plain, to_plain
from detectors.fixed import Ints
from detectors.label_hours import LabelHours
from detectors.ladder import WEEK_MS
from detectors.model_version import ModelVersion
from detectors.panes import END
from detectors.retrain import BEGINNING, Case, Ground, ready_ms
from detectors.silence import SILENT, silent_from
from detectors.state_version import expect_version
from schemas.control import Control, ControlType
from schemas.drift import DriftData, Kind, Severity
from schemas.fields import Timestamp, epoch_ms, rfc3339
from schemas.findings import Event, EventType, subject
from schemas.policy_models import ModelPolicy
from schemas.report import RetrainState
from schemas.retrain import RetrainCancelled, RetrainRequested, TrainingData
from schemas.scored import Rows

STATE_VERSION = 2
# What new labels can mend. A change of scores or inputs alone brings no labels, labels that come later are no other world.
MENDED = frozenset({Kind.CONCEPT, Kind.CALIBRATION, Kind.COST, Kind.PRIOR, Kind.GAP, Kind.CLAIM})
KEPT = 20  # requests that are reported
_ANSWERS = {"ack": "acknowledged", "done": "completed", "cancel": "cancelled"}
_Moment = tuple[int, Callable[[], list[Event]]]  # when something is learnt, and how
_OPEN = ("requested", "acknowledged")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request and what became of it."""

    request_id: str
    model_version: str
    at_ms: int
    incidents: tuple[str, ...]
    from_ms: int
    n_labelled: int
    state: str = "requested"
    by: str = ""
    answered_ms: int | None = None

    @property
    def open(self) -> bool:
        """Whether somebody still has to do something."""
        return self.state in _OPEN


class Retrain(Companion):
    """Weighs the open incidents of a model's versions against the rules of ``detectors.retrain``.

    An incident asks once. A request that nobody has acknowledged is withdrawn when all its incidents have cleared. Where the policy says
    how long before, the forecast of a version's decay asks, once, as an incident would. Labels are counted by the hour of their
    prediction, and forgotten 400 days after it.
    """

    name = "retrain"
    moved = False

    def __init__(self, model_id: str, policy: ModelPolicy) -> None:
        super().__init__(model_id, policy)
        self.labels: dict[str, LabelHours] = {}  # by version
        self.grounds: dict[str, Ground] = {}  # open incidents that labels can mend, by id
        self.asked: set[str] = set()  # of them, those that a request was made for
        self.forecasts: dict[str, Ground] = {}  # by version, while they are fresh
        self.looked: dict[str, int] = {}  # by version: the week of its age to look at next
        self.foreseen: set[str] = set()  # versions whose forecast has asked
        self.requests: list[Request] = []
        self.since_ms = BEGINNING  # of the latest finding or answer: no request is made before it
        self.now_ms = BEGINNING  # never part of the state

    def add(self, rows: Rows, where: Ints) -> None:
        """Count labels."""
        for name, mine in rows.by_version(where):
            self.labels.setdefault(name, LabelHours()).add_rows(rows, mine)

    def advance(self, watermark_ms: int, versions: Mapping[str, ModelVersion], found: Sequence[Event]) -> list[Event]:
        """Follow the incidents in due order, and ask at the first moment that suits every rule; a snooze keeps nothing from it."""
        events: list[Event] = []
        unsaid = [event for _, version in sorted(versions.items()) for event in version.unsaid]
        heard: list[_Moment] = [
            (event.time_ms, partial(self._hear, event, event.data)) for event in (*found, *unsaid) if isinstance(event.data, DriftData)
        ]
        for at_ms, learn in sorted(self._looks(watermark_ms, versions) + heard, key=lambda pair: pair[0]):
            events += self._retire(at_ms, versions) + self._weigh(at_ms)
            events += learn()
        events += self._retire(watermark_ms, versions) + self._weigh(watermark_ms)
        self.now_ms = max(self.now_ms, watermark_ms)
        for labels in self.labels.values():
            labels.forget(watermark_ms)
        return events

    def next_ms(self, watermark_ms: int) -> int:
        """Return that something may be due at any time while there is what may ask, or a request that rests on a forecast."""
        asks = self.policy.retrain.decay_within_ms is not None or self.forecasts or self.grounds.keys() - self.asked
        waits = self.requests and self.requests[-1].state == "requested" and not self.requests[-1].incidents
        return BEGINNING if asks or waits else NEVER

    def take_back_time(self, watermark_ms: int) -> None:
        """Know again how far time had come."""
        self.now_ms = max(self.now_ms, watermark_ms)
        for labels in self.labels.values():
            labels.forget(watermark_ms)

    def use(self, policy: ModelPolicy) -> list[Event]:
        """Follow another policy; one that begins to heed forecasts asks for nothing in the past."""
        if policy.retrain.decay_within_ms != self.policy.retrain.decay_within_ms:
            self.since_ms = max(self.since_ms, self.now_ms)
            self.forecasts.clear()
        return super().use(policy)

    def heed(self, ended: Sequence[Event]) -> list[Event]:
        """Follow incidents that a person has closed, or that a policy watches no longer: they ask no more."""
        return [event for each in ended if isinstance(each.data, DriftData) for event in self._hear(each, each.data)]

    def _looks(self, watermark_ms: int, versions: Mapping[str, ModelVersion]) -> list[_Moment]:
        """Return when to look where decay is going, and how; nothing where the policy does not ask."""
        if self.policy.retrain.decay_within_ms is None or not self.policy.decay:
            return []
        return [
            (at_ms, partial(self._look, versions[name], week, at_ms))
            for name in sorted(versions)
            for at_ms, week in looks(versions[name], self.looked.get(name, 0), watermark_ms)
        ]

    def _look(self, version: ModelVersion, week: int, at_ms: int) -> list[Event]:
        if week <= int(version.mature_sums.weeks.keys[-1]):
            self.looked[version.name], self.moved = week + 1, True
        ground = None if version.name in self.foreseen else foresee(version, self.policy, week, at_ms)
        if ground is not None:
            self.forecasts[version.name] = ground
        else:
            self.forecasts.pop(version.name, None)
        return []

    def _hear(self, event: Event, data: DriftData) -> list[Event]:
        self.since_ms, self.moved = max(event.time_ms, self.since_ms), True
        if event.type == EventType.DRIFT_CLEARED:
            self.grounds.pop(data.incident_id, None)
            self.asked.discard(data.incident_id)
            return self._withdraw(event.time_ms)
        if data.kind in MENDED and not data.unconfirmed and data.onset is not None:
            self.grounds[data.incident_id] = Ground(
                incident_id=data.incident_id,
                model_version=data.model_version,
                onset_ms=epoch_ms(msgspec.convert(data.onset, Timestamp)),
                severity=data.severity,
                metric=data.metric,
                money_per_day=data.impact.money_per_day if data.impact else None,
                message=data.message,
            )
        return []

    def _withdraw(self, at_ms: int) -> list[Event]:
        last = self.requests[-1] if self.requests else None
        if last is None or last.state != "requested" or not last.incidents or any(incident in self.grounds for incident in last.incidents):
            return []
        return self._answer("cancelled", "the incidents have cleared", at_ms)

    def _retire(self, until_ms: int, versions: Mapping[str, ModelVersion]) -> list[Event]:
        """Withdraw a request that rests on a forecast when its version is out of service; one of incidents goes with them."""
        last = self.requests[-1] if self.requests else None
        if last is None or last.state != "requested" or last.incidents or last.model_version not in versions:
            return []
        version = versions[last.model_version]
        at_ms = silent_from(
            version.sums.days(),
            since_ms=last.at_ms,
            age_ms=version.ladder.oldest_ms,
            until_ms=until_ms,
            ended=version.watermark_ms == END,
        )
        if at_ms is None:
            return []
        self.moved = True
        return self._answer("cancelled", SILENT, at_ms)

    def _weigh(self, until_ms: int) -> list[Event]:
        """Make the request that falls due by a time, if there is one."""
        if not self.policy.retrain.enabled or (self.requests and self.requests[-1].open):
            return []
        fresh = sorted((g for g in self.grounds.values() if g.incident_id not in self.asked), key=_worst_first)
        together = [tuple(g for g in fresh if g.model_version == name) for name in dict.fromkeys(g.model_version for g in fresh)]
        due: list[tuple[int, int, Case]] = []
        for grounds in (*together, *((ground,) for _, ground in sorted(self.forecasts.items()))):
            case = Case(
                policy=self.policy.retrain,
                grounds=grounds,
                labels=self.labels.get(grounds[0].model_version, LabelHours()),
                asked_ms=self.requests[-1].at_ms if self.requests else None,
            )
            ready = ready_ms(case)
            made_ms = self._made_ms(grounds[0])
            if ready is not None and max(ready, self.since_ms, made_ms) <= until_ms:
                due.append((max(ready, self.since_ms, made_ms), len(due), case))
        return [self._ask(case, at_ms) for at_ms, _, case in sorted(due)[:1]]

    @staticmethod
    def _made_ms(ground: Ground) -> int:
        """Return when a forecast was made: none asks before that."""
        return BEGINNING if ground.forecast is None else ground.forecast.fresh_until_ms - WEEK_MS

    def _ask(self, case: Case, at_ms: int) -> Event:
        worst, incidents = case.grounds[0], tuple(ground.incident_id for ground in case.grounds if ground.forecast is None)
        text = "\0".join((self.model_id, worst.model_version, str(at_ms), *incidents))
        request = Request(
            request_id=hashlib.blake2b(text.encode(), digest_size=8).hexdigest(),
            model_version=worst.model_version,
            at_ms=at_ms,
            incidents=incidents,
            from_ms=case.onset_ms,
            n_labelled=case.labels.count(case.onset_ms, at_ms),
        )
        self.requests, self.moved = [*self.requests, request][-KEPT:], True
        self.asked.update(incidents)
        if case.foreseen:
            self.foreseen.add(worst.model_version)
            self.forecasts.pop(worst.model_version, None)
        gain = "" if case.gain is None else f" The change costs about {case.gain:,.0f} a day."
        since = "it went live" if case.foreseen else "the change"
        more = "" if len(incidents) <= 1 else f" {len(incidents) - 1} more of its incidents are open."
        data = RetrainRequested(
            request_id=request.request_id,
            model_id=self.model_id,
            model_version=request.model_version,
            incidents=list(incidents),
            reason=f"{worst.message}{more}{gain} {request.n_labelled:,} labelled predictions since {since} are there to learn from.",
            data=TrainingData(from_=rfc3339(request.from_ms), to=rfc3339(at_ms), n_labelled=request.n_labelled),
            expected_gain=case.gain,
        )
        return self._event(EventType.RETRAIN_REQUESTED, request, at_ms, data)

    def decide(self, control: Control) -> list[Event]:
        """Take the answer to the open request: body {"decision": "ack" | "done" | "cancel", "request_id": which, if told}."""
        if control.type != ControlType.RETRAIN or not (self.requests and self.requests[-1].open):
            return []
        last, state = self.requests[-1], _ANSWERS.get(str(control.body.get("decision")))
        if state is None or (control.body.get("request_id") or last.request_id) != last.request_id:
            return []
        return self._answer(state, str(control.body.get("reason") or f"cancelled by {control.by}"), epoch_ms(control.at), by=control.by)

    def _answer(self, state: str, reason: str, at_ms: int, *, by: str = "") -> list[Event]:
        request = replace(self.requests[-1], state=state, by=by, answered_ms=at_ms)
        self.requests[-1], self.since_ms = request, max(at_ms, self.since_ms)
        if state != "cancelled":
            return []
        data = RetrainCancelled(
            request_id=request.request_id, model_id=self.model_id, model_version=request.model_version, reason=reason[:1000]
        )
        return [self._event(EventType.RETRAIN_CANCELLED, request, at_ms, data)]

    def _event(self, kind: EventType, request: Request, at_ms: int, data: RetrainRequested | RetrainCancelled) -> Event:
        return Event(
            id=f"{request.request_id}-{kind.value.rpartition('.')[2]}",
            type=kind,
            subject=subject(self.model_id, request.model_version),
            time_ms=at_ms,
            data=data,
        )

    def report(self, version: ModelVersion) -> list[RetrainState] | None:
        """Return the version's latest requests, oldest first."""
        mine = [request for request in self.requests if request.model_version == version.name]
        return [
            RetrainState(
                request_id=request.request_id,
                state=request.state,
                at=rfc3339(request.at_ms),
                by=request.by,
                answered=None if request.answered_ms is None else rfc3339(request.answered_ms),
                incidents=list(request.incidents),
                data=TrainingData(from_=rfc3339(request.from_ms), to=rfc3339(request.at_ms), n_labelled=request.n_labelled),
            )
            for request in mine
        ] or None

    def to_state(self) -> dict[str, Any] | None:
        """Return the state as plain values and bytes."""
        if not (self.labels or self.grounds or self.requests):
            return None
        return {
            "version": STATE_VERSION,
            "labels": {version: labels.to_state() for version, labels in self.labels.items()},
            "grounds": [to_plain(ground) for ground in self.grounds.values()],
            "forecasts": [to_plain(ground) for _, ground in sorted(self.forecasts.items())],
            "looked": sorted(self.looked.items()),
            "foreseen": sorted(self.foreseen),
            "asked": sorted(self.asked),
            "requests": [asdict(request) for request in self.requests],
            "since_ms": self.since_ms,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave.

        Raises
        ------
        ValueError
            If the state is of another version.

        """
        expect_version(state, STATE_VERSION, "a retrain state")
        self.labels = {version: LabelHours.from_state(labels) for version, labels in state["labels"].items()}
        self.grounds = {ground.incident_id: ground for ground in map(of_plain, state["grounds"])}
        self.forecasts = {ground.model_version: ground for ground in map(of_plain, state["forecasts"])}
        self.looked, self.foreseen = dict(state["looked"]), set(state["foreseen"])
        self.asked = set(state["asked"])
        self.requests = [Request(**request | {"incidents": tuple(request["incidents"])}) for request in state["requests"]]
        self.since_ms = state["since_ms"]


def _worst_first(ground: Ground) -> tuple[int, float, int, str]:
    order = list(Severity).index(ground.severity)
    return -order, -(ground.money_per_day or 0.0), ground.onset_ms, ground.incident_id


COMPANION = Retrain
