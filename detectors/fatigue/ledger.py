"""All sums that alert fatigue is read from, of one model: by the hour in which alerts were raised, and unit."""

from typing import Any

import numpy as np

from detectors.cells import Layout
from detectors.cost_cells import cost_cell
from detectors.fatigue.alert_keys import AlertKeys, hashes
from detectors.fatigue.durations import cell_of
from detectors.fatigue.moments import MOMENTS, moment_rows
from detectors.fatigue.recent import Recent
from detectors.fatigue.units import Units
from detectors.fixed import Ints
from detectors.ladder import DAY_MS, HOUR_MS, Ladder
from detectors.panes import BEGINNING, SumTable, floor_to
from detectors.reading import BEFORE
from detectors.sums import NOT_ACTED
from schemas.policy_models import ModelPolicy
from schemas.scored import Kind, Rows

WEEK_MS = 7 * DAY_MS
WEEKS = 12  # kept apart, for trends; older ones are one
UNIT_BITS, CELL_BITS = 11, 13
LATE = 1 << (CELL_BITS - 1)  # bit of a cell: disposed of too late to count at the age at which alerts are judged
_OLDEST_MS = HOUR_MS << 20
_TEN_THOUSANDTHS = 10  # of a second in a millisecond
_N = Layout(counts=("n",), sums={})
_ACTIONS = {"overridden": "overridden", "dismissed": "dismissed", "ignored": "ignored"}
KNOWN = Layout(counts=("labelled", "right"), sums={})
DISPOSED = Layout(counts=("disposed", "named", *_ACTIONS, "reviewed", "review_ms"), sums={})
REVIEW = Layout(counts=("n", "ms"), sums={})
LAYOUTS = {
    "made": _N,
    "known": KNOWN,  # cell: age class of the label
    "disposed": DISPOSED,  # cell: ``LATE`` or not, as the next two
    "responses": _N,  # cell of ``durations``
    "reviews": REVIEW,  # cell of ``cost_cells``, a second for a unit of money
}
assert frozenset(_ACTIONS) == NOT_ACTED  # noqa: S101


def key_of(ms: Any, unit: Any, cell: Any = 0) -> Any:
    """Pack (hour, unit, cell) into one sortable integer."""
    return (ms // HOUR_MS << UNIT_BITS | unit) << CELL_BITS | cell


def parts_of(keys: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the start of the hour (ms), the unit and the cell of each key.

    >>> [part.tolist() for part in parts_of(np.array([key_of(-1, 3, LATE | 7)]))] == [[-HOUR_MS], [3], [LATE | 7]]
    True
    """
    rest = keys >> CELL_BITS
    return (rest >> UNIT_BITS) * HOUR_MS, rest & ((1 << UNIT_BITS) - 1), keys & ((1 << CELL_BITS) - 1)


class Ledger:
    """Sums of a model's alerts: a pure fold over scored rows, every one of them additive and revertible. Probes are left out.

    Parameters
    ----------
    policy
        Of the model. Its ages are frozen; how long an alert may stay open follows the policy in force when a disposition arrives.

    """

    def __init__(self, policy: ModelPolicy) -> None:
        self.ladder = Ladder(policy.ages_ms, policy.horizon_ms)
        self.stale_ms = policy.fatigue.stale_ms
        self.units, self.keys, self.recent = Units(), AlertKeys(), Recent()
        self.tables = {name: SumTable(layout) for name, layout in LAYOUTS.items()}
        self.values = SumTable(MOMENTS)  # by unit << 1 | acted
        self.hours, self.arrivals = SumTable(_N), SumTable(_N)  # predictions by hour; dispositions by the hour they became known
        self.disposed_ms: int | None = None  # from when on dispositions come, once the watermark has passed it
        self.known_ms = BEFORE  # the latest that an outcome became known
        self.merged_ms = BEFORE  # before it an hour's alerts are in the sums of their week

    def add(self, rows: Rows, where: Ints) -> None:
        """Add the picked rows of one scored message, of any version and kind."""
        if "probe" in rows.columns:
            where = where[rows.column("probe")[where] == 0]
        kind, sign = rows.column("kind")[where], rows.column("sign")[where].astype(np.int64)
        made = kind == Kind.PREDICTION
        if len(where) and made.all():
            _add_hours(self.hours, rows.column("predicted_at")[where], sign)
        elif made.any():
            _add_hours(self.hours, rows.column("predicted_at")[where[made]], sign[made])
        if not made.all():
            self.known_ms = max(self.known_ms, int(rows.column("known_at")[where[~made]].max()))
        if "alerted" not in rows.columns:
            return
        alerted = np.flatnonzero(rows.column("alerted")[where] != 0)
        where, kind, sign = where.take(alerted), kind.take(alerted), sign.take(alerted)
        for one, add in ((Kind.PREDICTION, self._made), (Kind.LABEL, self._known), (Kind.DISPOSITION, self._disposed)):
            chosen = np.flatnonzero(kind == one)
            if len(chosen):
                picked = where.take(chosen)
                units = self.units.numbers(rows.column("unit")[picked], rows.texts)
                add(rows, picked, units, sign.take(chosen))

    def _made(self, rows: Rows, where: Ints, units: Ints, sign: Ints) -> None:
        at = rows.column("predicted_at")[where]
        self.tables["made"].add(key_of(self._start(at), units), sign[:, np.newaxis])
        if not {"unit", "alert_key"} & rows.columns.keys():
            return
        keys, texts = hashes(rows.column("alert_key")[where], rows.texts)
        if texts:
            keyed = keys != 0
            self.keys.add(units[keyed], keys[keyed], sign[keyed])
        placed = (rows.column("unit")[where] != 0) | (keys != 0)  # the others are part of no flood and no chatter
        if placed.any():
            self.recent.add(np.stack([at, units, keys, sign], axis=1)[placed], texts)

    def _known(self, rows: Rows, where: Ints, units: Ints, sign: Ints) -> None:
        at = rows.column("predicted_at")[where]
        age_class = self.ladder.age_class(rows.column("known_at")[where] - at)
        right = sign * (rows.column("label")[where] != 0)
        self.tables["known"].add(key_of(self._start(at), units, age_class), np.stack([sign, right], axis=1))

    def _disposed(self, rows: Rows, where: Ints, units: Ints, sign: Ints) -> None:
        at, known_at = rows.column("predicted_at")[where], rows.column("known_at")[where]
        review_ms, action = rows.column("review_ms")[where], rows.column("action")[where]
        words = [text.strip().lower() for text in rows.texts[: int(action.max()) + 1]]
        late = np.where(known_at - at > self.stale_ms, LATE, 0)
        start, reviewed = self._start(at), review_ms >= 0
        named = np.array([bool(word) for word in words])[action]
        are = {word: np.array([each == word for each in words])[action] for word in _ACTIONS}
        counts = [np.ones_like(named), named, *are.values(), reviewed, np.where(reviewed, review_ms, 0)]
        self.tables["disposed"].add(key_of(start, units, late), np.stack([sign * count for count in counts], axis=1))
        self.tables["responses"].add(key_of(start, units, late | cell_of(known_at - at)), sign[:, np.newaxis])
        if reviewed.any():
            ms, signed = review_ms[reviewed], sign[reviewed]
            cells = late[reviewed] | cost_cell(ms * _TEN_THOUSANDTHS)
            self.tables["reviews"].add(key_of(start[reviewed], units[reviewed], cells), np.stack([signed, signed * ms], axis=1))
        acted = named & ~np.logical_or.reduce(list(are.values()))
        money = rows.column("money")[where]
        worth = named & (rows.column("costed")[where] != 0)
        self.values.add(units[worth] << 1 | acted[worth], moment_rows(money[worth], sign[worth]))
        if self.disposed_ms is None:
            _add_hours(self.arrivals, known_at, sign)

    def _start(self, ms: Ints) -> Ints:
        """Return where the sums of an alert stand: in its hour, its week, or with those of long ago."""
        if not len(ms) or int(ms.min()) >= self.merged_ms:  # the rule
            return ms
        week = floor_to(ms, WEEK_MS)
        old = ms < self.merged_ms - WEEKS * WEEK_MS
        return np.asarray(np.where(old, floor_to(week, _OLDEST_MS), np.where(ms < self.merged_ms, week, ms)))

    def by_the_hour(self) -> bool:
        """Say whether no alert so far has named a unit or a key, and nobody has dealt with one: then only full hours matter."""
        return not (len(self.units.named()) or len(self.keys.table.keys) or len(self.recent) or self.since_ms() is not None)

    def since_ms(self) -> int | None:
        """Return the end of the hour in which the first disposition became known; None: there is none."""
        if self.disposed_ms is not None:
            return self.disposed_ms
        there = self.arrivals.keys[self.arrivals.rows[:, 0] > 0]
        return int(there[0] + 1) * HOUR_MS if len(there) else None

    def settle(self, until_ms: int) -> None:
        """Note what can change no more now that the watermark has passed ``until_ms``."""
        since = self.since_ms()
        if self.disposed_ms is None and since is not None and since <= until_ms:
            passed = -(-self.recent.settled_ms // HOUR_MS) * HOUR_MS  # one that is late does not bring back what was left unread
            self.disposed_ms, self.arrivals = max(since, passed), SumTable(_N)

    def end_ms(self) -> int:
        """Return the end of the latest hour that is known of."""
        last = int(self.hours.keys[-1] + 1) * HOUR_MS if len(self.hours.keys) else BEFORE
        return max(last, self.known_ms)

    def span_ms(self) -> int:
        """Return the time from the first hour with predictions to the end of the last."""
        there = self.hours.keys[self.hours.rows[:, 0] > 0]
        return int(there[-1] + 1 - there[0]) * HOUR_MS if len(there) else 0

    def read(self, name: str, start_ms: int, end_ms: int) -> tuple[Ints, Ints, Ints, Ints]:
        """Return hour, unit, cell and sums, shape (n, width), of the alerts raised in [start, end)."""
        table = self.tables[name]
        within = table.span(key_of(max(start_ms, BEGINNING), 0), key_of(end_ms, 0))
        return *parts_of(table.keys[within]), table.rows[within]

    def merge(self, before_ms: int) -> None:
        """Merge the hours of the weeks that end before a time, which all readers have passed, and the weeks of long ago."""
        week = floor_to(before_ms, WEEK_MS)
        if week <= self.merged_ms:
            return
        self.merged_ms = week
        for table in self.tables.values():
            stop = table.span(0, key_of(week, 0)).stop
            hour, unit, cell = parts_of(table.keys[:stop])
            table.rekey(0, stop, key_of(self._start(hour), unit, cell))
        n = int(np.searchsorted(self.hours.keys, week // HOUR_MS))
        if n > 2:  # of the past only the first and the last hour matter
            there = np.flatnonzero(self.hours.rows[:n, 0] > 0)
            keys = np.full(n, self.hours.keys[n - 1])
            if len(there):
                keys[:] = self.hours.keys[there[-1]]
                keys[: there[0] + 1] = self.hours.keys[there[0]]
            self.hours.rekey(0, n, keys)

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        return {
            "ladder": self.ladder.to_state(),
            "stale_ms": self.stale_ms,
            "units": self.units.to_state(),
            "keys": self.keys.to_state(),
            "recent": self.recent.to_state(),
            "tables": {name: table.to_state() for name, table in self.tables.items()},
            "values": self.values.to_state(),
            "hours": self.hours.to_state(),
            "arrivals": self.arrivals.to_state(),
            "disposed_ms": self.disposed_ms,
            "known_ms": self.known_ms,
            "merged_ms": self.merged_ms,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        self.ladder, self.stale_ms = Ladder.from_state(state["ladder"]), state["stale_ms"]
        self.units = Units.from_state(state["units"])
        self.keys.load(state["keys"])
        self.recent.load(state["recent"])
        self.tables = {name: SumTable.from_state(layout, state["tables"][name]) for name, layout in LAYOUTS.items()}
        self.values = SumTable.from_state(MOMENTS, state["values"])
        self.hours, self.arrivals = SumTable.from_state(_N, state["hours"]), SumTable.from_state(_N, state["arrivals"])
        self.disposed_ms, self.known_ms, self.merged_ms = state["disposed_ms"], state["known_ms"], state["merged_ms"]


def _add_hours(table: SumTable, ms: Ints, sign: Ints) -> None:
    """Count events by the hour; those of a message lie in one, as a rule."""
    first, last = int(ms.min()) // HOUR_MS, int(ms.max()) // HOUR_MS
    if first == last:
        table.merge(np.array([first]), sign.sum(keepdims=True)[:, np.newaxis])
    else:
        table.add(ms // HOUR_MS, sign[:, np.newaxis])
