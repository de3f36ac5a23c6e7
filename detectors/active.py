"""A monitor after its alarm: how large the change is by the data since, and whether it is over."""

import math
from typing import Any

import numpy as np

from detectors.bets import Bet, Fit
from detectors.fixed import Floats
from detectors.monitors import pack, unpack
from detectors.signals import Cleared, Estimate, Key, Moved

_CLEAR = math.log(100.0)  # false clear at most 1 %
_LEVELS = (1.0, 2.0, 4.0)  # times the tolerance, on the lower bound: minor, major, critical
_FIRST_UPDATE = 250.0  # events; then four times as many, and so on
_SOME = 30.0
_ARRAYS = ("table", "clear", "sums", "log_e", "log_c", "calm", "total")


class Active:
    """The clear test and the severity of one alarm. Both use only what came after the alarm.

    The test's null is that the change is still there. A change may last long before it ends, and a test that only started at the alarm
    would have to win back all it lost meanwhile; so it starts anew at every pane, the k-th time with the share 1/(k(k+1)) of its stake.
    The shares sum to one: by Ville's inequality a mixture of 100 has at most a chance of 1 % while the null holds.

    References
    ----------
    Ville (1939); Shin, Ramdas & Rinaldo, NEJSDS 2 (2024); Waudby-Smith et al., Annals of Statistics 52 (2024).

    """

    def __init__(
        self, *, key: Key, bet: Bet, table: Floats, clear: Floats, baseline: Estimate, phi: float, stake: int, tolerance: float
    ) -> None:
        self.key, self.bet, self.table, self.clear, self.baseline = key, bet, table, clear, baseline
        self.phi, self.stake, self.tolerance = phi, stake, tolerance
        self.sums = np.zeros(bet.tallied)
        self.total = np.zeros(bet.width)  # observation since the alarm
        self.log_e = np.full(len(bet.clear_factors(np.zeros(bet.width), clear)), -np.inf)
        self.log_c = np.zeros_like(self.log_e)
        self.calm = np.zeros((len(self.log_e), bet.tallied))  # since each alternative of the clear test began to win
        self.panes, self.level, self.next_update = 0, -1, _FIRST_UPDATE

    @classmethod
    def after(
        cls,
        key: Key,
        bet: Bet,
        fit: Fit,
        *,
        phi: float,
        stake: int,
        current: Estimate,
        baseline: Estimate,
        tolerance: float,
        seen: Floats | None = None,
    ) -> "Active":
        """Return the state right after an alarm led by the alternative ``stake``, with the estimate since its onset.

        ``seen`` is the observation since then, for a bet that is ``shaped``.

        That estimate was selected for being large; the test takes it half-way to the end of its interval that is nearer to the baseline.
        """
        mean = (current.value + (current.lo if key.direction > 0 else current.hi)) / 2
        clear = bet.clear_table(fit, direction=key.direction, stake=stake, mean=mean, tolerance=tolerance, seen=seen)
        table = bet.table(fit.null, key.direction)
        return cls(key=key, bet=bet, table=table, clear=clear, baseline=baseline, phi=phi, stake=stake, tolerance=tolerance)

    def current(self) -> Estimate:
        """Return the mean since the alarm with a 95 % interval that may be looked at at any time."""
        return self._estimate(self.sums)

    def _estimate(self, sums: Floats) -> Estimate:
        n, x = sums[:2].tolist()
        if n <= 0:
            return Estimate(math.nan, 0.0, 1.0, 0.0)
        lo, hi = self.bet.sequence(sums, self.phi, self.table)
        return Estimate(x / n, lo, hi, n)

    def step(self, obs: Floats, due_ms: int, factor: float = 1.0) -> Moved | Cleared | None:
        """Add one pane, shape (width,); return what it changed. ``factor`` is the season's."""
        table, clear = self.table, self.clear
        if factor != 1.0:
            table, clear = self.bet.seasoned(table[None], np.array([factor]))[0], self.bet.clear_seasoned(clear, factor)
        tally = self.bet.tally(obs[None], table[None])[0]
        tally = tally[min(self.stake, len(tally) - 1)]
        self.sums += tally
        self.total += obs
        self.panes += 1
        share = -math.log(self.panes) - math.log(self.panes + 1)
        factors = self.bet.clear_factors(obs, clear) / self.phi
        self.log_e = np.logaddexp(self.log_e, share) + factors
        self.calm = np.where(self.log_c[:, None] <= 0, 0.0, self.calm) + tally
        self.log_c = np.maximum(self.log_c, 0.0) + factors
        if float(np.logaddexp.reduce(self.log_e)) - math.log(len(self.log_e)) >= _CLEAR:
            calm = self.calm[int(self.log_e.argmax())]
            return Cleared(key=self.key, due_ms=due_ms, current=self._estimate(calm), rates=self.bet.rates(calm))
        return self._moved(due_ms)

    def _moved(self, due_ms: int) -> Moved | None:
        n, _, expected = self.sums[:3].tolist()
        if n / self.phi < _SOME:
            return None
        now = self.current()
        bound = now.lo if self.key.direction > 0 else now.hi
        effect = self.bet.effect(bound, expected / n, self.key.direction)
        level = sum(effect >= times * self.tolerance for times in _LEVELS) - 1
        rose = level > max(self.level, 0)
        if not rose and n < self.next_update:
            return None
        self.level = max(level, self.level)
        while self.next_update <= n:
            self.next_update *= 4
        value, lo, hi, size = self.baseline
        base = Estimate(expected / n, *self.bet.along(value, lo, hi, expected / n), size)
        return Moved(
            key=self.key,
            due_ms=due_ms,
            current=now,
            baseline=base,
            severity=max(self.level, 0),
            rose=rose,
            figure=self.bet.figure(self.total, self.table),
            rates=self.bet.rates(self.sums),
        )

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and raw bytes."""
        arrays = {name: pack(getattr(self, name)) for name in _ARRAYS}
        numbers = pack(np.array([*self.baseline, self.phi, self.tolerance, self.next_update]))
        return arrays | {"key": list(self.key), "numbers": numbers, "ints": [self.stake, self.panes, self.level]}

    @classmethod
    def from_state(cls, state: dict[str, Any], bet: Bet) -> "Active":
        """Take back what ``to_state`` gave."""
        numbers = unpack(state["numbers"]).tolist()
        stake, panes, level = state["ints"]
        key, table, clear = Key(*state["key"]), unpack(state["table"]), unpack(state["clear"])
        base, phi, tolerance = Estimate(*numbers[:4]), numbers[4], numbers[5]
        active = cls(key=key, bet=bet, table=table, clear=clear, baseline=base, phi=phi, stake=stake, tolerance=tolerance)
        active.sums, active.log_e, active.log_c, active.calm, active.total = (unpack(state[name]) for name in _ARRAYS[2:])
        active.panes, active.level, active.next_update = panes, level, numbers[6]
        return active
