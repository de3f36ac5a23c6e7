"""The generated pages of the docs: ``python -m streams.cli.reference docs`` writes them, a test holds them against the code."""
# ruff: noqa: PLC0415  each page imports what it is about

import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from typer.models import ArgumentInfo, OptionInfo

NOTE = "<!-- Generated from the code by `python -m streams.cli.reference docs`; change it there. -->"


class Parameter(NamedTuple):
    """An argument or option of a command."""

    shown: str  # as it is typed
    help: str
    required: bool


def commands() -> dict[str, tuple[str, list[Parameter]]]:
    """Return each command's help text and its parameters."""
    from streams.cli.main import app

    groups = [(f"{group.name} ", group.typer_instance) for group in app.registered_groups]
    found = {}
    for prefix, group in [("", app), *groups]:
        for info in group.registered_commands if group is not None else ():
            callback = info.callback
            assert callback is not None  # noqa: S101  registered by ``app.command()(function)``
            parameters = [_parameter(one) for one in inspect.signature(callback).parameters.values()]
            found[prefix + (info.name or callback.__name__)] = inspect.cleandoc(callback.__doc__ or ""), parameters
    return found


def cli_page() -> str:
    """Return the page of the command line: every command with its arguments and options."""
    out = [
        "# Command line",
        NOTE,
        "`gnomon COMMAND --help` shows the same. Exit status: 0 done, 1 Kafka or Redis are away, a check has failed, or it went wrong, "
        "2 a mistake in use, 3 an event that `--fail-on` names was raised, 141 whoever read the output has left (`| head`).",
    ]
    for name, (text, parameters) in commands().items():
        usage = " ".join(["gnomon", name, *(one.shown if one.required else f"[{one.shown.strip('[]')}]" for one in parameters)])
        out += [f"## gnomon {name}", _unwrapped(text), f"```text\n{usage}\n```"]
        if parameters:
            out.append(_table(("argument or option", "what it does"), [(f"`{one.shown}`", _cell(one.help)) for one in parameters]))
    return "\n\n".join(out) + "\n"


def _parameter(parameter: inspect.Parameter) -> Parameter:
    info = next(part for part in get_args(parameter.annotation) if isinstance(part, OptionInfo | ArgumentInfo))
    metavar = info.metavar or parameter.name.upper()
    required = parameter.default is inspect.Parameter.empty
    if isinstance(info, ArgumentInfo):
        return Parameter(metavar, info.help or "", required)
    # Within ``Annotated`` typer takes the first name for the default, until it reads the signature.
    names = ", ".join(str(name) for name in (info.default, *(info.param_decls or ())) if str(name).startswith("-"))
    return Parameter(names if get_args(parameter.annotation)[0] is bool else f"{names} {metavar}", info.help or "", required)


def settings_page() -> str:
    """Return the page of the settings."""
    from streams.settings import describe

    temporary = tempfile.gettempdir()
    rows = [
        (f"`{row.env}`", f"`{row.default.replace(temporary, '<temporary folder>')}`" if row.default else "", _cell(row.doc))
        for row in describe()
        if row.env.startswith("GNOMON_")
    ]
    secrets = ", ".join(f"`{row.env}`" for row in describe() if row.secret)
    parts = ["# Settings", NOTE, SETTINGS_INTRODUCTION.format(secrets=secrets), _table(("variable", "default", "what it does"), rows)]
    return "\n\n".join(parts) + "\n"


def policy_page() -> str:
    """Return the page of the policy."""
    from streams.cli import reference_policy as policy

    rows = [(f"`{key}`", policy.KEYS[key]) for key in policy.described()]
    parts = [
        "# Policy",
        NOTE,
        policy.INTRODUCTION,
        f"```toml\n{policy.EXAMPLE}\n```",
        "## Keys of a model",
        _table(("key", "what it says"), rows),
        "## Checks and probes",
        policy.NAMED,
        "## Families of monitors",
        "All that are on share the model's budget. Naming a family turns it on and leaves the others as they are; `enabled = false` turns "
        "one off. `tolerance` is a change that does not matter: for rates the rise of the odds (0.2: a fifth), for `calibration` logits, "
        "for `cost` a share of the mean, for `score` points of a share, for `gap` points (0.01: one). `baseline` is a contract value "
        "instead of what was learnt.",
        policy.RIVER.format(rates=policy.detectors(), means=policy.detectors(means=True)),
        "`gap` holds each group against the rest of the traffic in the same stretches of time; its `baseline` is the gap tolerated, "
        "in points and to either side, for every group; without one, the gap that was there when the baseline was learnt may not widen. "
        "`dimensions` are those whose groups are compared; default: all.",
        _table(("family", "default", "what it watches"), policy.families()),
    ]
    return "\n\n".join(parts) + "\n"


def report_page() -> str:
    """Return the page of the report and its figures."""
    from schemas.json_schemas import schemas
    from streams.cli import reference_records as records

    schema = schemas()["report.schema.json"]
    out = [
        "# The report",
        NOTE,
        f"`gnomon replay --report FILE` and `gnomon report --out FILE` write it. {schema['description']} The JSON Schema is "
        "`schemas/json/report.schema.json`. A figure that is undefined is null: a rate of nothing, or one whose fields never came.",
        "## Report",
        _fields(schema),
    ]
    for name in records.PARTS:
        part = schema["$defs"][name]
        only = records.beyond(part, schema["$defs"]["SegmentFigures"]) if name == "AgedFigures" else part
        note = " All fields of SegmentFigures, and:" if name == "AgedFigures" else ""
        out += [f"## {name}", part.get("description", "") + note, _fields(only)]
    return "\n\n".join(out) + "\n"


def records_page() -> str:
    """Return the page of the records: what goes in, what comes out."""
    from schemas.codec import Reason
    from schemas.findings import DATA
    from schemas.json_schemas import schemas
    from streams.cli import reference_records as records

    every = schemas()
    out = ["# Records", NOTE, records.INTRODUCTION]
    for title, name in (("Prediction", "prediction"), ("Outcome", "outcome"), ("Control", "control")):
        schema = every[f"{name}.schema.json"]
        out += [
            f"## {title}",
            schema["description"],
            f"```json\n{json.dumps(records.EXAMPLES[name], indent=1, ensure_ascii=False)}\n```",
            _fields(schema),
        ]
    letter = every["dead-letter.schema.json"]
    reasons = ", ".join(f"`{reason.value}`" for reason in Reason)
    out += ["## Dead letter", letter["description"], _fields(letter), f"Reasons: {reasons}."]
    line = every["audit.schema.json"]
    out += [
        "## Audit line",
        f"{line['description']} [How to read the trail](how-to/audit.md).",
        _fields(line),
        "## Events",
        records.EVENTS,
    ]
    titles = {kind.__name__: kind for kind in DATA.values()}
    for title in titles:
        types = ", ".join(f"`{event.value}`" for event, kind in DATA.items() if kind.__name__ == title)
        schema = next(schema for schema in every.values() if schema["title"] == title)
        if title == "StatisticsData":
            out += [f"### {title}", f"{types}. {schema['description']} The fields are those of [AgedFigures](report.md#agedfigures), and "
                    "`model_id`, `model_version`, `window`."]  # fmt: skip
        else:
            out += [f"### {title}", f"{types}. {schema['description']}", _fields(schema)]
    return "\n\n".join(out) + "\n"


def metrics_page() -> str:
    """Return the page of metrics and health."""
    from streams.cli import reference_metrics as metrics

    heads = ("metric", "type", "labels", "what it is")
    parts = [f"## {title}\n\n{_table(heads, rows)}" for title, rows in metrics.groups().items()]
    return "\n\n".join(["# Metrics and health", NOTE, metrics.INTRODUCTION, *parts, metrics.RULES]) + "\n"


def asyncapi_page() -> str:
    """Return the AsyncAPI document of the built-in settings, with the records that must be read for ever as its examples."""
    from streams.asyncapi import document, to_text

    golden = Path(__file__).parents[2] / "tests" / "golden"
    return to_text(document(examples={path.name.removesuffix(".json"): json.loads(path.read_bytes()) for path in golden.glob("*.json")}))


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "settings.md": settings_page,
    "policy.md": policy_page,
    "report.md": report_page,
    "records.md": records_page,
    "metrics.md": metrics_page,
    "asyncapi.json": asyncapi_page,
}

SETTINGS_INTRODUCTION = """\
Read from the environment when a command or a worker starts; a value that cannot be used stops it with a message that names the variable.
How models are watched is not a setting: that is the [policy](policy.md).

Secrets ({secrets}) may also be given as `<NAME>_FILE`, the path of a file that holds the value, or as a file
named as the setting, without `GNOMON_` and in lower case, in the folder `GNOMON_SECRETS_DIR`. They are masked wherever settings are
shown."""


def _fields(schema: Mapping[str, Any]) -> str:
    from streams.cli.reference_records import fields

    return _table(("field", "type", "", "what it is"), [(f"`{name}`", *rest, _cell(text)) for name, *rest, text in fields(schema)])


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _unwrapped(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def main(folder: str) -> None:
    """Write the pages into a folder."""
    for name, page in PAGES.items():
        Path(folder, name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "docs")
