"""A real Prometheus, that of Debian's package, on loopback: it scrapes what a test names, and is asked over its HTTP API."""

# ruff: noqa: S310  loopback addresses of ours

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROGRAM = "prometheus"
START_TIMEOUT_S = 30.0


class NoPrometheusError(RuntimeError):
    """There is no Prometheus here."""


def program(name: str = PROGRAM) -> str:
    """Return the path of a program of the package: ``prometheus`` or ``promtool``.

    Raises
    ------
    NoPrometheusError
        If it is not installed.

    """
    path = shutil.which(name)
    if path is None:
        raise NoPrometheusError(f"there is no {name}; on Debian: tests/support/install_services")
    return path


class Prometheus:
    """A server that scrapes loopback ports once a second.

    Parameters
    ----------
    folder
        For its configuration, data and log.
    port
        Where it listens.
    jobs
        Port to scrape by job name.

    """

    def __init__(self, folder: Path, port: int, jobs: Mapping[str, int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        scrape = [{"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]} for name, target in jobs.items()]
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": scrape}
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        command = [program(), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
        self._url = f"http://127.0.0.1:{port}"
        self._log = folder / "prometheus.log"
        environment = {**os.environ, "GOMAXPROCS": "1"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)

    def start(self) -> "Prometheus":
        """Wait until it is ready."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Prometheus did not start:\n{self._log.read_text(errors='replace')[-2000:]}")
            try:
                with urllib.request.urlopen(f"{self._url}/-/ready", timeout=2) as response:
                    if response.status == 200:
                        return self
            except OSError:
                time.sleep(0.05)

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return the value of an instant query by labels, without the metric's name."""
        data = self.get("query", query=expression)
        pairs = [(tuple(sorted((k, v) for k, v in one["metric"].items() if k != "__name__")), one["value"][1]) for one in data["result"]]
        return {labels: float(value) for labels, value in pairs}

    def one(self, expression: str) -> float | None:
        """Return the value of a query that has one; None: it has none yet."""
        values = list(self.query(expression).values())
        assert len(values) <= 1, f"{expression}: {values}"
        return values[0] if values else None

    def get(self, what: str, **arguments: str) -> Any:
        """Return the data of an answer of the API."""
        with urllib.request.urlopen(f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(arguments)}", timeout=10) as response:
            return json.load(response)["data"]

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def fetch(port: int, path: str) -> tuple[int, str]:
    """Return status and body of what a worker serves; 0: nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=8) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""
