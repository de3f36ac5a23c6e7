"""What was claimed of a model beside what production says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detectors.bets.claims import CLAIMS
from detectors.cells import CONFUSION, KNOWN, many_classes
from schemas.report import Claim

MANY = "not judged: it has no meaning where the answer is one of many classes or a number; accuracy has one"

if TYPE_CHECKING:
    from detectors.model_version import ModelVersion
    from schemas.figures import AgedFigures


def claims_of(version: ModelVersion, mature: AgedFigures | None) -> list[Claim]:
    """Return the claims that the policy holds against a version, by the labels at its oldest rung.

    ``mature`` are the aggregate's figures there, for the calibration error: that has no interval, and no evidence is gathered against it.
    """
    known = version.mature_sums.known.dense(1)[0]
    many = bool(many_classes(version.mature_sums.made.dense(1)[0]))
    counts = np.array([float(known[KNOWN.at[cell]]) for cell in CONFUSION])
    refuted = {key.family for key in version.bank.active() | version.bank.outlived()}
    claims = []
    for name, claimed in sorted(version.policy.claims.items()):
        bet = CLAIMS.get(name)
        if bet is None:
            scored = int(known[KNOWN.at["scored"]])
            claims.append(Claim(name=name, claimed=claimed, value=mature.ece_10 if mature is not None else None, n=scored))
            continue
        if bet.of_binary and many:
            claims.append(Claim(name=name, claimed=claimed, why=MANY))
            continue
        value, lo, hi, n = bet.measure(counts)
        seen = Claim(name=name, claimed=claimed, value=value, lo=lo, hi=hi, n=round(n), refuted=name in refuted)
        claims.append(seen if n > 0 else Claim(name=name, claimed=claimed))
    return claims
