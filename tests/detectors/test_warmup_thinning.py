"""Large panes are thinned for River's detectors: bounded work, and no rate is rounded away."""

import pytest

from detectors.river.drift import RiverWatch
from detectors.warmup import WarmUp


@pytest.mark.parametrize("ones", [3, 50, 997])
def test_thinning_keeps_the_rate(ones: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fed = []
    monkeypatch.setattr(RiverWatch, "step", lambda self, n, x: bool(fed.append((n, x))))
    warm_up = WarmUp()
    for _ in range(1_000):
        warm_up.step(("error", 1), 1_000, ones, detector="adwin", parameters={})
    assert max(n for n, _ in fed) == 100
    assert sum(x for _, x in fed) / sum(n for n, _ in fed) == pytest.approx(ones / 1_000, abs=2e-5)


def test_what_is_carried_survives_a_restart() -> None:
    warm_up, other = WarmUp(), WarmUp()
    for _ in range(7):
        warm_up.step(("error", 1), 1_000, 3, detector="adwin", parameters={})
    other.load(warm_up.to_state())
    for each in (warm_up, other):
        each.step(("error", 1), 1_000, 3, detector="adwin", parameters={})
    assert other.to_state() == warm_up.to_state()
    assert 0 < warm_up.carried["error", 1] < 1
