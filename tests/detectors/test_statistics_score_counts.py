"""Labels per distinct score: exactness, batches, merging, the cap, bytes."""

import operator

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from detectors import dense_counts
from detectors.statistics.auc import auc
from detectors.statistics.score_counts import ScoreCounts


def events(n, seed, decimals=None):
    rng = np.random.default_rng(seed)
    score = rng.beta(2, 3, n)
    if decimals is not None:
        score = score.round(decimals)
    label = (rng.random(n) < score).astype(int)
    segment = np.stack([np.zeros(n, int), rng.integers(1, 4, n), np.where(rng.random(n) < 0.3, 9, -1)], axis=1)
    return segment, score, label


def area(counts, segment):
    one = counts.distribution(segment)
    return float(auc(one.n0, one.n1))


@pytest.mark.parametrize("decimals", [1, 2, None])
def test_agrees_with_a_pairwise_reference(decimals):
    segment, score, label = events(800, 1, decimals)
    counts = ScoreCounts()
    counts.update_many(segment, score, label)
    for s in (0, 1, 2, 3, 9):
        of = (segment == s).any(axis=1)
        p, y = score[of], label[of]
        gaps = p[y == 1][:, None] - p[y == 0][None, :]
        slow = ((gaps > 0) + 0.5 * (gaps == 0)).mean()
        assert area(counts, s) == pytest.approx(slow, abs=1e-12)
        assert area(counts, s) == pytest.approx(roc_auc_score(y, p), abs=1e-12)


@pytest.mark.parametrize("cap", [50, 300, 65_536])
def test_batches_do_not_matter_even_where_cells_take_over(cap):
    segment, score, label = events(1000, 2)
    whole, parts = ScoreCounts(cap, 20), ScoreCounts(cap, 20)
    whole.update_many(segment, score, label)
    for start, stop in [(0, 1), (1, 40), (40, 333), (333, 333), (333, 1000)]:
        parts.update_many(segment[start:stop], score[start:stop], label[start:stop])
        parts.distribution(0)  # reading changes nothing
    assert whole.exact == parts.exact == (cap >= 1000)
    assert whole.to_bytes() == parts.to_bytes()


def test_exact_counts_merge_and_revert_in_any_order():
    segment, score, label = events(600, 3, 3)
    whole, left, right = ScoreCounts(), ScoreCounts(), ScoreCounts()
    whole.update_many(segment, score, label)
    order = np.random.default_rng(0).permutation(600)
    left.update_many(segment[order[:200]], score[order[:200]], label[order[:200]])
    right.update_many(segment[order[200:]], score[order[200:]], label[order[200:]])
    left += right
    assert left.to_bytes() == whole.to_bytes()
    whole.update_many(segment[order[:200]], score[order[:200]], 1 - label[order[:200]])
    whole.update_many(segment[order[:200]], score[order[:200]], 1 - label[order[:200]], sign=-1)
    assert left.to_bytes() == whole.to_bytes()


def test_cells_are_close_to_exact_and_hold_every_event():
    segment, score, label = events(40_000, 4)
    exact, cells = ScoreCounts(), ScoreCounts(4096)
    exact.update_many(segment, score, label)
    cells.update_many(segment, score, label)
    assert exact.exact
    assert not cells.exact
    for s in (0, 1, 9):
        assert area(cells, s) == pytest.approx(area(exact, s), abs=5e-4)
        for name in ("n0", "n1"):
            assert getattr(cells.distribution(s), name).sum() == getattr(exact.distribution(s), name).sum()
    filled = cells.distribution(0)
    assert (filled.n0 + filled.n1).max() < 4 * 40_000 / 1000  # four events fix the edges of a cell, so masses scatter


@pytest.mark.parametrize("n", [100, 6000])
def test_bytes_keep_the_state_mid_stream(n):
    segment, score, label = events(8000, 5)
    straight, saved = ScoreCounts(4096), ScoreCounts(4096)
    straight.update_many(segment[:n], score[:n], label[:n])
    saved.update_many(segment[:n], score[:n], label[:n])
    saved = ScoreCounts.from_bytes(saved.to_bytes())
    for counts in (straight, saved):
        counts.update_many(segment[n:], score[n:], label[n:])
    assert saved.to_bytes() == straight.to_bytes()


def test_merging_cells_keeps_every_event():
    segment, score, label = events(9000, 6)
    halves = [ScoreCounts(1000, 50) for _ in range(2)]
    for half, part in zip(halves, (slice(0, 5000), slice(5000, 9000)), strict=True):
        half.update_many(segment[part], score[part], label[part])
    small = ScoreCounts(1000, 50)
    small.update_many(segment[:10], score[:10], label[:10])
    small += halves[0]
    small += halves[1]
    both = small.distribution(0)
    assert (both.n0 + both.n1).sum() == 9010
    assert float(auc(both.n0, both.n1)) == pytest.approx(roc_auc_score(label, score), abs=0.02)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_a_bad_score_is_refused_and_the_state_kept(bad):
    counts = ScoreCounts()
    counts.update_many([0, 0], [0.2, 0.4], [0, 1])
    before = counts.to_bytes()
    with pytest.raises(ValueError, match="expected a score within"):
        counts.update_many([0, 0], [0.3, bad], [0, 1])
    assert counts.to_bytes() == before


def test_bad_bytes_and_other_caps_are_refused():
    with pytest.raises(ValueError, match="expected counts that start with"):
        ScoreCounts.from_bytes(b"pickle")
    with pytest.raises(ValueError, match="cap"):
        operator.iadd(ScoreCounts(10), ScoreCounts(11))


def test_minus_zero_is_zero():
    counts = ScoreCounts()
    counts.update_many([0, 0], [0.0, -0.0], [0, 1])
    assert len(counts.distribution(0).n0) == 1


def test_scores_taken_back_leave_room():
    counts = ScoreCounts(cap=10)
    for i in range(100):
        if i >= 10:
            counts.update_many([0], [(i - 10) / 100], [i % 2], sign=-1)
        counts.update_many([0], [i / 100], [i % 2])
    assert counts.exact
    assert counts.distribution(0).scores.tolist() == [i / 100 for i in range(90, 100)]
    counts.update_many([0], [0.999], [1])
    assert not counts.exact


def test_the_areas_of_billions_of_labels_do_not_overflow() -> None:
    """Doubled until the pairs of a negative and a positive are more than an integer holds: the area stays what it was."""
    counts = ScoreCounts(cap=10)
    counts.update_many([[0, 1]] * 3, [0.2, 0.8, 0.8], [0, 1, 0])
    counts.update_many([2, 2], [0.2, 0.8], [0, 1])
    before = counts.areas(np.arange(3)).tolist()
    for _ in range(40):
        counts += ScoreCounts.from_bytes(counts.to_bytes())
        assert counts.areas(np.arange(3)).tolist() == before
    assert before == [0.75, 0.75, 1.0]


@pytest.mark.parametrize("cap", [300, 65_536])
def test_dense_counts_say_what_a_table_does(cap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """New segments, new scores, labels taken back and merged halves, looked at on the way; beyond the cap, and below it."""
    rng = np.random.default_rng(8)
    segment, score, label = events(12_000, 7, 2 if cap > 4096 else 3)
    segment[segment == 9] = 4
    segment[6000:, 1] = np.where(rng.random(6000) < 0.3, 5, segment[6000:, 1])
    dense, table = ScoreCounts(cap, 200), ScoreCounts(cap, 200)
    asked, were_dense = np.arange(9), 0

    def both(do):
        nonlocal were_dense
        do(dense)
        areas = dense.areas(asked).tolist()
        were_dense += dense._dense is not None
        with monkeypatch.context() as patch:
            patch.setattr(dense_counts, "_MOST", 0)
            do(table)
            assert table.areas(asked).tolist() == pytest.approx(areas, abs=0, nan_ok=True)
            assert table._dense is None
            told = table.distributions(range(9))
            state = table.to_bytes()
        for one, other in zip(dense.distributions(range(9)), told, strict=True):
            assert one.n0.tolist() == other.n0.tolist()
            assert one.n1.tolist() == other.n1.tolist()
        assert dense.to_bytes() == state

    for begin in range(0, 12_000, 1500):
        mine = slice(begin, begin + 1500)
        both(lambda counts, mine=mine: counts.update_many(segment[mine], score[mine], label[mine]))
        mine = slice(begin, begin + 700)
        both(lambda counts, mine=mine: counts.update_many(segment[mine], score[mine], label[mine], sign=-1))
    other = ScoreCounts.from_bytes(table.to_bytes())
    both(lambda counts: counts.__iadd__(other))
    assert were_dense
    assert dense.exact == (cap == 65_536)
