"""The features of one model version: values by pane, the cells they are counted in, evidence and incidents."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.bank import StepContext
from detectors.bets.covariates import CovariateReading
from detectors.cells import BIN, KNOWN, MADE, Layout
from detectors.families import CATEGORY, MISSING, NUMBER
from detectors.feature_bank import FeatureBank
from detectors.feature_packing import wanted
from detectors.feature_panes import CODE_BITS, COUNT, PREDICTIONS, FeaturePanes, key_of
from detectors.feature_scale import NUMBERS, Scale, by_cell, learn
from detectors.incident_events import CLEARED
from detectors.incident_watch import IncidentWatch
from detectors.monitors import ACTIVE
from detectors.panes import BEGINNING, SumTable
from detectors.reading import BEFORE
from detectors.segments import OTHER
from detectors.state_version import expect_version
from schemas import feature_codes
from schemas.feature_codes import ABSENT, TEXT
from schemas.policy_models import MAX_FEATURES
from schemas.report import FeatureWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from detectors.fixed import Ints
    from detectors.incident_events import IncidentEvent
    from detectors.model_version import ModelVersion
    from schemas.findings import Event
    from schemas.policy_models import ModelPolicy
    from schemas.scored import Rows

STATE_VERSION = 1
MOST_CATEGORIES = 200  # of a feature that are told apart; the others are ``__other__``
TOTAL = Layout(counts=("values", "missing"), sums={})
_MOST_NAMED = 5


class VersionFeatures(IncidentWatch):
    """A pure fold of one version: rows add to panes; the watermark steps them in due order.

    Parameters
    ----------
    model_id, name
        Which version of which model.
    policy
        Of the model.
    watermark_ms
        Where the fold stands when the version's first features come.

    """

    bank: FeatureBank

    def __init__(self, model_id: str, name: str, policy: ModelPolicy, watermark_ms: int) -> None:
        super().__init__(model_id, name, policy)
        self.names = [""]  # of features, by number; 0 is ``PREDICTIONS``
        self.words: list[list[str]] = [[]]  # categories of each feature, by number
        self.panes = FeaturePanes(watermark_ms)
        self.first = SumTable(COUNT)  # ``key_of`` values of features that have no scale yet; under ABSENT, all predictions
        self.totals = SumTable(TOTAL)  # by feature; under ``PREDICTIONS``, those that brought any

    def new_bank(self, policy: ModelPolicy) -> FeatureBank:
        """Return the bank of a policy."""
        return FeatureBank(policy=policy)

    def segment_name(self, number: int) -> dict[str, str]:
        """Return the only segment there is, the whole."""
        return {}

    def add(self, rows: Rows, where: Ints) -> int:
        """Add predictions; return when the first one with a watched feature was made."""
        named = wanted(self.policy) or ()
        codes = {name: rows.feature(name)[where] for name in sorted(rows.features) if not named or name in named}
        brought = np.zeros(len(where), dtype=bool)
        for each in codes.values():
            brought |= each != ABSENT
        if not brought.any():
            return -BEFORE
        at = rows.column("predicted_at")[where]
        sign = rows.column("sign")[where].astype(np.int64)
        picked = [(PREDICTIONS, np.flatnonzero(brought), np.zeros(int(brought.sum()), dtype=np.int64))]
        for name in sorted(codes, key=lambda name: (int((codes[name] != ABSENT).argmax()), name)):
            number = self._number(name)
            places = np.flatnonzero(codes[name])
            if number != PREDICTIONS and len(places):
                picked.append((number, places, self._categories(number, codes[name][places], rows.texts)))
        places = np.concatenate([place for _, place, _ in picked])
        keys = np.concatenate([key_of(number, code) for number, _, code in picked])
        self.panes.add(at[places], keys, sign[places])
        lacks = keys & ((1 << CODE_BITS) - 1) == feature_codes.MISSING
        self.totals.add(keys >> CODE_BITS, np.stack([~lacks, lacks], axis=1) * sign[places, None])
        return int(at[brought].min())

    def _number(self, name: str) -> int:
        """Return the number of a feature, new or known; 0: there are too many."""
        if name in self.names:
            return self.names.index(name)
        if len(self.names) > MAX_FEATURES:
            return PREDICTIONS
        self.names.append(name)
        self.words.append([OTHER])
        return len(self.names) - 1

    def _categories(self, number: int, codes: Ints, texts: list[str]) -> Ints:
        """Return codes with the numbers that categories have here: in order of their first use, so that no cut of the log matters."""
        text = codes >= TEXT
        if not text.any():
            return codes
        words = self.words[number]
        used, first, which = np.unique(codes[text], return_index=True, return_inverse=True)
        numbers = np.zeros(len(used), dtype=np.int64)
        for place in np.argsort(first).tolist():
            word = texts[int(used[place]) - TEXT]
            if word not in words and len(words) <= MOST_CATEGORIES:
                words.append(word)
            numbers[place] = words.index(word) if word in words else 0
        out = codes.copy()
        out[text] = TEXT + numbers[which]
        return out

    def advance(self, watermark_ms: int, share: Callable[[int], float], version: ModelVersion | None) -> list[Event]:
        """Read every pane that is due by the watermark; return what the incidents say."""
        found: list[IncidentEvent] = []
        for due_ms, start_ms in self.panes.due(watermark_ms):
            found += self.close_silent(due_ms, version)
            self.stepped = True
            reading = self._reading(due_ms, start_ms)
            signals = self.bank.step(reading, StepContext(share=share(due_ms)))
            self.learnt.add(signals, self.segment_name, lambda _: 0)
            if signals or self.incidents.open:
                found += self.incidents.apply(signals, due_ms, self.segment_text)
        found += self.close_silent(watermark_ms, version)
        self.passed(watermark_ms)
        return self.told(found, version)

    def next_ms(self, watermark_ms: int) -> int:
        """Return before which time nothing will be due, whatever is added."""
        return BEGINNING if self.incidents.open else self.panes.next_ms(watermark_ms)  # silence closes what is open

    def passed(self, watermark_ms: int) -> None:
        """Close what the watermark has passed."""
        self.panes.passed(watermark_ms)

    def _reading(self, due_ms: int, start_ms: int) -> CovariateReading:
        keys, counts = self.panes.read(start_ms)
        feature = keys >> CODE_BITS
        n = int(counts[feature == PREDICTIONS].sum())
        seen: dict[str, Ints] = {}
        for number, name in sorted(enumerate(self.names[1:], 1), key=lambda each: each[1]):
            mine = slice(*np.searchsorted(feature, (number, number + 1)).tolist())
            codes = keys[mine] & ((1 << CODE_BITS) - 1)
            if name in self.bank.scales:
                seen |= self._counted(number, codes, counts[mine], n)
            elif len(codes):
                seen |= self._first(number, codes, counts[mine], n)
        none = np.zeros((1, 0, BIN.width), dtype=np.int64)
        return CovariateReading(
            rung=0,
            age_ms=0,
            start_ms=start_ms,
            end_ms=due_ms,
            due_ms=due_ms,
            mature=False,
            segments=np.zeros(1, dtype=np.int64),
            made=MADE.zeros(1),
            known=KNOWN.zeros(1),
            made_bins=none,
            known_bins=none,
            counts=seen,
        )

    def _first(self, number: int, codes: Ints, counts: Ints, n: int) -> dict[str, Ints]:
        """Add to a feature's first values; once they are enough, learn its cells, and count the values in them."""
        self.first.add(key_of(number, np.append(codes, ABSENT)), np.append(counts, n)[:, None])
        within = self.first.span(key_of(number, 0), key_of(number + 1, 0))
        codes, counts = self.first.keys[within] & ((1 << CODE_BITS) - 1), self.first.rows[within, 0]
        valued = codes >= feature_codes.LOWEST
        scale = learn(codes[valued], counts[valued], self.words[number])
        if scale is None:
            return {}
        self.bank.watch({self.names[number]: scale})
        self.first.keys, self.first.rows = np.delete(self.first.keys, within), np.delete(self.first.rows, within, axis=0)
        return self._counted(number, codes[valued], counts[valued], int(counts[codes == ABSENT].sum()))

    def _counted(self, number: int, codes: Ints, counts: Ints, n: int) -> dict[str, Ints]:
        """Return a feature's observations; what is not sent, null, or of the other kind is missing."""
        name = self.names[number]
        scale, valued = self.bank.scales[name], codes >= feature_codes.LOWEST
        cells = by_cell(scale, codes[valued], counts[valued], self.words[number])
        prefix = NUMBER if scale.kind == NUMBERS else CATEGORY
        return {f"{prefix}:{name}": cells, f"{MISSING}:{name}": np.array([n, n - int(cells.sum())])}

    def worded(self, event: IncidentEvent) -> IncidentEvent:
        """Say which other features have moved."""
        names = {key.family.partition(":")[2]: None for key in event.members}
        others = sorted(names.keys() - {event.metric.partition(":")[2]})
        if not others or event.event == CLEARED:
            return event
        more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        return replace(event, message=f"{event.message} Other inputs that moved: {', '.join(others[:_MOST_NAMED])}{more}.")

    def watches(self) -> list[FeatureWatch]:
        """Return what stands of each feature, in the order of their names."""
        totals = self.totals.dense(len(self.names))
        n, found = int(totals[PREDICTIONS, 0]), []
        for number, name in sorted(enumerate(self.names[1:], 1), key=lambda each: each[1]):
            values, missing = totals[number].tolist()
            if n > 0 and values + missing > 0:
                scale: Scale | None = self.bank.scales.get(name)
                found.append(
                    FeatureWatch(
                        name=name,
                        kind="" if scale is None else scale.kind,
                        n=n,
                        missing=max(missing, 0),
                        absent=max(n - values - missing, 0),
                        missing_share=min(max(1 - values / n, 0.0), 1.0),
                        state=self._state(name),
                    )
                )
        return found

    def _state(self, name: str) -> str:
        named = wanted(self.policy)
        if named is None or (named and name not in named):
            return "off"
        states = [
            int(panel.monitors.state[row])
            for panel in self.bank.panels.get(0, [])
            for row in range(panel.monitors.count)
            if panel.key(row, 0).family.partition(":")[2] == name
        ]
        return "alarm" if ACTIVE in states else "watching" if any(states) else "learning"

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes, ready for msgpack; versioned."""
        return {
            "version": STATE_VERSION,
            "names": list(self.names),
            "words": [list(words) for words in self.words],
            "panes": self.panes.to_state(),
            "first": self.first.to_state(),
            "totals": self.totals.to_state(),
            **super().to_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave.

        Raises
        ------
        ValueError
            If the state is of another version.

        """
        expect_version(state, STATE_VERSION, "features' state")
        self.names, self.words = list(state["names"]), [list(words) for words in state["words"]]
        self.panes = FeaturePanes.from_state(state["panes"])
        self.first, self.totals = SumTable.from_state(COUNT, state["first"]), SumTable.from_state(TOTAL, state["totals"])
        super().load(state)
