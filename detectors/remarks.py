"""What is to be known of monitors of all predictions beside their evidence: the latest note of each kind on each."""

from typing import Any

from detectors.reading import BEFORE
from detectors.signals import Key, Note

WARM_UP, WATCH, MISCALIBRATED = "warm_up", "watch", "miscalibrated"
KINDS = (WARM_UP, MISCALIBRATED, WATCH)


class Remarks:
    """The latest remark by family, rung and kind; of those that were made while a baseline was learnt, until it stands.

    Examples
    --------
    >>> remarks = Remarks()
    >>> seen = remarks.keep(Note(what=WARM_UP, key=Key("error", 1, 0, 1), due_ms=7, text="adwin sees a change"))
    >>> remarks.of(seen.key, learning_since_ms=5) == [seen], remarks.of(seen.key, learning_since_ms=9), remarks.of(seen.key)
    (True, [], [])
    >>> remarks.drop(seen.key)
    >>> remarks.to_state()
    []

    """

    def __init__(self) -> None:
        self._notes: dict[tuple[str, int, str], Note] = {}

    def keep(self, note: Note) -> Note:
        """Keep a note in the place of the one of its kind before; return it."""
        self._notes[note.key.family, note.key.rung, note.what] = note
        return note

    def drop(self, key: Key) -> None:
        """Forget what was said of a monitor: its baseline stands now."""
        for what in KINDS:
            self._notes.pop((key.family, key.rung, what), None)

    def of(self, key: Key, *, learning_since_ms: int | None = None) -> list[Note]:
        """Return what is to be said of a monitor that has learnt since a time, or of one that does not learn, in order of ``KINDS``."""
        found = [note for what in KINDS if (note := self._notes.get((key.family, key.rung, what))) is not None]
        if learning_since_ms is None:
            return [note for note in found if note.what != WARM_UP]
        return [note for note in found if note.what == WARM_UP and BEFORE < learning_since_ms < note.due_ms]

    def to_state(self) -> list[Any]:
        """Return the state as plain values."""
        return [[note.what, list(note.key), note.due_ms, note.text] for _, note in sorted(self._notes.items(), key=lambda item: item[0])]

    def load(self, state: list[Any]) -> None:
        """Take back what ``to_state`` gave."""
        for what, key, due_ms, text in state:
            self.keep(Note(what=what, key=Key(*key), due_ms=due_ms, text=text))
