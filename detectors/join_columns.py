"""The join rule on columns, where nothing is unusual; ``detectors.join_rule`` for the rest, and as the reference of what is found here.

Usual are the first prediction of a request, an outcome that comes before it, and a prediction and an outcome that is a label 0 or 1 and
nothing else, each the only one so far, in either order. A predicted number that meets an outcome is left to the rule.
"""

from typing import Any, NamedTuple

import numpy as np

from detectors.bulk_packing import Made, Packed
from detectors.contexts import FIELDS, UNREADABLE, Contexts
from detectors.entries import (
    ABSTAINED,
    ALERTED,
    BINARY,
    FEATURED_FORM,
    FORMS,
    LABEL_FORM,
    LABEL_HEAD,
    MAPPED,
    POSITIVE,
    PREDICTION_FORM,
    PREDICTION_HEAD,
    VALUED,
    Column,
    read_48,
    tail_at,
)
from detectors.fixed import Ints
from detectors.join_rows import LABEL, PREDICTION
from detectors.pending import FRAME_BYTES, Logs
from detectors.scored_rows import RowsBuilder
from schemas.scored import Status

_PREDICTION, _JOINED, _WAITING = map(int, (Status.PREDICTION, Status.JOINED, Status.WAITING))
_HEADED = FRAME_BYTES + PREDICTION_HEAD.itemsize
_BYTES = np.arange(256)
_PREDICTIONS = (_BYTES & FORMS == PREDICTION_FORM) | (_BYTES & FORMS == FEATURED_FORM)
_LABELS = _BYTES & 0xFE == LABEL_FORM


class Unusual(NamedTuple):
    """An arrival that is left to the rule."""

    position: int  # among the arrivals
    log: bytes | None


def join_usual(packed: Packed, logs: Logs, contexts: Contexts, builder: RowsBuilder) -> list[Unusual]:
    """Add the rows of the usual ones among some arrivals; return the others.

    Parameters
    ----------
    packed
        Predictions or outcomes.
    logs
        What the pending table answered to each.
    contexts
        Which the arrivals' own were numbered by.
    builder
        Where rows go.

    """
    first = logs.sizes == 0
    where = np.flatnonzero(first)
    add_first(packed, where, contexts, builder)
    if packed.made is not None:
        met, labels = _with_label(logs, np.flatnonzero(~first & (packed.made.flags & VALUED == 0)))
        add_met_label(packed, met, labels, contexts, builder)
        first[met] = True
    elif packed.label is not None:
        met, made = _with_prediction(logs, np.flatnonzero(~first & (packed.label >= 0)), contexts)
        add_met_prediction(packed, met, made, contexts, builder)
        first[met] = True
    return [Unusual(i, logs[i]) for i in np.flatnonzero(~first).tolist()]


def add_first(packed: Packed, where: Ints, contexts: Contexts, builder: RowsBuilder) -> None:
    """Add the rows of arrivals, some of those that were packed, that are the first of their requests."""
    if packed.made is not None:
        _add_predictions(packed, where, packed.made.pick(where), contexts, builder)
    elif packed.label is not None:
        _add(builder, packed, where, {"status": np.full(len(where), _WAITING)})


def add_met_label(packed: Packed, met: Ints, labels: tuple[Ints, Ints], contexts: Contexts, builder: RowsBuilder) -> None:
    """Add the rows of predictions that meet a label and nothing else; ``labels``: since when they are known, and 0 or 1."""
    if packed.made is not None:
        made = packed.made.pick(met)  # it waits no more; the prediction; the label
        _add(builder, packed, met, {"status": np.full(len(met), _WAITING), "count": np.full(len(met), -1)})
        _add_predictions(packed, met, made, contexts, builder)
        _add(builder, packed, met, _label_rows(made, *labels, contexts))


def add_met_prediction(packed: Packed, met: Ints, made: Made, contexts: Contexts, builder: RowsBuilder) -> None:
    """Add the rows of labels that meet a prediction and nothing else."""
    if packed.label is not None:
        _add(builder, packed, met, _label_rows(made, packed.arrivals.at_ms[met], packed.label[met], contexts))


def _met_alone(logs: Logs, where: Ints, head: np.dtype[Any], forms: Column) -> tuple[Ints, Column]:
    """Return which of some arrivals meet one frame and nothing else, and the head of the entry that they meet.

    ``forms`` says for each byte whether it may be the first of that entry.
    """
    usual = where[logs.sizes[where] >= FRAME_BYTES + head.itemsize]
    text, at = np.frombuffer(logs.text, np.uint8), logs.starts[usual]
    first = FRAME_BYTES + text[at].astype(np.int64) + (text[at + 1].astype(np.int64) << 8)
    usual = usual[(first == logs.sizes[usual]) & forms[text[at + FRAME_BYTES]]]
    anywhere: Column = np.ndarray(max(0, len(text) - head.itemsize + 1), f"V{head.itemsize}", text, strides=(1,))  # one begins at each byte
    return usual, anywhere[logs.starts[usual] + FRAME_BYTES].view(head)


def _with_prediction(logs: Logs, where: Ints, contexts: Contexts) -> tuple[Ints, Made]:
    """Return which of some outcomes meet nothing but a prediction, and those predictions."""
    met, head = _met_alone(logs, where, PREDICTION_HEAD, _PREDICTIONS)
    starts, text = logs.starts[met] + _HEADED, logs.text
    for i in np.flatnonzero(head["form"] & FORMS == FEATURED_FORM).tolist():
        starts[i] = tail_at(text, int(starts[i]))
    ends = logs.starts[met] + logs.sizes[met]
    tails = [text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    codes = np.fromiter(map(contexts.__getitem__, tails), np.int64, len(tails))
    made = Made(read_48(head, "at"), head["score"], head["form"].astype(np.int64) & 0x1F, read_48(head, "amount"), codes, [])
    readable = np.flatnonzero(codes != UNREADABLE)
    return met[readable], made.pick(readable)


def _with_label(logs: Logs, where: Ints) -> tuple[Ints, tuple[Ints, Ints]]:
    """Return which of some predictions meet nothing but a label; since when it is known, and the label."""
    met, head = _met_alone(logs, where, LABEL_HEAD, _LABELS)
    return met, (read_48(head, "at"), head["form"].astype(np.int64) & 1)


def _add_predictions(packed: Packed, where: Ints, made: Made, contexts: Contexts, builder: RowsBuilder) -> None:
    columns = _made_columns(made, contexts)
    columns |= {name: contexts.column(name, made.context) for name in contexts.held(("alert_key", "money", "features", "missing"))}
    if made.features:
        columns["feature_names"] = contexts.column("feature_names", made.context)
        columns["feature_values"] = builder.keep(made.features)
    columns["kind"] = np.full(len(where), PREDICTION)
    columns["status"] = np.full(len(where), _PREDICTION)
    binary, positive = made.flags & BINARY, made.flags & POSITIVE
    columns["predicted"] = ((positive != 0) | (binary == 0)).astype(np.int64)
    _add(builder, packed, where, columns)


def _made_columns(made: Made, contexts: Contexts) -> dict[str, Column]:
    flags = made.flags
    names = (*FIELDS, *contexts.held(("unit", "probe")))
    columns: dict[str, Column] = {name: contexts.column(name, made.context) for name in names}
    columns |= {"predicted_at": made.at, "score": made.score, "amount": made.amount}
    columns |= {"binary": flags & BINARY, "abstained": flags & ABSTAINED != 0, "alerted": flags & ALERTED != 0}
    return columns


def _label_rows(made: Made, known_at: Ints, true: Ints, contexts: Contexts) -> dict[str, Column]:
    """Return the columns of label rows, as ``join_rows.label_row`` makes them of labels 0 and 1."""
    flags, code = made.flags, made.context
    same = np.where(true == 1, contexts.column("label_1", code), contexts.column("label_0", code))
    mapped, binary = flags & MAPPED != 0, flags & BINARY != 0
    columns = _made_columns(made, contexts)
    columns["kind"] = np.full(len(code), LABEL)
    columns["status"] = np.full(len(code), _JOINED)
    columns["known_at"] = known_at
    columns["label"] = np.where(binary & ~mapped, true, same)
    columns["predicted"] = np.where(mapped | binary, (flags & POSITIVE != 0).astype(np.int64), 1)
    if not binary.all():  # one of many classes, whose label is called 0 or 1
        names = np.array([contexts.names.number(label) for label in ("0", "1")])
        columns["said"], columns["truth"] = (np.where(binary, 0, name) for name in (contexts.column("label", code), names[true]))
    return columns


def _add(builder: RowsBuilder, packed: Packed, where: Ints, columns: dict[str, Column]) -> None:
    arrivals = packed.arrivals
    builder.add_columns(arrivals.order[where], arrivals.batch[where], arrivals.offset[where], arrivals.element[where], columns)
