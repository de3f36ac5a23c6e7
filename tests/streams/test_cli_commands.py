"""The command line as a whole: help, docs, speed, what happens to mistakes."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer.main
from support.logs import gnomon

from schemas.policy import parse_policy
from streams.cli import reference, reference_policy
from streams.cli.main import app

ROOT = Path(__file__).parents[2]
COMMANDS = dict(typer.main.get_command(app).commands)
OURS = [(name, parameter) for name, command in COMMANDS.items() for parameter in command.params if parameter.name != "help"]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_says_what_it_does(name):
    assert len(COMMANDS[name].help) > 20


@pytest.mark.parametrize(("name", "parameter"), OURS, ids=[f"{name} {parameter.name}" for name, parameter in OURS])
def test_every_option_has_a_help_text_and_stands_in_the_docs(name, parameter):
    assert parameter.help
    section = (ROOT / "docs" / "cli.md").read_text().split(f"\n## gnomon {name}\n")[1].split("\n## ")[0]
    shown = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar
    assert shown in section
    assert " ".join(parameter.help.split()) in section


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


def seconds(*command: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - begun


def test_help_is_quick():
    # in pairs: the machine may be busy with something else for a while
    ratios = [seconds("-m", "streams.cli", "--help") / seconds("-c", "import typer, rich") for _ in range(5)]
    assert min(ratios) <= 3


def test_help_loads_nothing_heavy():
    code = "import sys; from streams.cli.main import app; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())
    assert not loaded & {"numpy", "scipy", "river", "faust", "confluent_kafka", "redis", "pyarrow", "msgspec", "asyncio"}


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
    assert result.stdout == "every model not named\n"
    assert "Traceback" not in result.stderr


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
