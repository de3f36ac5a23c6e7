"""A reference set, as files: counted by the same join and fold as production, for a record that carries what was counted.

It is either a log of predictions beside one of outcomes, or one table with both: a prediction's fields with ``true_label`` in each row.
There the request id, model, version and time may be left out: rows then stand one second apart. All its labels are taken to be mature.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from detectors.joiner import Joiner
from detectors.ladder import GRID_MS
from detectors.pending import DictTable
from detectors.reference import COUNTED, reference_of
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.fields import LAST_MS
from schemas.policy import Policy
from schemas.policy_models import FAMILIES, BaselinePolicy, ModelPolicy, WatchPolicy
from schemas.reference import Reference
from schemas.scored import Kind, Rows
from streams.logs import Log, ReplayError, log_of, read_log
from streams.replay_join import chunks

_NEVER = 1e9  # days until a baseline would be frozen
_SECOND_MS = 1_000
_OUTCOME = ("true_label", "cost")  # fields of one table that are the outcome's


def count_reference(
    files: tuple[Path, ...], policy: Policy, model_id: str, version: str | None = None, *, any_version: bool = False
) -> list[Reference]:
    """Return what files say of a model's versions, one reference each.

    Parameters
    ----------
    files
        Predictions and outcomes, or one table with both.
    policy
        Positive label, threshold, dimensions and cost of the model.
    model_id
        Whose.
    version
        Count this version only. None: each that the files hold.
    any_version
        Where a table does not name the version: what it says holds for all of them. Else ``version`` stands for it.

    Raises
    ------
    ReplayError
        If a file cannot be read, is empty, lacks what is needed, or holds other models or versions only.

    """
    logs, named = _logs(files, model_id, version)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    shown = " and ".join(map(str, files))
    watch = _fold(logs, policy, model_id, shown)
    versions = watch.models.get(model_id, {})
    wanted = list(versions) if version is None else [name for name in versions if name == version]
    if not wanted:
        held = ", ".join(f"{model} {name}" for model, found in sorted(watch.models.items()) for name in sorted(found))
        raise ReplayError(f"{shown}: expected predictions of {model_id}{f' {version}' if version else ''}, found those of {held or 'none'}")
    counts = {(m.model_id, m.model_version): m.segments[0] for m in report([watch]).models}
    found = []
    for name in sorted(wanted):
        figures = counts[model_id, name]
        if not figures.n_labelled:
            raise ReplayError(f"{shown}: expected outcomes for the predictions of {model_id} {name}, found none; is `true_label` there?")
        of = name if named or not any_version else None
        n, labelled = int(figures.n_predictions), int(figures.n_labelled)
        found.append(reference_of(versions[name], sha256=digest, predictions=n, labelled=labelled, model_version=of))
    return found


def policy_references(policy: Policy, folder: Path) -> list[tuple[str, Reference]]:
    """Return (model, reference) of every model of a policy that names a file; paths are relative to ``folder``. Raises as above."""
    return [
        (model_id, reference)
        for model_id, model in policy.models.items()
        if model.baseline.file is not None
        for reference in count_reference((folder / model.baseline.file,), policy, model_id, any_version=True)
    ]


def _logs(files: tuple[Path, ...], model_id: str, version: str | None) -> tuple[dict[str, Log], bool]:
    """Return the logs, and whether the version is named in them."""
    read = [read_log(path) for path in files]
    for path, log in zip(files, read, strict=True):
        if not len(log):
            raise ReplayError(f"{path}: expected records, the file is empty")
    if len(read) == 2:
        return dict(zip(("predictions", "outcomes"), read, strict=True)), True
    rows = list(_rows(files[0], read[0]))
    named = any("model_version" in row for row in rows)
    predictions, outcomes = [], []
    for number, row in enumerate(rows):
        about = {"request_id": str(number), "row": 0, "timestamp": number * _SECOND_MS} | row
        made = {"model_id": model_id, "model_version": version or "reference"} | about
        predictions.append(msgspec.json.encode({key: value for key, value in made.items() if key not in _OUTCOME}))
        known = {key: about[key] for key in ("request_id", "row", "timestamp", *_OUTCOME) if about.get(key) is not None}
        if known.keys() & set(_OUTCOME):
            outcomes.append(msgspec.json.encode(known))
    return {"predictions": log_of(predictions), "outcomes": log_of(outcomes)}, named


def _rows(path: Path, log: Log) -> Iterator[dict[str, Any]]:
    for line, number in zip(log.lines, log.numbers.tolist(), strict=True):
        try:
            found = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ReplayError(f"{path}, row {number}: {error}") from None
        for row in found if isinstance(found, list) else [found]:
            if not isinstance(row, dict):
                raise ReplayError(f"{path}, row {number}: expected a table's row with its fields by name, got {type(row).__name__}")
            if not row.keys() & {"score", "scores", "predicted_label", "abstained"}:
                raise ReplayError(
                    f"{path}, row {number}: expected a column score (or scores, predicted_label), got {', '.join(sorted(row))}"
                )
            yield row


def _fold(logs: dict[str, Log], policy: Policy, model_id: str, shown: str) -> Watch:
    joiner, table = Joiner(policy, b"reference"), DictTable()
    joined: list[Rows] = []
    ordered = {"predictions": logs["predictions"].ordered(ties="bytes"), "outcomes": logs["outcomes"].ordered(ties="bytes")}
    for batches, _ in chunks(ordered, LAST_MS):
        prepared = joiner.prepare(batches)
        found = joiner.finish(prepared, table.exchange_now(prepared.lookups))
        if found.dead_letters:
            letter = found.dead_letters[0]
            where = int(ordered[letter.topic].numbers[letter.offset])
            raise ReplayError(f"{shown}: {letter.topic.removesuffix('s')} {where} cannot be read: {letter.detail}")
        joined += found.rows
    delays = [rows.column("known_at") - rows.column("predicted_at") for rows in joined]
    kinds = [rows.column("kind") == Kind.LABEL for rows in joined]
    age_ms = max((int(delay[kind].max()) for delay, kind in zip(delays, kinds, strict=True) if kind.any()), default=0)
    watch = Watch(statistics_every_ms=None)
    own = policy.for_model(model_id)
    watch.use(Policy(models={model_id: _counting(own, max(age_ms, GRID_MS[0]))}))
    for rows in joined:
        watch.apply(rows)
    watch.close()
    return watch


def _counting(policy: ModelPolicy, age_ms: int) -> ModelPolicy:
    """Return a policy under which every family adds up and none is ever armed; all labels are known by the one age."""
    return msgspec.structs.replace(
        policy,
        ages_ms=(age_ms,),
        horizon_ms=age_ms if policy.on_timeout == "negative" else None,
        baseline=BaselinePolicy(days=_NEVER, seasonal=False),
        claims={},
        watch={family: WatchPolicy(enabled=family in COUNTED) for family in FAMILIES},
    )
