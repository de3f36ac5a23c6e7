"""The watch: a fold over one scored partition. (state, record) → (state, findings).

It reads no clock, no random number and no setting that did not arrive as a record, so that a replay gives the same state and the same
findings, byte for byte.
"""

from bisect import insort
from collections import Counter
from functools import partial
from typing import Any

import msgspec
import numpy as np

from detectors.control_desk import decide
from detectors.fatigue.alarms import OwnAlarms
from detectors.fixed import Ints
from detectors.ledger import Ledger
from detectors.many_sums import add_lots
from detectors.model_companions import COMPANIONS, ModelCompanions
from detectors.model_version import ModelVersion
from detectors.news import EVERY_MS, News
from detectors.panes import END
from detectors.read_together import read_together
from detectors.segment_figures import statistics_events
from detectors.segments import OTHER
from detectors.sources import Sources
from detectors.state_version import expect_version
from detectors.watched_model import WatchedModel
from schemas.control import Control
from schemas.findings import Event
from schemas.policy import Policy, parse_policy
from schemas.reference import Reference, read_reference
from schemas.scored import Forwarded, Kind, Rows, Scored, Status, Tick

STATE_VERSION = 11
LIVE_SCORES = 4_096  # distinct scores that the AUC counts exactly
REPLAY_SCORES = 65_536
MAX_MODELS = 1_000  # in a scored partition
AT_ONCE = 256  # models that are counted and read together
_COUNT, _COUNTS = int(Kind.COUNT), bytes([Kind.COUNT])  # of a message without kinds all rows are such
MAX_REFERENCES = 32  # that wait for their version


class Watch:
    r"""All models of one scored partition.

    Parameters
    ----------
    distinct_scores
        How many distinct scores per model version the AUC counts exactly.
    statistics_every_ms
        The least time between two statistics events of a model version, by the clock that ticks carry; None: none are made.

    Examples
    --------
    >>> from schemas.scored import Origin
    >>> watch = Watch()
    >>> origin = Origin("predictions", "x", 0)
    >>> rows = Rows("m", [origin], 1, {"kind": b"\x01", "status": b"\x01", "score": np.array([0.7]).tobytes()}, versions=["1"])
    >>> watch.apply(rows), watch.apply(rows)  # the second delivery is below the mark
    ([], [])
    >>> watch.models["m"]["1"].sums.tables["total_made"].rows[0, 0]
    np.int64(1)

    """

    def __init__(self, *, distinct_scores: int = LIVE_SCORES, statistics_every_ms: int | None = EVERY_MS) -> None:
        self.distinct_scores = distinct_scores
        self.policy = Policy()
        self._models: dict[str, WatchedModel] = {}
        self._ordered: list[WatchedModel] = []  # by name
        self.changed: set[tuple[str, str]] = set()  # versions, and companions of a model, since the last checkpoint
        self.counts: dict[str, Ints] = {}  # by model: records by status
        self.events: Counter[str] = Counter()
        self.alarms = OwnAlarms()
        self.ledger = Ledger()  # the audit trail; who folds takes its lines after each record
        self.sources = Sources()
        self.references: dict[tuple[str, str], Reference] = {}  # by model and version, of versions to come; version "": of all
        self.clock_ms = -END  # of the workers that write ticks
        self.news = News(statistics_every_ms)

    @property
    def models(self) -> dict[str, dict[str, ModelVersion]]:
        """All versions, by model and name."""
        return {model_id: model.versions for model_id, model in self._models.items()}

    @property
    def companions(self) -> dict[str, ModelCompanions]:
        """The companions by model."""
        return {model_id: model.companions for model_id, model in self._models.items()}

    def n_versions(self) -> int:
        """Return how many versions there are; from any thread."""
        return sum(len(model.unsettled()[0]) for model in list(self._models.values()))

    def apply(self, record: Scored) -> list[Event]:
        """Fold one record; return what it lets the watch find.

        Raises
        ------
        SourceRecreatedError
            If a source topic has another id than before.

        """
        if isinstance(record, Rows):
            self._rows(record)
            return []
        found = self._tick(record) if isinstance(record, Tick) else self._control(record)
        return self._tell(found)

    def close(self) -> list[Event]:
        """Move the watermark to the end of time: nothing more will come, so every rung is read."""
        found = self._advance(None)
        return self._tell(found)

    def _tell(self, found: list[Event]) -> list[Event]:
        self.events.update(event.type.value for event in found)
        self.alarms.add(found)
        self.ledger.found(found, [each for model in self._ordered if model.stirred for each in model.baselines()])
        return found

    def _rows(self, rows: Rows) -> None:
        where = self.sources.fresh(rows)
        if not len(where):
            return
        counted = rows.model_id if rows.model_id in self.counts or len(self.counts) <= MAX_MODELS else OTHER
        counts = self.counts.setdefault(counted, np.zeros(len(Status), dtype=np.int64))
        whole = len(where) == rows.n
        status = (rows.column("status") if whole else rows.column("status")[where]).astype(np.int64)
        if "count" in rows.columns:
            np.add.at(counts, status, rows.column("count")[where].astype(np.int64))  # of one type: ten times as fast
        else:
            np.add.at(counts, status, 1)
        if _COUNT in rows.columns.get("kind", _COUNTS):
            where = where[rows.column("kind")[where] != Kind.COUNT]
        if len(where):
            model = self._model(rows.model_id)
            for name in model.add(rows, where, whole=whole):
                self.news.add((model.model_id, name))

    def _model(self, model_id: str) -> WatchedModel:
        """Return a model, new or known; models past the cap share one, so that made-up ids cannot fill the memory."""
        if model_id not in self._models and len(self._models) >= MAX_MODELS:
            model_id = OTHER
        if model_id not in self._models:
            policy = self.policy.for_model(model_id)
            reference = partial(self._reference, model_id)
            model = self._models[model_id] = WatchedModel(model_id, policy, self.distinct_scores, reference, self.changed)
            insort(self._ordered, model, key=lambda each: each.model_id)
        return self._models[model_id]

    def _reference(self, model_id: str, name: str) -> Reference | None:
        return self.references.pop((model_id, name), self.references.get((model_id, "")))

    def _tick(self, tick: Tick) -> list[Event]:
        self.sources.tick(tick)
        self.clock_ms = max(self.clock_ms, tick.at_ms)
        time = self.sources.time_ms()
        if time is None:
            return []
        found = self._advance(time)
        told = self.news.due(self.clock_ms)
        add_lots([lot for model_id, _ in told for lot in self._models[model_id].lend()])
        due = [self._models[model_id].counted(name) for model_id, name in told]
        return found + statistics_events(due, time)

    def _advance(self, time_ms: int | None) -> list[Event]:
        found: list[Event] = []
        watermarks = [END if time_ms is None else time_ms - model.policy.lateness_ms for model in self._ordered]
        every = list(zip(self._ordered, watermarks, strict=True))
        for begin in range(0, len(every), AT_ONCE):
            some = every[begin : begin + AT_ONCE]
            add_lots([lot for model, watermark_ms in some for lot in model.lend(watermark_ms)])
            read_together([each for model, watermark_ms in some for each in model.stepping(watermark_ms)])
            for model, watermark_ms in some:
                found += model.advance(watermark_ms)
        return sorted(found, key=lambda event: event.time_ms)  # however far the watermark has jumped

    def _control(self, forwarded: Forwarded) -> list[Event]:
        if not self.sources.is_new(forwarded):
            return []
        control = msgspec.json.decode(forwarded.record, type=Control)
        self.alarms.heed(control)
        for model in self._models.values():
            model.wake()
        return decide(self, control)

    def use(self, policy: Policy) -> list[Event]:
        """Follow another policy from here on; return the events of incidents that it closes."""
        self.policy = policy
        found: list[Event] = []
        for model_id, model in sorted(self._models.items()):
            found += model.use(policy.for_model(model_id))
        return found

    def ship(self, model_id: str, reference: Reference, at_ms: int) -> None:
        """Give a version the baselines of a reference set, kept until it comes; where none is named, all that have none of their own."""
        named = reference.model_version
        versions = self._models[model_id].versions if model_id in self._models else {}
        for name, version in versions.items():
            own = version.bank.shipped is not None and version.bank.shipped.reference.model_version is not None
            if name == named or (named is None and not own):
                version.ship(reference, at_ms)
                self.changed.add((model_id, name))
        if named is None or named not in versions:
            self.references.pop((model_id, named or ""), None)
            self.references[model_id, named or ""] = reference
            for oldest in list(self.references)[:-MAX_REFERENCES]:
                del self.references[oldest]

    def forget_references(self, model_id: str | None) -> None:
        """Forget what was shipped for versions to come of a model; None: of all."""
        self.references = {place: each for place, each in self.references.items() if model_id not in (None, place[0])}

    def share(self, model_id: str, name: str) -> float:
        """Return a version's part of its model's budget now."""
        model = self._models[model_id]
        return model.share(name)(model.versions[name].watermark_ms)

    def withheld(self) -> int:
        """Return how many events a snooze has kept back since this object was made; never part of the state."""
        parts = [model.unsettled() for model in self._models.values()]
        own = sum(version.incidents.withheld for versions, _ in parts for version in versions.values())
        return own + sum(companions.withheld() for _, companions in parts)

    def count(self) -> None:
        """Count the rows that wait, of all models that have changed in one go; each does so by itself where its state is asked for."""
        changed = sorted({model_id for model_id, _ in self.changed})
        add_lots([lot for model_id in changed for lot in self._models[model_id].lend()])

    def counted(self) -> dict[str, dict[str, ModelVersion]]:
        """Return all versions, by model and name, for who looks at them alone: what is watched beside them may still have rows to count."""
        self.count()
        return {model_id: model.counted_versions() for model_id, model in self._models.items()}

    def state_of(self, model_id: str, name: str) -> dict[str, Any]:
        """Return the state of a model version, or of a model's companions (``COMPANIONS``), as plain values and bytes."""
        model = self._models[model_id]
        return model.companions.to_state() if name == COMPANIONS else model.versions[name].to_state()

    def head_state(self) -> dict[str, Any]:
        """Return all of the state but the model versions, as plain values and bytes; versioned."""
        return {
            "version": STATE_VERSION,
            "policy": self.policy.toml,
            "counts": {model: counts.astype("<i8").tobytes() for model, counts in self.counts.items()},
            "events": dict(self.events),
            "alarms": self.alarms.to_state(),
            "sources": self.sources.to_state(),
            "clock_ms": self.clock_ms,
            "watermarks": [
                [model_id, name, model.watermark_of(version)]
                for model_id, model in sorted(self._models.items())
                for name, version in sorted(model.unsettled()[0].items())
            ],
            "ledger": self.ledger.to_state(),
            "references": [[*place, msgspec.to_builtins(each)] for place, each in self.references.items()],
            "news": self.news.to_state(),
        }

    def load(self, head: dict[str, Any], versions: dict[tuple[str, str], dict[str, Any]]) -> None:
        """Take back the state: ``head_state``, and ``state_of`` each version and each model's companions.

        Raises
        ------
        ValueError
            If the state is of another version.

        """
        expect_version(head, STATE_VERSION, "a watch's state")
        self.policy = parse_policy(head["policy"])
        self.counts = {model: np.frombuffer(counts, dtype="<i8").astype(np.int64) for model, counts in head["counts"].items()}
        self.events = Counter(head["events"])
        self.alarms = OwnAlarms.from_state(head["alarms"])
        self.sources.load(head["sources"])
        self.clock_ms = head["clock_ms"]
        self.ledger.load(head["ledger"])
        self.references = {(model, name): read_reference(each) for model, name, each in head["references"]}
        self.news.load(head["news"])
        for (model_id, name), state in versions.items():
            self._model(model_id).load(name, state)
        for model_id, name, watermark_ms in head["watermarks"]:
            self._models[model_id].take_back_time(name, watermark_ms)
