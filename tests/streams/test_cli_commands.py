"""The command line as a whole: help, docs, speed, what happens to mistakes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from support.logs import gnomon

from schemas.policy import parse_policy
from streams.cli import reference, reference_policy
from streams.cli.main import app

ROOT = Path(__file__).parents[2]
GROUP = typer.main.get_command(app)
WITHOUT_JSON = {  # why there is nothing to print as JSON
    "demo": "a show for people",
    "worker": "a service: it logs",
    "retrain-hook": "a service: it logs",
    "forward": "a service: it logs",
    "policy init": "prints a file",
    "schemas": "writes files",
}


def leaves(group, prefix=""):
    """Every command by what is typed, those of groups too."""
    found = {}
    for name, command in group.commands.items():
        found |= leaves(command, f"{prefix}{name} ") if hasattr(command, "commands") else {f"{prefix}{name}": command}
    return found


COMMANDS = leaves(GROUP)
OURS = [(name, parameter) for name, command in COMMANDS.items() for parameter in command.params if parameter.name != "help"]


def section(name: str) -> str:
    return (ROOT / "docs" / "cli.md").read_text().split(f"\n## gnomon {name}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_says_what_it_does_and_stands_in_the_docs(name):
    assert len(COMMANDS[name].help) > 20
    assert " ".join(COMMANDS[name].help.split("\n\n")[0].split()) in section(name)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_typed_by_a_test(name):
    texts = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    assert any("gnomon(" in text and all(f'"{word}"' in text for word in name.split()) for text in texts)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_that_tells_something_tells_it_to_programs(name):
    assert ("--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}) is (name not in WITHOUT_JSON)


def test_there_are_as_many_in_the_docs():
    assert set(COMMANDS) == set(reference.commands())


@pytest.mark.parametrize(("name", "parameter"), OURS, ids=[f"{name} {parameter.name}" for name, parameter in OURS])
def test_every_option_has_a_help_text_and_stands_in_the_docs(name, parameter):
    assert parameter.help
    shown = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar
    assert shown in section(name)
    assert " ".join(parameter.help.split()) in section(name)


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_generated_docs_are_up_to_date(name):
    assert (ROOT / "docs" / name).read_text() == reference.PAGES[name](), "write them: python -m streams.cli.reference docs"


def test_the_docs_of_a_command_that_is_new_are_missing(monkeypatch):
    def extra() -> None:
        """Do something that nobody has documented."""

    monkeypatch.setattr(app, "registered_commands", [*app.registered_commands])
    app.command()(extra)
    assert "## gnomon extra" in reference.PAGES["cli.md"]()
    assert "## gnomon extra" not in (ROOT / "docs" / "cli.md").read_text()


def test_every_key_of_a_policy_is_described():
    assert set(reference_policy.described()) == set(reference_policy.KEYS)


def test_the_example_of_the_policy_page_is_a_policy():
    policy = parse_policy(reference_policy.EXAMPLE).for_model("fraud")
    assert policy.watch["abstention"].enabled
    assert policy.watch["fpr"].detector == "adwin"


HELPS = """
import contextlib, io, sys
from streams.cli import main
for arguments in ARGUMENTS:
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        main.app([*arguments, "--help"], prog_name="gnomon")
    assert "Usage: gnomon" in shown.getvalue(), arguments
print(*sys.modules)
"""
BARE = """
import pathlib, sys, typer
app = typer.Typer()
@app.callback()
def root(flag: bool = False): "Take options."
@app.command()
def command(path: pathlib.Path, number: int = 1): "Do nothing."
try:
    app(["command", "--help"])
except SystemExit:
    print(*sys.modules)
"""


def loaded(code: str) -> set[str]:
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return set(shown.splitlines()[-1].split())


def test_help_is_quick_since_it_loads_no_more_than_its_library_does():
    """What that comes to in time is a benchmark: ``python -m benchmarks.startup``."""
    arguments = [[], *(name.split() for name in reference.commands())]
    ours = loaded(HELPS.replace("ARGUMENTS", repr(arguments)))
    assert {name for name in ours if name.startswith("streams.")} >= {"streams.cli.replay", "streams.cli.worker"}
    assert {name for name in ours if name.startswith("streams.") and not name.startswith("streams.cli")} == set()
    assert {name.split(".")[0] for name in ours - loaded(BARE)} - sys.stdlib_module_names == {"streams"}


def test_the_first_help_that_one_asks_for_loads_nothing_slow():
    ours = loaded(HELPS.replace("ARGUMENTS", "[[]]"))
    assert "streams.cli.replay" in ours
    assert not ours & {"asyncio", "multiprocessing", "ssl", "concurrent.futures", "unittest", "pydantic", "numpy", "msgspec"}


def test_a_mistyped_command_is_told_what_was_meant():
    result = gnomon("replai")
    assert result.exit_code == 2
    assert "replay" in result.output


def test_the_version_is_printed():
    result = gnomon("--version")
    assert result.exit_code == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", result.output)


def test_no_command_shows_the_help():
    assert "replay" in gnomon().output


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m streams.cli check /dev/null | head -1"
    result = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("every model not named\n", "")


@pytest.mark.parametrize("words", ["check /dev/null", "replay --help"])  # what we print, and what Rich does
def test_who_writes_to_nobody_ends_as_by_sigpipe(words):
    command = f"{sys.executable} -m streams.cli {words} | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("141\n", "")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("GNOMON_SCORED_PARTITIONS", "many", "expected a whole number"),
        ("GNOMON_REDIS", "localhost", "redis://"),
        ("GNOMON_KAFKA_PROTOCOL", "TLS", "PLAINTEXT"),
    ],
)
@pytest.mark.parametrize("command", ["provision", "report", "worker"])
def test_a_wrong_setting_is_named(monkeypatch, command, variable, value, says):
    monkeypatch.setenv(variable, value)
    result = gnomon(command)
    assert result.exit_code == 2
    assert variable in result.output
    assert says in result.output


def test_a_kafka_that_is_away_is_told_once(monkeypatch, capfd):
    monkeypatch.setenv("GNOMON_KAFKA", "127.0.0.1:1")
    monkeypatch.setattr("streams.cli.provision.ANSWER_S", 0.5)
    result = gnomon("provision", "--dry-run")
    assert result.exit_code == 1
    assert result.output.count("127.0.0.1:1") == 1
    assert "is GNOMON_KAFKA right" in result.output
    assert capfd.readouterr().err == ""  # librdkafka writes past Python


def test_a_variable_that_is_no_setting_is_pointed_out(monkeypatch):
    monkeypatch.setenv("GNOMON_REDISS", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("GNOMON_REDIS", "redis://127.0.0.1:1/0")
    result = gnomon("report")
    assert result.exit_code == 1
    assert "GNOMON_REDISS is no setting; did you mean GNOMON_REDIS?" in result.output
    assert "Redis" in result.output.splitlines()[-1]
    assert "Traceback" not in result.output
