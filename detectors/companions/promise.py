"""Our own promise, held against what people say: whether more alarms were false than the budget allows, and chance is no longer an excuse.

The budget says that false alarms come at a rate of at most N a day. Then ``1 - w + w * f / N``, for the ``f`` alarms of a day that
people have judged false, is at most 1 in the mean, whatever the days have to do with each other. The products since each day before add
up to the evidence, as those of our monitors do: while the promise is kept it comes to 3,650 once in ten years on average, at most. False
alarms at twice the rate are told of after a year, at three times after 100 days, at five times after 36. A verdict that comes late only
adds to its day, so what is known never says more than what is true. Days are those on which incidents opened, by event time.

References
----------
Shin, Ramdas & Rinaldo, NEJSDS 2 (2024): e-detectors. Waudby-Smith & Ramdas, JRSS B 86 (2024): bets on a mean.

"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from detectors.companions import NEVER, Companion
from detectors.companions.checks import rule_of
from detectors.families import CHECK
from detectors.fixed import Ints
from detectors.ladder import DAY_MS
from detectors.model_version import ModelVersion
from detectors.state_version import expect_version
from schemas.control import Control, ControlType
from schemas.drift import DriftData, Window
from schemas.fields import epoch_ms, rfc3339
from schemas.findings import Event, EventType, subject
from schemas.policy_models import ModelPolicy
from schemas.retrain import BudgetBreached
from schemas.scored import Kind, Rows

STATE_VERSION = 1
STAKES = (0.05, 0.1, 0.2)  # what is bet on each day
THRESHOLD = 3_650.0  # days between two accusations that are wrong, on average
_LONG_AGO = -(2**31)
_MOST = 1e30
KEPT = 2_000  # incidents of which a verdict is still heard


class Promise(Companion):
    """Counts a model's drift alarms that were judged false, by the day on which they opened.

    A breach is told once; then the count begins anew, the day after the last alarm that it rests on, as it does when the budget changes.
    Alarms of alert fatigue are left out: floods and the like have no budget.

    Examples
    --------
    >>> [each > THRESHOLD for _, each in evidence_by_day(dict.fromkeys(range(40, 45), 1), since=0, rate=1 / 30)]
    [False, False, False, True, True]

    """

    name = "promise"
    moved = False

    def __init__(self, model_id: str, policy: ModelPolicy) -> None:
        super().__init__(model_id, policy)
        self.opened: dict[str, tuple[int, bool]] = {}  # incident -> when it opened, and whether it was judged false
        self.first: int | None = None  # day of the first prediction, since 1970
        self.since = _LONG_AGO  # the first day that counts
        self.now_ms: int | None = None  # how far time has come; never part of the state

    def add(self, rows: Rows, where: Ints) -> None:
        """Note the first day with a prediction."""
        made = where[rows.column("kind")[where] == Kind.PREDICTION]
        if len(made):
            first = int(rows.column("predicted_at")[made].min() // DAY_MS)
            self.first = first if self.first is None else min(first, self.first)

    def advance(self, watermark_ms: int, versions: Mapping[str, ModelVersion], found: Sequence[Event]) -> list[Event]:
        """Note the incidents that have opened, but for those of which no failure is tolerated: they spend nothing of the budget."""
        for event in found:
            if event.type == EventType.DRIFT_OPENED and isinstance(event.data, DriftData) and not self._is_fact(event.data.metric):
                self.opened[event.data.incident_id], self.moved = (event.time_ms, False), True
                for oldest in list(self.opened)[:-KEPT]:
                    del self.opened[oldest]
        self.take_back_time(watermark_ms)
        return []

    def _is_fact(self, metric: str) -> bool:
        family, _, check = metric.partition(":")
        return family == CHECK and rule_of(self.policy, check).zero_tolerance

    def next_ms(self, watermark_ms: int) -> int:
        """Return that nothing will be due: it is people who speak."""
        return NEVER

    def take_back_time(self, watermark_ms: int) -> None:
        """Know how far time has come."""
        self.now_ms = watermark_ms if self.now_ms is None else max(self.now_ms, watermark_ms)

    def use(self, policy: ModelPolicy) -> list[Event]:
        """Follow another policy; where the budget is another, the count begins anew."""
        if policy.budget != self.policy.budget and self.now_ms is not None:
            self.since = max(self.since, self.now_ms // DAY_MS + 1)
        return super().use(policy)

    def decide(self, control: Control) -> list[Event]:
        """Take a verdict, the latest one; tell of a breach that it shows."""
        if control.type != ControlType.VERDICT or control.incident_id not in self.opened or self.first is None:
            return []
        at_ms, _ = self.opened[control.incident_id]
        self.opened[control.incident_id] = at_ms, control.body["verdict"] == "false"
        days = Counter(at // DAY_MS for at, false in self.opened.values() if false)
        budget, since, n = self.policy.budget, max(self.since, self.first), 0
        for day, evidence in evidence_by_day(days, since=since, rate=budget.pages / budget.days):
            n += days[day]
            if evidence >= THRESHOLD:
                self.since = day + 1
                return [self._event(n, since, day, evidence, epoch_ms(control.at))]
        return []

    def _event(self, n: int, since: int, day: int, evidence: float, at_ms: int) -> Event:
        budget, text = self.policy.budget, f"{self.model_id}\0budget\0{since}"
        incident_id = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        data = BudgetBreached(
            incident_id=incident_id,
            model_id=self.model_id,
            false_alarms=n,
            pages=budget.pages,
            days=budget.days,
            evidence=evidence,
            threshold=THRESHOLD,
            window=Window(from_=rfc3339(since * DAY_MS), to=rfc3339((day + 1) * DAY_MS)),
            message=(
                f"{n} of the alarms of {self.model_id} in {day + 1 - since:,} days were judged false, where {budget.pages:g} in "
                f"{budget.days:g} days is declared: more than chance explains. Accept what has become normal as the baseline, "
                "raise the tolerance of the monitors concerned, or declare the budget that you can bear."
            ),
        )
        return Event(
            id=f"{incident_id}-breached", type=EventType.BUDGET_BREACHED, subject=subject(self.model_id, ""), time_ms=at_ms, data=data
        )

    def to_state(self) -> dict[str, Any] | None:
        """Return the state as plain values; versioned."""
        if self.first is None and not self.opened:
            return None
        opened = [[incident, *each] for incident, each in self.opened.items()]
        return {"version": STATE_VERSION, "opened": opened, "first": self.first, "since": self.since}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave.

        Raises
        ------
        ValueError
            If it is of another version.

        """
        expect_version(state, STATE_VERSION, "a state of the promise")
        self.opened = {incident: (at_ms, false) for incident, at_ms, false in state["opened"]}
        self.first, self.since = state["first"], state["since"]


def evidence_by_day(false: Mapping[int, int], *, since: int, rate: float) -> list[tuple[int, float]]:
    """Return the evidence against "at most ``rate`` a day" after each day with a false alarm, from a day on.

    ``false`` are the false alarms by day; those before ``since`` do not count.

    >>> [(day, round(each, 2)) for day, each in evidence_by_day({0: 1, 9: 1}, since=0, rate=0.1)]
    [(0, 2.05), (9, 12.92)]
    """
    stakes, found, before = np.array(STAKES), [], since - 1
    evidence = np.zeros(len(stakes))
    for day, n in sorted(false.items()):
        if day >= since:
            kept = (1 - stakes) ** (day - before - 1)  # of the evidence, on days without a false alarm; each begins a product of its own
            evidence = evidence * kept + (1 - stakes) * (1 - kept) / stakes
            evidence = np.minimum((evidence + 1) * (1 - stakes + stakes * n / rate), _MOST)
            before = day
            found.append((day, float(evidence.mean())))
    return found


COMPANION = Promise
