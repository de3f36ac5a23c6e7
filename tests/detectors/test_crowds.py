"""Which rows lie in which segments, and what of that the sums keep."""

import numpy as np
import pytest
from support.stories import DAY_MS, PREDICTIONS, START_MS

from detectors.panes import FEW
from detectors.watch import Watch
from schemas.scored import Kind, Rows


@pytest.mark.parametrize("n", [4, FEW + 1])
def test_a_day_of_probes_alone_is_no_day_of_the_version(n: int) -> None:
    """Half of the rows are real and of the first day, the others are probes of the second."""
    probe = np.arange(n) % 2
    columns = {
        "kind": bytes([Kind.PREDICTION]) * n,
        "index": np.arange(n, dtype="<i4").tobytes(),
        "predicted_at": (START_MS + probe * DAY_MS).astype("<i8").tobytes(),
        "score": np.full(n, 0.5).tobytes(),
        "probe": probe.astype("<u2").tobytes(),
    }
    watch = Watch()
    watch.apply(Rows("m", [PREDICTIONS], n, columns, versions=["1"], texts=["", "planted"]))
    sums = watch.models["m"]["1"].sums
    assert sums.days().tolist() == [START_MS // DAY_MS]
    assert sums.active(START_MS, START_MS + DAY_MS)
    assert not sums.active(START_MS + DAY_MS, START_MS + 2 * DAY_MS)
