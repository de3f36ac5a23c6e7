"""The pages of the documentation as their reader takes them: block after block, in one folder and one shell.

What stands after a block's language says how it is taken:

``file=NAME``
    saved under this name, for the blocks after it; checked as its language asks.
``live``
    needs a Kafka and a Redis: only run where these are given.
``background``
    runs on until the page ends.
``status=N``
    ends with this exit status; default 0.
``by=TEST``
    run by that test file, which asks for it with ``given_to``.
``skip=REASON``
    not run; one of ``REASONS``, whose check must hold.

A block of ``text`` is what the block before it prints, with ``...`` for what differs from run to run. A page that says
``<!-- continues: PAGE -->`` begins with the files that another has made.
"""

import doctest
import functools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from support.logs import gnomon

from schemas.codec import Fault, decode_records
from schemas.control import Control
from schemas.outcome import Outcome
from schemas.policy import parse_policy
from schemas.prediction import Prediction
from streams.cli.main import app
from streams.setting_text import SettingsError
from streams.settings import Settings, describe

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WORDS = {"file", "live", "background", "status", "by", "skip"}
LIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
LONGEST_S = 120
GROUPS = {group.name for group in app.registered_groups}
OTHERS = {"amtool"}  # programs of others, named beside ours
FOREIGN = "AIRFLOW_"  # how settings of others begin
LEFT_OUT = "\0"  # printed by a block that is not run here


class PageError(AssertionError):
    """A page says what is not so."""


@dataclass(frozen=True)
class Block:
    """A block of code, and where it stands."""

    page: str
    line: int
    language: str
    words: dict[str, str]
    text: str

    def wrong(self, what: str) -> PageError:
        """Return the error that says what is wrong with it."""
        return PageError(f"{self.page}:{self.line}: {what}")

    def runs_here(self, live: bool) -> bool:
        """Whether it is run."""
        return not {"by", "skip"} & set(self.words) and (live or "live" not in self.words)


def blocks_of(page: str, text: str | None = None) -> list[Block]:
    """Return the blocks of a page.

    Raises
    ------
    PageError
        If one is not closed, or says of itself what nobody understands.

    """
    text = (ROOT / page).read_text() if text is None else text
    found = []
    for match in FENCE.finditer(text):
        words = dict((*word.split("=", 1), "")[:2] for word in shlex.split(match[2]))
        found.append(Block(page, text[: match.start()].count("\n") + 1, match[1], words, match[3]))
        if not set(words) <= WORDS:
            raise found[-1].wrong(f"expected some of {', '.join(sorted(WORDS))} after the language, got {match[2]!r}")
    if text.count("```") != 2 * len(found):
        raise PageError(f"{page}: a fence of three backticks is not closed, or not alone on its line")
    return found


def given_to(test: str) -> list[Block]:
    """Return the blocks that are left to a test file."""
    return [block for page in PAGES for block in blocks_of(page) if block.words.get("by") == test]


def has_live(page: str) -> bool:
    """Whether a page has blocks that need services."""
    return any("live" in block.words for block in blocks_of(page))


def _is_policy(block: Block) -> None:
    if not parse_policy(block.text).models:
        raise block.wrong("expected a policy that names a model")


def _is_record(block: Block) -> None:
    raw = json.loads(block.text)
    kind = Control if "by" in raw else Prediction if "model_version" in raw else Outcome
    [(_, record, _)] = decode_records(block.text.encode(), kind)
    if isinstance(record, Fault):
        raise block.wrong(str(record))
    unknown = set(raw) - set(kind.__struct_fields__)
    if unknown:
        raise block.wrong(f"{kind.__name__} has no {', '.join(sorted(unknown))}")


def _is_configuration(block: Block) -> None:
    """Rules and scrape configurations of Prometheus by its own tool, where that is here; what runs in Kubernetes by what we have."""
    documents = [document for document in yaml.safe_load_all(block.text) if document]
    tool = shutil.which("promtool")
    for kind, command in (("groups", "rules"), ("scrape_configs", "config")):
        if kind in documents[0]:
            if tool is not None:
                with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                    file.write(block.text)
                    file.flush()
                    checked = subprocess.run([tool, "check", command, file.name], capture_output=True, text=True, check=False)
                if checked.returncode:
                    raise block.wrong(checked.stdout + checked.stderr)
            return
    for document in documents:
        if document["kind"] == "Deployment":
            for container in document["spec"]["template"]["spec"]["containers"]:
                _is_ours(block, container)


def _is_ours(block: Block, container: dict[str, object]) -> None:
    _is_command(block, ["gnomon", *container["args"]])
    environment = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    _are_settings(block, environment)
    port = environment[f"GNOMON_{container['args'][1].removeprefix('--').upper()}_HTTP_PORT"]
    for probe in ("liveness", "readiness", "startup"):
        asked = container[f"{probe}Probe"]["httpGet"]
        if (asked["path"], str(asked["port"])) != ({"liveness": "/livez", "readiness": "/readyz", "startup": "/startupz"}[probe], port):
            raise block.wrong(f"the {probe} probe asks {asked}, the worker answers on port {port}")


def _is_output(block: Block) -> None:
    """On a generated page: how a command is called."""
    if not (ROOT / block.page).exists() or "Generated from the code" not in (ROOT / block.page).read_text():
        raise block.wrong("a block of text shows what the block before it prints, and there is none that runs")
    _is_command(block, shlex.split(re.sub(r"[\[\]|]", " ", block.text)))


def _is_command(block: Block, words: list[str]) -> None:
    if words[0] != "gnomon":
        raise block.wrong(f"expected a command of ours, got {words[0]}")
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    names = words[1:3] if words[1] in GROUPS else words[1:2]
    shown = gnomon(*names, "--help")
    if shown.exit_code:
        raise block.wrong(f"there is no command gnomon {' '.join(names)}")
    for option in options:
        if option not in shown.output:
            raise block.wrong(f"gnomon {' '.join(names)} has no {option}")


def _are_settings(block: Block, environment: dict[str, str]) -> None:
    direct = {row.env for row in describe()}
    unknown = set(environment) - direct - {f"{row.env}_FILE" for row in describe() if row.secret}
    if unknown:
        raise block.wrong(f"no such setting: {', '.join(sorted(unknown))}")
    in_files = {name.removesuffix("_FILE"): "redis://r" if "REDIS" in name else "secret" for name in environment if name not in direct}
    try:
        Settings.from_env({name: value for name, value in environment.items() if name in direct} | in_files)
    except SettingsError as error:
        raise block.wrong(str(error)) from None


CHECKS: dict[str, Callable[[Block], None]] = {"toml": _is_policy, "json": _is_record, "yaml": _is_configuration}


def _lines(block: Block) -> Iterator[list[str]]:
    joined = block.text.replace("\\\n", " ")
    yield from (words for words in (shlex.split(line, comments=True) for line in joined.splitlines()) if words)


def _needs_docker(block: Block) -> None:
    """Compose's own client reads the file, where it is; the images are not built here."""
    for words in _lines(block):
        if words[:2] == ["docker", "compose"]:
            client = shutil.which("docker")
            if client and subprocess.run([client, "compose", "version"], capture_output=True, check=False).returncode == 0:
                subprocess.run([client, "compose", "config", "--quiet"], cwd=ROOT, env={**os.environ, "GNOMON_SECRET_KEY": "k"}, check=True)
            services = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
            if words[2] not in {"up", "exec", "logs", "down"} or not {w.split("=")[0] for w in words[3:4] if w[0] != "-"} <= services:
                raise block.wrong(f"{' '.join(words)}: not a service of docker-compose.yml")
        elif words[0] == "mkdir":
            secret = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["secrets"]["secret_key"]["file"]
            if words[-1] != secret.removeprefix("./"):
                raise block.wrong(f"docker-compose.yml reads {secret}, this writes {words[-1]}")
        elif words[0] not in {"docker", "export"}:
            raise block.wrong(f"{words[0]} needs no Docker: let it run")


def _is_a_target(block: Block) -> None:
    """`make test` runs this very check: make itself says what it would do."""
    for words in _lines(block):
        if words[0] != "make":
            raise block.wrong(f"expected make, got {words[0]}")
        would = subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        if would.returncode:
            raise block.wrong(would.stderr)


def _is_of_a_cluster(block: Block) -> None:
    """Hosts that are not here: settings are ones that there are and can be used, commands and their options exist."""
    environment = {}
    for words in _lines(block):
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            environment |= {} if name.startswith(FOREIGN) else {name: value}
        elif words[0] in OTHERS:
            continue
        else:
            _is_command(block, words)
    _are_settings(block, environment)


REASONS: dict[str, Callable[[Block], None]] = {"docker": _needs_docker, "make": _is_a_target, "cluster": _is_of_a_cluster}


@dataclass
class Reader:
    """Somebody who follows a page.

    Parameters
    ----------
    folder
        Where commands run and files are saved.
    services
        Environment of the services that are there; empty: there are none, and live blocks are left out.
    swaps
        What is read otherwise than it is written, such as the address of a broker; turned back in what is printed.

    """

    folder: Path
    services: dict[str, str] = field(default_factory=dict)
    swaps: dict[str, str] = field(default_factory=dict)

    def follow(self, blocks: list[Block]) -> None:
        """Take every block.

        Raises
        ------
        PageError
            At the first that does not do what the page says.

        """
        with self._running() as running:
            printed: str | None = None
            for block in blocks:
                if block.language == "text":
                    self._compare(block, printed)
                    continue
                printed = self._take(block, running)

    def _take(self, block: Block, running: list[subprocess.Popen[bytes]]) -> str | None:
        """Take a block; return what it printed, None if it is none that prints."""
        if "skip" in block.words:
            if block.words["skip"] not in REASONS:
                raise block.wrong(f"skip=: expected one of {', '.join(REASONS)}, got {block.words['skip']!r}")
            REASONS[block.words["skip"]](block)
            return LEFT_OUT
        if "by" in block.words:
            if "given_to(" not in (ROOT / block.words["by"]).read_text():
                raise block.wrong(f"{block.words['by']} does not ask for what is given to it")
            return LEFT_OUT
        if block.language in CHECKS:
            CHECKS[block.language](block)
        elif block.language not in {"bash", "python", "mermaid"}:
            raise block.wrong(f"no test knows what to do with a block of {block.language or 'no language'}")
        if "file" in block.words:
            (self.folder / block.words["file"]).write_text(self._read(block))
            return None
        if block.language not in {"bash", "python"}:
            return None
        if not block.runs_here(bool(self.services)):
            return LEFT_OUT
        return self._run(block, running)

    def _read(self, block: Block) -> str:
        text = block.text
        for written, meant in self.swaps.items():
            text = text.replace(written, meant)
        return text

    def _run(self, block: Block, running: list[subprocess.Popen[bytes]]) -> str:
        # A file of its own: a block in the background may read it after the next has begun
        (self.folder / f".block-{block.line}").write_text(self._read(block))
        services = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in self.services.items())
        run = f"{'.' if block.language == 'bash' else 'python'} ./.block-{block.line}"
        script = f"set -aeuo pipefail\n[ ! -e .env ] || . ./.env\n{services}trap 'export -p > .env' EXIT\n{run}\n"
        log = self.folder / f".printed-{block.line}"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", script], cwd=self.folder, env=self._environment(), stdout=out, stderr=out, start_new_session=True
            )
        running.append(process)
        if "background" in block.words:
            return LEFT_OUT
        try:
            status = process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            raise block.wrong(f"it runs for more than {LONGEST_S} s; it has printed\n{log.read_text(errors='replace')}") from None
        if status != int(block.words.get("status", 0)):
            raise block.wrong(f"it ended with status {status}; it has printed\n{log.read_text(errors='replace')}")
        printed = log.read_text(errors="replace")
        for written, meant in self.swaps.items():
            printed = printed.replace(meant, written)
        return printed.replace(self.services.get("GNOMON_PREFIX", "gnomon."), "gnomon.")

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GNOMON_")}
        return {
            **kept,
            "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
            "COLUMNS": "150",
            "GNOMON_DATA_DIR": str(self.folder / ".data"),
        }

    def _compare(self, block: Block, printed: str | None) -> None:
        if printed is None:
            _is_output(block)
        elif printed != LEFT_OUT and not doctest.OutputChecker().check_output(block.text, printed, LIKE):
            raise block.wrong(f"expected\n{block.text}\ngot\n{printed}")

    @contextmanager
    def _running(self) -> Iterator[list[subprocess.Popen[bytes]]]:
        """End what still runs, at the end."""
        started: list[subprocess.Popen[bytes]] = []
        try:
            yield started
        finally:
            for process in started:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGTERM)
            for process in started:
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


@functools.cache
def _made_by(page: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gnomon-page-"))
    follow(page, folder)
    return folder


def follow(page: str, folder: Path, *, services: dict[str, str] | None = None, swaps: dict[str, str] | None = None) -> None:
    """Follow a page in a folder, from the files of the page that it continues."""
    before = re.search(r"<!-- continues: (\S+) -->", (ROOT / page).read_text())
    if before:
        shutil.copytree(_made_by(before[1]), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    if not (folder / ".venv").exists():
        (folder / ".venv").symlink_to(sys.prefix)
    Reader(folder, services or {}, swaps or {}).follow(blocks_of(page))
