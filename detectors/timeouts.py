"""Labels by timeout, as arithmetic: past the horizon, predictions without a label count as negatives."""

import numpy as np
import numpy.typing as npt

from detectors.cells import BIN, KNOWN, MADE
from detectors.fixed import Ints, carry

# what a negative label adds: sum of KNOWN -> sum of MADE over the unlabelled; taken off: the same sum over the labelled
_TWINS = (("brier", "score_squared"), ("loss", "loss_negative"), ("score_squared", "score_squared"), ("loss_negative", "loss_negative"))


def time_out(made: Ints, known: Ints, made_bins: Ints, known_bins: Ints) -> tuple[Ints, Ints]:
    """Return ``known`` and ``known_bins`` with every unlabelled prediction as a negative; shapes as in ``Reading``.

    Unlabelled is what was predicted less what was labelled, so there is no timer and nothing is scanned, and a label that comes late
    corrects itself. Binary labels only: a segment that holds any other prediction is left as it is. Additive, mergeable, revertible.

    >>> from detectors.cells import CONFUSION
    >>> made, known, bins = MADE.zeros(1), KNOWN.zeros(1), np.zeros((1, 20, BIN.width), dtype=np.int64)
    >>> made[0, [MADE.at[name] for name in ("n", "positive", "negative", "binary")]] = 5, 2, 3, 5
    >>> known[0, KNOWN.at["tp"]] = 1
    >>> timed_out, _ = time_out(made, known, bins, bins)
    >>> timed_out[0, [KNOWN.at[name] for name in CONFUSION]].tolist()
    [1, 1, 3, 0]
    """
    k, m = KNOWN.at, MADE.at
    out, bins = known.copy(), known_bins.copy()
    binary = all_binary(made)
    for decided, right, wrong, false in (("positive", "tp", "fp", "fp"), ("negative", "tn", "fn", "tn")):
        unlabelled = np.where(binary, made[:, m[decided]] - known[:, k[right]] - known[:, k[wrong]], 0)
        out[:, k[false]] += unlabelled
        out[:, k[f"matrix_{false}"]] += unlabelled
        for limb in (0, 1):
            amount = made[:, m[f"amount_{decided}"] + limb] - known[:, k[f"amount_{right}"] + limb] - known[:, k[f"amount_{wrong}"] + limb]
            out[:, k[f"amount_{false}"] + limb] += np.where(binary, amount, 0)
            out[:, k[f"matrix_amount_{false}"] + limb] += np.where(binary, amount, 0)
    out[:, k["scored"]] = np.where(binary, made[:, m["scored"]], known[:, k["scored"]])
    for limb in (0, 1):
        out[:, k["score"] + limb] = np.where(binary, made[:, m["score"] + limb], known[:, k["score"] + limb])
        for name, twin in _TWINS:
            unlabelled = made[:, m[twin] + limb] - known[:, k[twin] + limb]
            out[:, k[name] + limb] += np.where(binary, unlabelled, 0)
    for name in ("n", "score"):
        columns = [BIN.at[name]] if name == "n" else [BIN.at[name], BIN.at[name] + 1]
        bins[:, :, columns] = np.where(binary[:, np.newaxis, np.newaxis], made_bins[:, :, columns], known_bins[:, :, columns])
    return carry(out, KNOWN.first_high), carry(bins, BIN.first_high)


def all_binary(made: Ints) -> npt.NDArray[np.bool_]:
    """Say of each row of ``cells.MADE`` whether every prediction in it that was not abstained expects a label of 0 or 1."""
    m = MADE.at
    return np.asarray(made[:, m["binary"]] == made[:, m["positive"]] + made[:, m["negative"]])
