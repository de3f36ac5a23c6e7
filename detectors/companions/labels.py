"""Where labels are missing, and how long they take: coverage by score and by action, maturity by score."""

from typing import Any

import numpy as np

from detectors.cells import BIN, PANE_GRID
from detectors.companions import Tally
from detectors.fixed import Ints
from detectors.model_version import ModelVersion
from detectors.panes import BIN_BITS, MAX_CLASS, PANE_MS, pane_of
from detectors.state_version import expect_version
from detectors.statistics.stratified_maturity import maturity_by_age, score_strata
from detectors.timeline import aggregate, held_days
from schemas.policy_models import ModelPolicy
from schemas.report import ActionCoverage, AgeShare, LabelReport, ScoreCoverage, StratumMaturity
from schemas.scored import Kind, Rows

STATE_VERSION = 1
STRATA = {1: ("all",), 2: ("low", "high"), 3: ("low", "mid", "high")}


class Labels(Tally):
    """Counts predictions and their labels by action: predicted or not, alerted or not.

    Sums of integers: additive, mergeable, revertible. What is by score is read from the panes. Abstained predictions and
    probes are left out.
    """

    name = "labels"

    def __init__(self, model_id: str, policy: ModelPolicy) -> None:
        super().__init__(model_id, policy)
        self.actions: dict[str, Ints] = {}  # version -> (made, labelled) by 2 * predicted + alerted, shape (4, 2)

    def add(self, rows: Rows, where: Ints) -> None:
        """Count predictions and labels."""
        kind = rows.column("kind")[where]
        kept = (kind == Kind.PREDICTION) | (kind == Kind.LABEL)
        for column in {"probe", "abstained"} & rows.columns.keys():
            kept &= rows.column(column)[where] == 0
        for name, mine in rows.by_version(where if kept.all() else where[kept]):
            bits = (rows.column("predicted")[mine] != 0, rows.column("alerted")[mine] != 0, rows.column("kind")[mine] == Kind.LABEL)
            predicted, alerted, labelled = (bit.view(np.uint8) for bit in bits)
            cell = (predicted << 2 | alerted << 1 | labelled).astype(np.int64)
            counts = self.actions.setdefault(name, np.zeros((4, 2), dtype=np.int64))
            np.add.at(counts.reshape(-1), cell, rows.column("sign")[mine].astype(np.int64))

    def report(self, version: ModelVersion) -> LabelReport | None:
        """Return where a version's labels are missing and how long they take."""
        counts = self.actions.get(version.name)
        if counts is None or not counts[:, 0].any():
            return None
        by_action = [
            ActionCoverage(predicted=bool(i // 2), alerted=bool(i % 2), n=n, n_labelled=known, coverage=known / n)
            for i, (n, known) in enumerate(counts.tolist())
            if n
        ]
        made, known, reached = _cohorts(version)
        by_score = [
            ScoreCoverage(lo=i / PANE_GRID, hi=(i + 1) / PANE_GRID, n=n, n_labelled=labelled, coverage=labelled / n)
            for i, (n, labelled) in enumerate(zip(made.sum(axis=0).tolist(), known.sum(axis=(0, 2)).tolist(), strict=True))
            if n
        ]
        strata = _strata(made, known[:, :, :-1], reached, [age / 1000 for age in version.ladder.ages])
        mature = version.ladder.mature
        return LabelReport(by_score=by_score, by_action=by_action, maturity=strata, slowest=_slowest(strata, mature))

    def to_state(self) -> dict[str, Any] | None:
        """Return the state as plain values; versioned."""
        if not self.actions:
            return None
        return {"version": STATE_VERSION, "actions": {name: counts.tolist() for name, counts in sorted(self.actions.items())}}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave.

        Raises
        ------
        ValueError
            If it is of another version.

        """
        expect_version(state, STATE_VERSION, "a state of labels")
        self.actions = {name: np.array(counts, dtype=np.int64) for name, counts in state["actions"].items()}


def _cohorts(version: ModelVersion) -> tuple[Ints, Ints, Ints]:
    """Return, of each pane, predictions by cell of the score, labels by cell and age class, and how many ages it has reached."""
    sums, ages = version.sums, np.array(version.ladder.ages, dtype=np.int64)
    keys, rows = aggregate(sums, "made_bins")
    panes, at = np.unique(pane_of(keys, BIN_BITS), return_inverse=True)
    made = np.zeros((len(panes), PANE_GRID), dtype=np.int64)
    np.add.at(made, (at, keys & ((1 << BIN_BITS) - 1)), BIN.count(rows, "n"))
    known = np.zeros((len(panes), PANE_GRID, len(ages) + 1), dtype=np.int64)
    keys, rows = aggregate(sums, "known_bins")
    pane, cell, age_class = pane_of(keys, BIN_BITS), keys & ((1 << BIN_BITS) - 1), keys >> BIN_BITS & MAX_CLASS
    held = np.isin(pane, panes)
    np.add.at(known, (np.searchsorted(panes, pane[held]), cell[held], age_class[held] - 1), BIN.count(rows, "n")[held])
    end = panes * PANE_MS + PANE_MS
    for width, frontier in sums.frontiers.items():
        end = np.where(panes * PANE_MS < frontier, panes * PANE_MS + width, end)
    now = min(
        max(held_days(sums, "made_days")[1], held_days(sums, "label_days")[1]), version.watermark_ms
    )  # a closed log has no end of time
    return made, known, np.searchsorted(ages, now - end, side="right").astype(np.int64)


def _strata(made: Ints, known: Ints, reached: Ints, ages_s: list[float]) -> list[StratumMaturity]:
    ranges = score_strata(made.sum(axis=0))
    out = []
    for name, (lo, hi) in zip(STRATA.get(len(ranges), ()), ranges, strict=True):
        share, at_risk = maturity_by_age(made[:, lo:hi].sum(axis=1), known[:, lo:hi].sum(axis=1), reached)
        ages = [
            AgeShare(age_s=age, share=one, at_risk=max(n, 0))
            for age, one, n in zip(ages_s, share.tolist(), at_risk.tolist(), strict=True)
            if np.isfinite(one)
        ]
        n = int(made[:, lo:hi].sum())
        out.append(StratumMaturity(name=name, lo=lo / PANE_GRID, hi=hi / PANE_GRID, n=n, ages=ages))
    return out


def _slowest(strata: list[StratumMaturity], mature: int | None) -> str | None:
    """Return the stratum with the least of its labels at the mature age, or at the last age that was reached; of equal ones, before it."""
    ages = min((len(one.ages) for one in strata), default=0)
    if len(strata) < 2 or not ages:
        return None
    at = ages if mature is None else min(mature, ages)
    return min(strata, key=lambda one: [share.share for share in one.ages[:at]][::-1]).name


COMPANION = Labels
