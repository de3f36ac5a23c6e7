"""A version against its rivals: the other versions of its model that answered the same requests.

Where two versions answered one request and one was right and the other wrong, the label is a coin between them. "No difference" says that
the coin is fair: then a bet ``(q/½)**w * ((1-q)/½)**(n-w)`` on ``w`` of ``n`` is fair too, however the two versions' mistakes hang
together. It is the bet on a rate with the contract ½, in both directions (McNemar's test, made sequential); requests on which both
were right or both wrong say nothing about which is better.

Where both sent scores there is a second bet, on the difference of their squared errors: its null is that the mean is zero, see
``detectors.bets.pairs``. It finds the version whose probabilities are better although it errs as often. The two bets share the budget.
Of versions that predict numbers the coin is which of the two was further from the truth; nothing is said where both were as far.

Evidence is read at the age at which the labels of both versions are mature, not before: labels that are known early are a selected part
of all (often the negatives), and the version that says "negative" more often would look the better one there.

References
----------
McNemar, Psychometrika 12 (1947). Fan, Grama & Liu, Electronic J. of Probability 20 (2015).

"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from detectors.bank import StepContext
from detectors.bets.pairs import PairScoreBet
from detectors.families import BRIER, CHALLENGER, family
from detectors.ladder import DAY_MS, Ladder
from detectors.named_rates import SHARE_BITS, NamedBank, NamedRateBet, RateReading, rate_reading
from detectors.pair_panes import PAIR, SIZES, PairPanes
from detectors.pair_words import worded
from detectors.panel import Panel
from detectors.panes import BEGINNING, BIN_BITS, SumTable, grouped
from detectors.rate_watch import RateWatch
from detectors.tracks import Track
from schemas.policy_models import ModelPolicy, WatchPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from detectors.fixed import Ints
    from detectors.incident_events import IncidentEvent
    from detectors.model_version import ModelVersion
    from schemas.findings import Event

RUNG = 1  # of the bank: there is one age
EVEN = 0.5
TOLERATED = {CHALLENGER: 1.0, BRIER: 0.25}  # of the policy's tolerance: a fifth of the coin's odds, a twentieth of the champion's score
_TABLES = {"totals": PAIR, "history": PAIR, "total_sizes": SIZES, "history_sizes": SIZES}
_DAY_BITS = 33
_HALF = 1 << (_DAY_BITS - 1)


class PairBank(NamedBank):
    """The evidence of a version against the champion that its policy names."""

    def track(self, name: str) -> Track | None:
        """Return how a rival is watched in one direction; None: it is not the champion, or nothing is watched."""
        watch = self.policy.watch.get(CHALLENGER, WatchPolicy(enabled=False))
        kind, _, rival = name.partition(":")
        if not watch.enabled or watch.parameters.get("champion") != rival:
            return None
        watched = family(name)
        asked = None if watch.tolerance is None else watch.tolerance * TOLERATED[kind]
        tolerance = watched.tolerance if asked is None else asked
        return Track(family=watched, direction=watched.directions[0], tolerance=tolerance, contract=EVEN if kind == CHALLENGER else 0.0)

    def _build(self, rung: int, mature: bool, names: Sequence[str] = ()) -> list[Panel]:
        panels = []
        for name in names:
            track = self.track(name)
            if track is not None:
                both = [replace(track, direction=direction) for direction in track.family.directions]
                bet = PairScoreBet(name) if name.startswith(f"{BRIER}:") else NamedRateBet(name)
                panels.append(Panel(bet, both, rung=rung, rule=self.rule))
        return panels


class VersionPairs(RateWatch):
    """One version against every rival: sums for the report, evidence against the champion."""

    prefix = CHALLENGER
    champion = ""  # that the bank goes by

    def __init__(self, model_id: str, name: str, policy: ModelPolicy, watermark_ms: int) -> None:
        super().__init__(model_id, name, policy, (), watermark_ms)
        self.pairs = PairPanes(Ladder(policy.ages_ms, policy.horizon_ms).ages)
        self.totals = SumTable(PAIR)  # by rival
        self.history = SumTable(PAIR)  # of what was read, by rival and day of the prediction
        # of numbers, by row of errors too
        self.total_sizes, self.history_sizes = SumTable(SIZES), SumTable(SIZES)

    def new_bank(self, policy: ModelPolicy) -> NamedBank:
        """Return the bank of a policy, against the champion in force."""
        return PairBank(policy=against(policy, self.champion))

    def add_pairs(self, rival: str, predicted_at: Ints, known_at: Ints, sums: Ints, sizes: tuple[Ints, Ints, Ints] | None = None) -> None:
        """Add what labels say of this version and a rival; sums in the layout ``PAIR``, shape (n, width), sizes as of ``pair_sizes``."""
        number = self.number(rival)
        self.totals.add(np.full(len(sums), number, dtype=np.int64), sums)
        if sizes is not None:
            self.total_sizes.add(number << BIN_BITS | sizes[1], sizes[2])
        if self.watched:
            self.pairs.add(number, predicted_at, known_at - predicted_at, sums, sizes)

    def sizes(self, rival: int) -> tuple[Ints, Ints]:
        """Return how far off this version's numbers and a rival's were, all labels known so far: rows of errors and their ``SIZES``."""
        within = self.total_sizes.span(rival << BIN_BITS, (rival + 1) << BIN_BITS)
        return self.total_sizes.keys[within] & ((1 << BIN_BITS) - 1), self.total_sizes.rows[within]

    @property
    def watched(self) -> bool:
        """Whether the policy asks for evidence."""
        return self.policy.watch.get(CHALLENGER, WatchPolicy(enabled=False)).enabled

    def settle(self, versions: Mapping[str, ModelVersion]) -> None:
        """Find the ages at which rivals are read, where the label delays of both versions have shown them by now."""
        mine, narrowest = versions.get(self.name), []
        for number, rival in enumerate(self.names):
            other = versions.get(rival)
            if number in self.pairs.settled:
                narrowest.append(self.pairs.width_of(number))
            elif mine is not None and other is not None:
                ladders = mine.ladder, other.ladder
                ages = [(ladder.age_ms(top), ladder.enabled_ms[top - 1]) for ladder in ladders if (top := ladder.mature) is not None]
                if len(ages) == len(ladders):
                    self.pairs.settle(number, *map(max, zip(*ages, strict=True)))
                    self.stepped = True
                    narrowest.append(self.pairs.width_of(number))
                else:
                    narrowest.append(max(_narrowest(ladder) for ladder in ladders))
        self.pairs.widen(min(narrowest, default=0))

    def read_due(
        self, watermark_ms: int, share: Callable[[int], float], champion: Callable[[int], str], version: ModelVersion | None
    ) -> list[Event]:
        """Read every pane that is due by the watermark, in due order; ``champion`` says against whom at a time."""
        events: list[Event] = []
        for due_ms, rival, start_ms in self.pairs.due(watermark_ms, dict(enumerate(self.names))):
            events += self.told(self.close_silent(due_ms, version), version)
            self.stepped = True
            events += self._follow(champion(due_ms), due_ms)
            sums, (rows, sizes) = self.pairs.read(rival, start_ms)
            day = rival << _DAY_BITS | (start_ms // DAY_MS + _HALF)
            self.history.add(np.array([day]), sums[np.newaxis])
            self.history_sizes.add(day << BIN_BITS | rows, sizes)
            signals = self.bank.step(self._pane(due_ms, rival, start_ms, sums), StepContext(share=share(due_ms)))
            found = self.incidents.apply(signals, due_ms, self.segment_text) if signals or self.incidents.open else []
            events += self.told(found, version)
        events += self.told(self.close_silent(watermark_ms, version), version)
        self.passed(watermark_ms)
        return events

    def _follow(self, champion: str, due_ms: int) -> list[Event]:
        if champion == self.champion:
            return []
        self.champion = champion
        return self.use(self.policy, due_ms)

    def _pane(self, due_ms: int, rival: int, start_ms: int, sums: Ints) -> RateReading:
        # A correction can outrun what it corrects, where two workers wrote them.
        alone, other = (max(int(sums[PAIR.at[name]]), 0) for name in ("alone", "rival_alone"))
        counts = {f"{CHALLENGER}:{self.names[rival]}": np.array([[alone + other, alone << SHARE_BITS]])}
        if sums[PAIR.at["scored"]] > 0:  # without scores there is no second bet, and the first has the budget for itself
            counts[f"{BRIER}:{self.names[rival]}"] = sums[np.newaxis]
        reading = rate_reading(
            rung=RUNG,
            age_ms=self.pairs.settled[rival][0],
            start_ms=start_ms,
            end_ms=start_ms + self.pairs.width_of(rival),
            mature=True,
            segments=np.zeros(1, dtype=np.int64),
            counts=counts,
        )
        return replace(reading, due_ms=due_ms)  # what was overdue when the age was settled is read later

    def next_ms(self, watermark_ms: int) -> int:
        """Return before which time nothing will be due of the rivals whose age is known, whatever is added."""
        return BEGINNING if self.incidents.open else self.pairs.next_ms(watermark_ms)  # silence closes what is open

    def oldest_ms(self, at_ms: int) -> int:
        """Return the oldest age at which a rival is read, of those known by then."""
        return max((age_ms for age_ms, since_ms in self.pairs.settled.values() if since_ms <= at_ms), default=0)

    def passed(self, watermark_ms: int) -> None:
        """Close what the watermark has passed: what comes later for it is late."""
        self.pairs.passed(watermark_ms)

    def use(self, policy: ModelPolicy, due_ms: int) -> list[Event]:
        """Follow another policy, or champion, from here on; incidents of what it drops are closed."""
        self.policy = policy
        self.bank = PairBank.from_state(self.bank.to_state(), policy=against(policy, self.champion))
        return self.told(self.incidents.keep(self.bank.active(), due_ms, self.segment_text), None)

    def worded(self, event: IncidentEvent) -> IncidentEvent:
        """Say which version is better, by how much, on how many outcomes: of the requests since the day of the onset."""
        return worded(event, self.model_id, self.name, *self._since(self.number(event.metric.partition(":")[2]), event.onset_ms))

    def _since(self, rival: int, onset_ms: int) -> tuple[Ints, tuple[Ints, Ints]]:
        first, end = rival << _DAY_BITS | (onset_ms // DAY_MS + _HALF), (rival + 1) << _DAY_BITS
        sums = self.history.rows[self.history.span(first, end)].sum(axis=0)
        within = self.history_sizes.span(first << BIN_BITS, end << BIN_BITS)
        return np.asarray(sums), grouped(self.history_sizes.keys[within] & ((1 << BIN_BITS) - 1), self.history_sizes.rows[within])

    def state_against(self, rival: str) -> str:
        """Return what the evidence on a rival is at."""
        if self.new_bank(self.policy).track(f"{CHALLENGER}:{rival}") is None:
            return "off"
        names = {f"{kind}:{rival}" for kind in (CHALLENGER, BRIER)}
        active = any(panel.active for panels in self.bank.panels.values() for panel in panels if panel.bet.name in names)
        return "alarm" if active else "watching"

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        own = {name: getattr(self, name).to_state() for name in ("pairs", *_TABLES)}
        return super().to_state() | own | {"champion": self.champion}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        super().load(state)
        self.champion = state["champion"]
        self.bank = PairBank.from_state(state["bank"], policy=against(self.policy, self.champion))
        self.pairs = PairPanes.from_state(state["pairs"])
        for name, layout in _TABLES.items():
            setattr(self, name, SumTable.from_state(layout, state[name]))


def against(policy: ModelPolicy, champion: str) -> ModelPolicy:
    """Return a policy that names the champion in force."""
    watch = policy.watch.get(CHALLENGER, WatchPolicy(enabled=False))
    if "champion" in watch.parameters:
        return policy
    named = msgspec.structs.replace(watch, parameters={"champion": champion})
    return msgspec.structs.replace(policy, watch={**policy.watch, CHALLENGER: named})


def first_of(versions: Mapping[str, ModelVersion], since_ms: int, due_ms: int) -> str:
    """Return the version that predicted first, to ten seconds, of those with predictions since a time; of a tie the lowest name."""
    seen = [(version.schedule.first_ms, name) for name, version in versions.items() if version.schedule.first_ms is not None]
    seen = [(first_ms, name) for first_ms, name in seen if first_ms < due_ms]
    lately = [each for each in seen if versions[each[1]].sums.active(since_ms, due_ms)]
    return min(lately or seen, key=lambda each: (each[0], natural(each[1])), default=(0, ""))[1]


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers in names as numbers.

    >>> sorted(["1.10", "1.9", "v2"], key=natural)
    ['1.9', '1.10', 'v2']
    """
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.findall(r"\d+|\D+", name)]


def _narrowest(ladder: Ladder) -> int:
    rungs = [ladder.mature] if ladder.mature is not None else ladder.undecided()
    return min((ladder.width_ms(rung) for rung in rungs), default=0)
