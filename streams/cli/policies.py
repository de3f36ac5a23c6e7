"""Reading a policy file for a command: every fault at once, with the next thing to type."""

from pathlib import Path
from typing import TYPE_CHECKING

from streams.cli.output import clean, fail

if TYPE_CHECKING:
    from schemas.policy import Policy
    from schemas.policy_models import WatchPolicy
    from schemas.reference import Reference


def read_policy(path: Path) -> "Policy":
    """Return a policy, or exit with all its faults."""
    policy, faults = try_policy(path)
    if policy is None or faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        fail(f"{path} is no policy that can be used:\n{listed}\nThe keys are listed in docs/policy.md; try again with: gnomon check {path}")
    return policy


def read_references(policy: "Policy", path: Path) -> "list[tuple[str, Reference]]":
    """Return what the files of ``baseline.file`` say, by model, or exit with what is wrong with them; ``path`` is the policy's."""
    from streams.logs import ReplayError  # noqa: PLC0415  # heavy
    from streams.reference import policy_references  # noqa: PLC0415  # heavy

    try:
        return policy_references(policy, path.parent)
    except ReplayError as error:
        fail(clean(f"baseline.file: {error}"))


def try_policy(path: Path) -> tuple["Policy | None", list[str]]:
    """Return a policy and what is wrong with it; detectors and metrics are looked up too."""
    from schemas.policy import PolicyError, parse_policy  # noqa: PLC0415  # heavy

    try:
        policy = parse_policy(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        fail(f"expected a policy (TOML) at {path}, found no file; an empty file stands for the defaults: touch {path}")
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}; see: ls -l {path}")
    except UnicodeDecodeError:
        return None, ["expected text in UTF-8"]
    except PolicyError as error:
        return None, error.faults
    return policy, _names(policy, path.parent)


def _names(policy: "Policy", folder: Path) -> list[str]:
    """Return the faults of what a policy names: detectors, their parameters, metrics, files."""
    from schemas.policy_reader import join  # noqa: PLC0415  # heavy

    faults: list[str] = []
    for path, model in [("defaults", policy.defaults), *((join("models", name), model) for name, model in policy.models.items())]:
        faults += [f"{path}.watch.{family}: {fault}" for family, watch in model.watch.items() if (fault := _detector(family, watch))]
        faults += [f"{path}.metrics: {fault}" for metric in model.metrics if (fault := _metric(metric))]
        if model.baseline.file is not None and not _is_file(folder / model.baseline.file):
            where = (
                f"{model.baseline.file!r}, seen from the policy's folder"
                if not Path(model.baseline.file).is_absolute()
                else repr(model.baseline.file)
            )
            faults.append(f"{path}.baseline.file: expected a table of predictions with their true_label, found no file at {where}")
        elif model.baseline.file is not None and path == "defaults":
            faults.append("defaults.baseline.file: expected it under the model whose set it is, [models.NAME.baseline]")
    return list(dict.fromkeys(faults))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be entered, a name that is too long
        return False


def _detector(family: str, watch: "WatchPolicy") -> str | None:
    from detectors.tracks import check_detectors  # noqa: PLC0415  # heavy
    from schemas.policy_models import ModelPolicy  # noqa: PLC0415  # heavy

    try:
        check_detectors(ModelPolicy(watch={family: watch}))
    except ValueError as error:
        return str(error).removeprefix(f"watch.{family}: ").removeprefix(f"watch.{family}.")
    return None


def _metric(name: str) -> str | None:
    from detectors.river.metrics import label_metric  # noqa: PLC0415  # heavy

    try:
        label_metric(name, 1, 1, 1, 1)
    except ValueError as error:
        return str(error)
    return None
