"""The state of many monitors: one array per quantity, one row per monitor, grown as segments appear."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.baselines.tempering import HOUR_MOST, HOUR_MS
from detectors.fixed import Floats, Ints
from detectors.kernel import ration
from detectors.reading import BEFORE
from detectors.series import Series

LEARNING, ARMED, ACTIVE = 0, 1, 2
_NEVER = -np.inf

Packed = tuple[str, list[int], bytes]


class Monitors:
    """Arrays of ``count`` monitors of one bet at one rung. The first axis is the monitor.

    Evidence: ``log_r`` and ``log_c`` (Shiryaev–Roberts and CUSUM, by stake), ``onset`` and ``since`` (the bet's tally, by stake),
    ``recent`` (observation since any stake began to win; only of bets that are ``shaped``). Where hours are rationed, ``hour`` (since the
    epoch) and ``spent`` (log evidence of that hour, by stake; only of bets that are ``seasonal``).
    Baseline: ``total`` (observation), ``series`` from ``origin`` (ms) in buckets of ``bucket`` (ms), ``first`` (ms), ``null``, ``base``
    (value, lo, hi, n), ``phi``, ``bursty`` (whether hours are rationed), ``next_fit`` (events), ``era`` of the season.
    Deposits: ``seen`` (ms) and ``seen_pot`` when last touched, ``paid`` since the evidence last started from zero.

    Examples
    --------
    >>> monitors = Monitors(stakes=5, width=2, terms=2)
    >>> monitors.add(np.array([0, 0]), np.array([0, 1])), monitors.count
    (array([0, 1]), 2)
    >>> monitors.state[0] == LEARNING
    np.True_

    """

    track: Ints
    slot: Ints
    state: Ints
    frozen: Ints
    hot: Ints
    onset: Ints
    first: Ints
    seen: Ints
    era: Ints
    origin: Ints
    bucket: Ints
    bursty: Ints
    hour: Ints
    log_r: Floats
    log_c: Floats
    since: Floats
    total: Floats
    recent: Floats
    spent: Floats
    null: Floats
    base: Floats
    phi: Floats
    next_fit: Floats
    seen_pot: Floats
    paid: Floats
    series: Series

    def __init__(self, *, stakes: int, width: int, terms: int, recent: int = 0, spent: int = 0, tallied: int = 3) -> None:
        self.count = 0
        names = ("track", "slot", "state", "frozen", "hot", "first", "seen", "era", "origin", "bucket", "bursty", "hour")
        integers = dict.fromkeys(names, ())
        floats = dict.fromkeys(("phi", "next_fit", "seen_pot", "paid"), ())
        self._shapes: dict[str, tuple[type, tuple[int, ...]]] = {name: (np.int64, shape) for name, shape in integers.items()}
        self._shapes |= {name: (np.float64, shape) for name, shape in floats.items()}
        self._shapes |= {
            "onset": (np.int64, (stakes,)),
            "log_r": (np.float64, (stakes,)),
            "log_c": (np.float64, (stakes,)),
            "since": (np.float64, (stakes, tallied)),
            "total": (np.float64, (width,)),
            "recent": (np.float64, (recent,)),
            "spent": (np.float64, (spent,)),
            "null": (np.float64, (terms,)),
            "base": (np.float64, (4,)),
        }
        self.series = Series()
        for name, (dtype, shape) in self._shapes.items():
            setattr(self, name, np.zeros((4, *shape), dtype=dtype))

    def add(self, tracks: Ints, slots: Ints) -> Ints:
        """Add monitors that know nothing yet; return their rows."""
        rows = np.arange(self.count, self.count + len(tracks))
        capacity = len(self.track)
        while capacity < self.count + len(tracks):
            capacity *= 2
        if capacity > len(self.track):
            for name, (dtype, shape) in self._shapes.items():
                array: npt.NDArray[Any] = np.zeros((capacity, *shape), dtype=dtype)
                array[: self.count] = getattr(self, name)[: self.count]
                setattr(self, name, array)
        self.count += len(tracks)
        self.track[rows], self.slot[rows] = tracks, slots
        self._begin(rows)  # all else is zero in rows that are not in use
        return rows

    def forget(self, row: int) -> None:
        """Bring a monitor back to the state of one that knows nothing."""
        for name in self._shapes:
            if name not in ("track", "slot"):
                getattr(self, name)[row] = 0
        self.series.clear(row)
        self._begin(row)

    def _begin(self, rows: Ints | int) -> None:
        self.first[rows] = self.origin[rows] = BEFORE
        self.bucket[rows], self.phi[rows], self.log_r[rows] = HOUR_MS, 1.0, _NEVER

    def quiet(self, row: int) -> None:
        """Start the evidence of a monitor from zero; keep its baseline."""
        self.log_r[row], self.log_c[row], self.since[row], self.onset[row], self.paid[row] = _NEVER, 0.0, 0.0, 0, 0.0
        self.recent[row] = 0.0

    def ration(self, rows: Ints, log_factors: Floats, start_ms: int) -> Floats:
        """Return log factors of a pane, shape (k, stakes), of which its hour counts for ``HOUR_MOST`` only, however many panes it has."""
        hour = start_ms // HOUR_MS
        spent = self.spent[rows] * (self.hour[rows] == hour)[:, None]
        rationed = ration(spent, log_factors, HOUR_MOST)
        self.spent[rows], self.hour[rows] = spent, hour
        return rationed

    def keep(self, rows: Ints) -> None:
        """Keep only these rows, in this order."""
        for name in self._shapes:
            array = getattr(self, name)
            kept = array[rows]
            array[:] = 0
            array[: len(rows)] = kept
        self.series.keep(rows)
        self.count = len(rows)

    def to_state(self) -> dict[str, Any]:
        """Return the rows in use as type, shape and raw bytes by name. Most series are empty and left out."""
        packed: dict[str, Any] = {name: pack(getattr(self, name)[: self.count]) for name in self._shapes}
        return packed | {"series": [pack(each) for each in self.series.to_state()]}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave.

        Raises
        ------
        ValueError
            If an array has another type or shape than this version's.

        """
        self.count = int(state["track"][1][0])
        capacity = max(4, 1 << (self.count - 1).bit_length()) if self.count else 4
        for name, (dtype, shape) in self._shapes.items():
            array: npt.NDArray[Any] = np.zeros((capacity, *shape), dtype=dtype)
            saved = unpack(state[name])
            if saved.dtype != dtype or saved.shape != (self.count, *shape):
                raise ValueError(
                    f"monitors' {name}: expected {(self.count, *shape)} of {np.dtype(dtype)}, got {saved.shape} of {saved.dtype}"
                )
            array[: self.count] = saved
            setattr(self, name, array)
        self.series = Series.from_state(*(unpack(packed) for packed in state["series"]))


def pack(array: npt.NDArray[Any]) -> Packed:
    """Return type, shape and raw bytes of an array; no bytes where all are zero, as most are of what watches and has seen little.

    >>> unpack(pack(np.array([1.5, -np.inf]))).tolist(), pack(np.zeros((168, 16)))
    ([1.5, -inf], ('<f8', [168, 16], b''))
    """
    data = np.ascontiguousarray(array).tobytes()
    return array.dtype.str, list(array.shape), data if data.count(0) < len(data) else b""


def unpack(packed: Packed) -> npt.NDArray[Any]:
    """Return the array, writable."""
    dtype, shape, data = packed
    return np.frombuffer(data, dtype=np.dtype(dtype)).reshape(shape).copy() if data else np.zeros(shape, dtype=np.dtype(dtype))
