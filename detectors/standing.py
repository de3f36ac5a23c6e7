"""Baselines that stand, and changes that watches have seen: what the audit trail is told of them."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from detectors.findings import interval
from detectors.remarks import MISCALIBRATED, WARM_UP, WATCH
from detectors.signals import REFINED, Estimate, Note, Signal

_STANDS = {"armed": False, REFINED: True}  # notes on baselines: whether one stood before


class Baseline(NamedTuple):
    """A baseline that was estimated just now, of one model version; or a change that was seen beside one and pages nobody."""

    model_id: str
    version: str
    due_ms: int
    text: str
    body: dict[str, Any]
    remark: str = ""  # what else is to be known of it
    seen: str = ""  # by whom the change was seen: WARM_UP, WATCH; empty: it is a baseline


class Learnt:
    """The baselines of one version since they were last taken; never part of the state, since the watch takes them after each record.

    Parameters
    ----------
    model_id, version
        Whose they are.
    turned
        Where the evidence is on the contrary of what people are told: gives the estimate that they are told; None: it is the same.

    """

    def __init__(self, model_id: str, version: str, turned: Callable[[Estimate], Estimate] | None = None) -> None:
        self._model_id, self._version, self._turned = model_id, version, turned
        self._fresh: list[Baseline] = []

    def add(self, signals: Iterable[Signal], segment: Callable[[int], dict[str, str]], age_ms: Callable[[int], int]) -> None:
        """Take note of the baselines among signals, and of what was remarked on them.

        ``segment`` gives a segment by its number, ``age_ms`` the age that a rung reads.
        """
        for note in signals:
            if not isinstance(note, Note):
                continue
            about = {"segment": segment(note.key.segment), "age_s": age_ms(note.key.rung) / 1000}
            if note.what in _STANDS:
                self._fresh.append(Baseline(self._model_id, self._version, note.due_ms, note.text, self._body(note, about)))
            elif note.what == MISCALIBRATED:  # right after the baseline that it is a remark on
                last = self._fresh[-1]
                self._fresh[-1] = last._replace(remark=note.text, body=last.body | {"remark": note.text})
            elif note.what in (WARM_UP, WATCH):
                body = {"metric": note.key.family, **about}
                self._fresh.append(Baseline(self._model_id, self._version, note.due_ms, note.text, body, seen=note.what))

    def take(self) -> list[Baseline]:
        """Return the baselines since the last call, in order."""
        taken, self._fresh = self._fresh, []
        return taken

    def _body(self, note: Note, about: dict[str, Any]) -> dict[str, Any]:
        figures = note.figures
        estimate = Estimate(figures["value"], figures["lo"], figures["hi"], figures["n"])
        if self._turned is not None:
            estimate = self._turned(estimate)
        rises = (note.key.direction > 0) == (self._turned is None)
        return {
            "metric": note.key.family,
            "direction": "up" if rises else "down",
            **about,
            "anew": _STANDS[note.what],
            **msgspec.to_builtins(interval(estimate)),
            "dispersion": figures["phi"],
        }
