"""Which rows are new: few or many, the marks are the same."""

import numpy as np
import pytest
from support.stories import OUTCOMES, PREDICTIONS

from detectors import sources
from detectors.sources import Sources
from schemas.scored import COLUMNS, Origin, Rows

ORIGINS = [OUTCOMES, PREDICTIONS, Origin("predictions", PREDICTIONS.topic_id, 1)]


def test_a_walk_through_few_rows_finds_what_columns_find(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    walked, by_columns = Sources(), Sources()
    for step in range(300):
        n = int(rng.integers(1, 10))
        origins = [ORIGINS[i] for i in rng.permutation(3)[: rng.integers(1, 4)]]
        columns = {
            "origin": rng.integers(0, len(origins), n),
            "offset": step // 4 + rng.integers(0, 3, n),  # some come again, some in another order than theirs
            "index": rng.integers(0, 3, n),
        }
        packed = {name: column.astype(COLUMNS[name][0]).tobytes() for name, column in columns.items()}
        rows = Rows(f"m{rng.integers(2)}", origins, n, packed)
        found = walked.fresh(rows)
        with monkeypatch.context() as patch:
            patch.setattr(sources, "_FEW", 0)
            assert by_columns.fresh(rows).tolist() == found.tolist()
        assert list(walked.marks.items()) == list(by_columns.marks.items())
