"""What is said of two versions of a model that answered the same requests: rates, scores, their difference, and the sentence.

References
----------
Waudby-Smith et al., Annals of Statistics 52 (2024): the interval of the difference.

"""

import math
from dataclasses import replace

import numpy as np

from detectors.baselines.wilson import half_width, wilson
from detectors.bets.pairs import deviation
from detectors.error_cells import ROW_ENDS, ROWS
from detectors.families import BRIER
from detectors.fixed import Ints
from detectors.incident_events import CLEARED, IncidentEvent, day, percent, span
from detectors.pair_panes import PAIR, SIZES
from detectors.signals import Estimate


def worded(event: IncidentEvent, model_id: str, name: str, sums: Ints, sizes: tuple[Ints, Ints]) -> IncidentEvent:
    """Return an event that says which version is better, by how much, on how many outcomes.

    Parameters
    ----------
    event
        Of an incident of kind ``challenger``; its metric names the rival.
    model_id, name
        Which version of which model it is about.
    sums
        Since the day of its onset, in the layout ``PAIR``, shape (width,). Without any the event stays as it is.
    sizes
        Of numbers since then, as ``size_difference`` takes them.

    """
    kind, _, rival = event.metric.partition(":")
    n, scored = (max(int(sums[PAIR.at[count]]), 0) for count in ("n", "scored"))
    if not n or (kind == BRIER and not scored):
        return event
    numbers = 2 * int(sums[PAIR.at["numbers"]]) > n
    about = f"requests since {day(event.onset_ms)} that both answered"
    age = f"read at age {span(round(event.age_s * 1000))}"
    rates = _rate(n, float(sums[PAIR.at["wrong"]])), _rate(n, float(sums[PAIR.at["rival_wrong"]]))
    if kind == BRIER:
        own, theirs = (_rate(scored, float(PAIR.total(sums, loss))) for loss in ("loss", "rival_loss"))
        gap = brier_difference(sums)
        about = (
            f"its Brier score is {_score(own)}, the champion's {_score(theirs)}, in {scored:,} {about} with a score, {age}; "
            f"the difference is {gap.value:+.4f} ({gap.lo:+.4f} to {gap.hi:+.4f}). "
            f"{percent(rates[0])} of its answers were wrong, of the champion's {percent(rates[1])}"
        )
        better, worse = f"has better scores than the champion {rival}", f"has worse scores than the champion {rival}"
    else:
        own, theirs = rates
        gap = difference(sums)
        what = "numbers were further from the truth than the other's" if numbers else "answers were wrong"
        about = (
            f"{percent(own)} of its {what}, of the champion's {percent(theirs)}, in {n:,} {about}, {age}; "
            f"the difference is {100 * gap.value:+.2f} points ({100 * gap.lo:+.2f} to {100 * gap.hi:+.2f})"
        )
        where = ("closer to the truth", "further from the truth") if numbers else ("better", "worse")
        better, worse = (f"is {word} than the champion {rival}" for word in where)
        if (by := size_difference(*sizes)) is not None:
            off, its, more = by
            about += (
                f"; its mean absolute error is {off:.3g}, the champion's {its:.3g}, "
                f"the difference {more.value:+.3g} ({more.lo:+.3g} to {more.hi:+.3g})"
            )
    who = f"Version {name} of {model_id}"
    if event.event == CLEARED:
        said = f"{who} and the champion {rival} no longer differ as they did: {about}."
    else:
        said = f"{who} {better if event.direction == 'down' else worse}: {about}. {_advice(event.direction, kind, sums, sizes)}"
    because = f" {event.why[0].upper()}{event.why[1:]}." if event.why else ""
    return replace(event, baseline=theirs, current=own, message=said + because)


def _advice(direction: str, kind: str, sums: Ints, sizes: tuple[Ints, Ints]) -> str:
    """Say what to do about a version that is better or worse by one figure; by the other it may be the other way round."""
    by = size_difference(*sizes)
    if by is not None and (by[2].lo > 0 if direction == "down" else by[2].hi < 0):
        return f"Its errors are {'larger' if direction == 'down' else 'smaller'} on average, though: look at its largest ones."
    errs = difference(sums)
    scores = brier_difference(sums) if sums[PAIR.at["scored"]] > 0 else Estimate(0.0, 0.0, 0.0, 0)
    other = errs if kind == BRIER else scores
    if direction == "down" and other.lo > 0:
        return "It errs more, though: look at its threshold." if kind == BRIER else "Its scores are worse, though: calibrate them first."
    if direction == "up" and other.hi < 0:
        return "It errs less, though: calibrate its scores." if kind == BRIER else "Its scores are better, though: look at its threshold."
    return "Consider it in the champion's place." if direction == "down" else "Keep the champion."


def difference(sums: Ints) -> Estimate:
    """Return by how much the error rate is above the rival's, with a 95 % interval that may be looked at at any time.

    >>> sums = PAIR.zeros(1)[0]
    >>> sums[[PAIR.at["n"], PAIR.at["alone"], PAIR.at["rival_alone"]]] = 10_000, 200, 400
    >>> [round(x, 4) for x in difference(sums)[:3]]
    [-0.02, -0.0282, -0.0118]
    """
    n, alone, other = (float(sums[PAIR.at[name]]) for name in ("n", "alone", "rival_alone"))
    return _mean(n, alone - other, alone + other)


def brier_difference(sums: Ints) -> Estimate:
    """Return by how much the Brier score is above the rival's, likewise."""
    total = float(PAIR.total(sums, "loss")) - float(PAIR.total(sums, "rival_loss"))
    return _mean(float(sums[PAIR.at["scored"]]), total, float(PAIR.total(sums, "squares")))


def size_difference(rows: Ints, sums: Ints) -> tuple[float, float, Estimate] | None:
    """Return two versions' mean absolute errors and by how much the first is above the other, likewise; None: no numbers are known.

    Parameters
    ----------
    rows, sums
        The rows of errors that hold any, ascending, and their sums in the layout ``SIZES``; shapes (k,), (k, width).

    Examples
    --------
    >>> from detectors.pair_panes import pair_sizes
    >>> from detectors.panes import grouped
    >>> n = 1_000
    >>> _, row, sums = pair_sizes(np.ones(n, dtype=np.int64), np.resize([-3.0, 4.0], n), np.resize([4.0, 4.5], n))
    >>> own, rival, gap = size_difference(*grouped(row, sums))
    >>> round(own, 9), round(rival, 9), [round(x, 3) for x in gap]
    (3.5, 4.25, [-0.75, -0.789, -0.711, 1000.0])

    """
    n = float(SIZES.count(sums, "n").sum())
    held = np.flatnonzero(SIZES.count(sums, "n"))
    if n <= 0:
        return None
    own, rival, squares = (
        math.fsum((ROW_ENDS[rows] ** power * SIZES.total(sums, name)).tolist())
        for name, power in (("error", 1), ("rival_error", 1), ("squares", 2))
    )
    top = int(rows[held[-1]])
    most = float(ROW_ENDS[top]) * math.sqrt(10.0)  # that a difference can be
    most = max(most, math.sqrt(max(squares, 0.0))) if top == ROWS - 1 else most
    mean, half = (own - rival) / n, most * half_width(n, deviation(n, (own - rival) / most, squares / most**2))
    return own / n, rival / n, Estimate(mean, mean - half, mean + half, n)


def _mean(n: float, total: float, squares: float) -> Estimate:
    mean, half = total / n, half_width(n, deviation(n, total, squares))
    return Estimate(mean, max(mean - half, -1.0), min(mean + half, 1.0), n)


def _rate(n: int, total: float) -> Estimate:
    """Return the mean of what is 0 to 1 each, with Wilson's interval: nothing of that mean varies more than what is 0 or 1."""
    total = min(max(total, 0.0), float(n))
    return Estimate(total / n, *wilson(n, total), n)


def _score(estimate: Estimate) -> str:
    return f"{estimate.value:.4f}"
