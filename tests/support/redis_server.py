"""A real redis-server for the tests: its own folder, a free loopback port, every write synced. It can be killed and started again."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from support.ports import free_port

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
HOW_TO = "no redis-server on the path. On Debian: apt-get install redis-server (`make test` does it as root)."


class NoRedisError(RuntimeError):
    """Nothing here can run a Redis; the message says how to enable one."""


class RedisServer:
    """One redis-server. ``options`` are added to its command line, or replace ours: {"maxmemory": "3mb"}."""

    def __init__(self, port: int | None = None, **options: str) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise NoRedisError(HOW_TO)
        self.folder = Path(tempfile.mkdtemp(prefix="gnomon-redis-"))
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "save": "",
            "daemonize": "no",
        } | {name.replace("_", "-"): value for name, value in options.items()}
        self._command = [binary, *(part for name, value in settings.items() for part in (f"--{name}", value))]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RedisServer":
        """Start it, on what it had written before, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise NoRedisError(f"redis-server did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)
        return self

    @property
    def pid(self) -> int:
        """The server's process, while it runs."""
        assert self._process is not None, "start it first"
        return self._process.pid

    def stop(self) -> None:
        """Stop it as an operator would; what it wrote stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it as a crash would; what it wrote stays."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Kill it and remove what it wrote."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            os.kill(process.pid, how)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
