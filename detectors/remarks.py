"""What is to be known of monitors of all predictions beside their evidence: the latest note on each."""

from typing import Any

from detectors.reading import BEFORE
from detectors.signals import Key, Note

WARM_UP, WATCH, MISCALIBRATED = "warm_up", "watch", "miscalibrated"


class Remarks:
    """The latest remark by family and rung; of those that were made while a baseline was learnt, until it stands.

    Examples
    --------
    >>> remarks = Remarks()
    >>> seen = remarks.keep(Note(what=WARM_UP, key=Key("error", 1, 0, 1), due_ms=7, text="adwin sees a change"))
    >>> remarks.of(seen.key, learning_since_ms=5) is seen, remarks.of(seen.key, learning_since_ms=9), remarks.of(seen.key)
    (True, None, None)
    >>> remarks.drop(seen.key)
    >>> remarks.to_state()
    []

    """

    def __init__(self) -> None:
        self._notes: dict[tuple[str, int], Note] = {}

    def keep(self, note: Note) -> Note:
        """Keep a note in the place of the one before; return it."""
        self._notes[note.key.family, note.key.rung] = note
        return note

    def drop(self, key: Key) -> None:
        """Forget what was said of a monitor: its baseline stands now."""
        self._notes.pop((key.family, key.rung), None)

    def of(self, key: Key, *, learning_since_ms: int | None = None) -> Note | None:
        """Return what is to be said of a monitor that has learnt since a time, or of one that does not learn; None: nothing."""
        note = self._notes.get((key.family, key.rung))
        if note is None or (note.what == WARM_UP) != (learning_since_ms is not None):
            return None
        return None if learning_since_ms is not None and (learning_since_ms == BEFORE or note.due_ms <= learning_since_ms) else note

    def to_state(self) -> list[Any]:
        """Return the state as plain values."""
        return [[note.what, list(note.key), note.due_ms, note.text] for _, note in sorted(self._notes.items(), key=lambda item: item[0])]

    def load(self, state: list[Any]) -> None:
        """Take back what ``to_state`` gave."""
        for what, key, due_ms, text in state:
            self.keep(Note(what=what, key=Key(*key), due_ms=due_ms, text=text))
