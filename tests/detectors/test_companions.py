"""What a companion is told, and what becomes of what it says."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from detectors import companions, model_companions
from detectors.companions import Companion
from detectors.fixed import Ints
from detectors.model_version import ModelVersion
from detectors.watch import Watch
from schemas.control import Control, ControlType
from schemas.findings import Event, EventType
from schemas.policy_models import ModelPolicy
from schemas.retrain import RetrainCancelled
from schemas.scored import Forwarded, Kind, Origin, Rows, Tick
from streams.checkpoint_pack import Packer, Position, unpack

P, Q, C = Origin("predictions", "x", 0), Origin("outcomes", "y", 0), Origin("control", "z", 0)


class Counter(Companion):
    """Counts rows, and says so when the watermark moves."""

    name = "counter"

    def __init__(self, model_id: str, policy: ModelPolicy) -> None:
        super().__init__(model_id, policy)
        self.rows, self.acks = 0, 0

    def add(self, rows: Rows, where: Ints) -> None:
        """Count."""
        self.rows += len(where)

    def advance(self, watermark_ms: int, versions: Mapping[str, ModelVersion], found: Sequence[Event]) -> list[Event]:
        """Say."""
        data = RetrainCancelled(request_id="r", model_id=self.model_id, model_version=min(versions), reason=f"{self.rows} rows")
        return [Event(id="e", type=EventType.RETRAIN_CANCELLED, subject="m/1", time_ms=watermark_ms, data=data)]

    def decide(self, control: Control) -> list[Event]:
        """Count."""
        self.acks += 1
        return []

    def weight(self, due_ms: int) -> float:
        """Take a quarter."""
        return 0.25

    def to_state(self) -> dict[str, Any] | None:
        """Keep both."""
        return {"rows": self.rows, "acks": self.acks}

    def load(self, state: dict[str, Any]) -> None:
        """Take both back."""
        self.rows, self.acks = state["rows"], state["acks"]


@pytest.fixture(autouse=True)
def _one_companion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_companions, "discover", lambda: {"counter": Counter})


def _rows(n: int, version: str = "1") -> Rows:
    columns = {"kind": bytes([Kind.PREDICTION]) * n, "score": np.full(n, 0.5).tobytes(), "offset": np.arange(n, dtype="<i8").tobytes()}
    return Rows("m", [P], n, columns, versions=[version])


def _told(watch: Watch) -> Counter:
    member = watch.companions["m"].members["counter"]
    assert isinstance(member, Counter)
    return member


def test_it_sees_fresh_rows_of_every_version_once() -> None:
    watch = Watch()
    for _ in range(2):
        watch.apply(_rows(3))
    assert _told(watch).rows == 3


def test_what_it_finds_goes_out_and_is_counted() -> None:
    watch = Watch(statistics_every_ms=None)
    watch.apply(_rows(2))
    found = watch.apply(Tick({"predictions": 1, "outcomes": 1}, [(P, 100_000), (Q, 90_000)]))
    assert [event.data.reason for event in found if isinstance(event.data, RetrainCancelled)] == ["2 rows"]
    assert found[0].time_ms == 90_000 - watch.policy.for_model("m").lateness_ms
    assert watch.events == {"gnomon.retrain.cancelled": 1}


def test_the_banks_share_what_it_leaves_of_the_budget() -> None:
    watch = Watch()
    watch.apply(_rows(1))
    assert watch._model("m").share("1")(0) == 0.75


def test_it_hears_what_people_decide() -> None:
    watch = Watch()
    watch.apply(_rows(1))
    ack = b'{"type":"ack","by":"ada","at":0,"incident_id":"i","model_id":"%b"}'
    watch.apply(Forwarded(C, 0, 0, ack % b"m"))
    watch.apply(Forwarded(C, 1, 0, ack % b"other"))
    assert _told(watch).acks == 1
    assert ControlType.ACK == "ack"


def test_its_state_is_in_the_checkpoint() -> None:
    watch = Watch()
    watch.apply(_rows(3))
    saved = unpack(Packer().pack(watch, Position("scored", 1, 0)))
    assert saved is not None
    assert _told(saved.watch).rows == 3
    assert list(saved.watch.models["m"]) == ["1"]
    assert saved.watch.state_of("m", "") == watch.state_of("m", "") == {"counter": {"rows": 3, "acks": 0}}


def test_a_checkpoint_leaves_out_what_has_not_changed() -> None:
    watch = Watch(statistics_every_ms=None)
    watch.apply(_rows(2))
    watch.changed.clear()
    assert _told(watch).moved  # a companion that does not say otherwise
    watch.apply(Tick({"predictions": 1, "outcomes": 1}, [(P, 100_000), (Q, 90_000)]))
    assert ("m", "") in watch.changed
    watch.changed.clear()
    _told(watch).moved = False
    watch.apply(Tick({"predictions": 1, "outcomes": 1}, [(P, 110_000), (Q, 95_000)]))
    assert ("m", "") not in watch.changed


def test_a_state_of_an_unknown_companion_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of the companions counter, got 'other'"):
        model_companions.ModelCompanions("m", ModelPolicy()).load({"other": {}})


def test_modules_of_the_folder_are_found(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one_more.py").write_text("from tests_companion_probe import COMPANION\n")
    (tmp_path / "tests_companion_probe.py").write_text("")
    monkeypatch.setattr(companions, "__path__", [str(tmp_path)])
    monkeypatch.syspath_prepend(str(tmp_path))
    module = type(companions)("tests_companion_probe")
    module.COMPANION = Counter  # type: ignore[attr-defined]
    import sys

    monkeypatch.setitem(sys.modules, "tests_companion_probe", module)
    companions.discover.cache_clear()
    try:
        assert companions.discover() == {"counter": Counter}
    finally:
        companions.discover.cache_clear()
        sys.modules.pop("detectors.companions.one_more", None)
        sys.modules.pop("detectors.companions.tests_companion_probe", None)
