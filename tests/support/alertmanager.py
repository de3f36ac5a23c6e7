"""A real Alertmanager, that of Debian's package, on loopback; it can be killed and started again, and is asked over its API."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from support.ports import free_port

PROGRAM = "prometheus-alertmanager"
START_TIMEOUT_S = 30.0


class NoAlertmanagerError(RuntimeError):
    """There is no Alertmanager here."""


class Alertmanager:
    """A server that tells ``receiver`` of what fires and resolves, at once; without one it only keeps alerts.

    Parameters
    ----------
    folder
        For its configuration, data and log.
    receiver
        URL of a webhook.

    """

    def __init__(self, folder: Path, receiver: str | None = None) -> None:
        path = shutil.which(PROGRAM)
        if path is None:
            raise NoAlertmanagerError(f"there is no {PROGRAM}; on Debian: tests/support/install_services")
        folder.mkdir(parents=True, exist_ok=True)
        hooks = {"webhook_configs": [{"url": receiver, "send_resolved": True}]} if receiver else {}
        route = {"receiver": "test", "group_by": ["..."], "group_wait": "100ms", "group_interval": "200ms", "repeat_interval": "1h"}
        # A resolve timeout that is shorter than any wait of the test: only what is re-sent, or says when it ends, stays.
        config = {"global": {"resolve_timeout": "1s"}, "route": route, "receivers": [{"name": "test", **hooks}]}
        (folder / "alertmanager.yml").write_text(json.dumps(config))  # JSON is YAML
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._command = [path, f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'data'}"]
        self._command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--log.level=warn"]
        self._log = folder / "alertmanager.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Alertmanager":
        """Start it and wait until it is ready."""
        environment = {**os.environ, "GOMAXPROCS": "1"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Alertmanager did not start:\n{self._log.read_text(errors='replace')[-2000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):  # noqa: S310  a loopback address of ours
                    return self
            except OSError:
                time.sleep(0.05)

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are active."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=10) as response:  # noqa: S310
            found: list[dict[str, Any]] = json.load(response)
            return found

    def kill(self) -> None:
        """Stop it at once; it forgets its alerts."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    close = kill
