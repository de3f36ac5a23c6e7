"""A local HTTP receiver that fails as it is told: it answers with a status, slowly, or not at all."""

import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple


class Got(NamedTuple):
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    status: int  # that it was answered with; 0: the connection was dropped


class Reply(NamedTuple):
    """How to answer; ``status`` 0 drops the connection."""

    status: int = 200
    wait_s: float = 0.0
    headers: dict[str, str] = {}  # noqa: RUF012  never changed
    body: bytes = b""


class Receiver:
    """Listens on a loopback port and answers each request with what ``reply`` says of it and its number."""

    def __init__(self, reply: Callable[[int, bytes], Reply] = lambda number, body: Reply(), port: int = 0, tls: Path | None = None) -> None:
        self.reply = reply
        self.got: list[Got] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with receiver._lock:
                    answer = receiver.reply(len(receiver.got), body)
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    receiver.got.append(Got(self.command, self.path, headers, body, answer.status))
                if answer.wait_s:
                    time.sleep(answer.wait_s)
                if not answer.status:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = _handle  # noqa: N815  named by the library

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass  # a client that did not wait

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        if tls is not None:  # a file with a key and its certificate
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def taken(self) -> list[Any]:
        """Return the bodies that were answered with 200, as JSON."""
        return [json.loads(one.body) for one in self.got if one.status == 200]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> "Receiver":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
