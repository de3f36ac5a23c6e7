"""Lines of a text, each taken out of it when it is asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class TextLines(Sequence[bytes]):
    r"""Some lines of a text, n of them, in any order.

    Parameters
    ----------
    text
        UTF-8, or what should be.
    begins, ends
        Where each line stands in it, without its line break. Shape (n,).

    Examples
    --------
    >>> lines = TextLines(memoryview(b"ab\nc\n"), np.array([0, 3]), np.array([2, 4]))
    >>> list(lines), lines[-1], lines.joined(), lines.sizes.tolist()
    ([b'ab', b'c'], b'c', b'ab\nc', [2, 1])

    """

    text: memoryview
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.begins)

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> "TextLines": ...
    def __getitem__(self, at: int | slice) -> "bytes | TextLines":
        if isinstance(at, slice):
            return TextLines(self.text, self.begins[at], self.ends[at])
        return self.text[self.begins[at] : self.ends[at]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        joined = self._joined()
        if joined is not None:
            return iter(joined.split(b"\n"))
        return (self.text[begin:end].tobytes() for begin, end in zip(self.begins.tolist(), self.ends.tolist(), strict=True))

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each, shape (n,)."""
        return self.ends - self.begins

    def joined(self) -> bytes:
        """Return all of them, with line breaks between them."""
        joined = self._joined()
        return b"\n".join(self) if joined is None else joined

    def _joined(self) -> bytes | None:
        """Return the same of lines that follow each other in the text, as they stand there."""
        if len(self) and (self.begins[1:] == self.ends[:-1] + 1).all():
            return self.text[self.begins[0] : self.ends[-1]].tobytes()
        return None
