"""The family ``covariate``: the inputs of a model by feature, as they come, before any label; where the policy asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detectors.budget import LABEL_FREE, SHARES
from detectors.feature_packing import wanted
from detectors.feature_watch import VersionFeatures
from detectors.rate_companion import RateCompanion
from schemas.scored import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from detectors.fixed import Ints
    from detectors.model_version import ModelVersion
    from schemas.report import FeatureWatch
    from schemas.scored import Rows


class Features(RateCompanion):
    """The features of all versions of a model.

    They may spend a tenth of the model's budget, half of what is there for monitors that need no label, from the first prediction on that
    brings one; where the policy does not watch them, nothing.
    """

    name = "features"
    versions: dict[str, VersionFeatures]

    def new(self, name: str) -> VersionFeatures:
        """Return the features of a version that has had none."""
        return VersionFeatures(self.model_id, name, self.policy, self.watermark_ms)

    def may_pick(self, rows: Rows) -> bool:
        """Say, by the columns alone, whether it may be about rows of a message."""
        return bool(rows.features) and wanted(self.policy) is not None

    def picked(self, rows: Rows, where: Ints) -> Ints:
        """Return the predictions of real traffic, if any of the message brings a feature that is watched."""
        if not self.may_pick(rows):
            return where[:0]
        return np.asarray(where[(rows.column("kind")[where] == Kind.PREDICTION) & (rows.column("probe")[where] == 0)])

    def weight(self, due_ms: int) -> float:
        """Return the part of the budget that it spends."""
        return 0.0 if wanted(self.policy) is None else super().weight(due_ms)

    def _share(self, name: str, versions: Mapping[str, ModelVersion]) -> Callable[[int], float]:
        share = super()._share(name, versions)  # all of it is for monitors that need no label, who get their share of a bank's
        return lambda due_ms: share(due_ms) / float(SHARES[LABEL_FREE])

    def report(self, version: ModelVersion) -> list[FeatureWatch] | None:
        """Return the features of a version."""
        mine = self.versions.get(version.name)
        return None if mine is None else mine.watches()


COMPANION = Features
