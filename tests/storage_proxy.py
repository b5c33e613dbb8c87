"""A proxy in front of Azurite that lets a worker die at any storage request, before or after it is served."""

import http.client
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Fault(StrEnum):
    """What happens at the request that was chosen."""

    DIES_BEFORE = "the worker dies before the request"
    DIES_AFTER = "the request is served, and the worker dies before the answer"
    LOSES_ANSWER = "the request is served, its answer is lost, and the worker lives"


@dataclass
class StorageProxy:
    """Forwards HTTP to a port of this machine. At request number `at` the fault happens.

    A dead worker is served nothing more: whatever it asks is forbidden, so that its clients do not try for long.
    """

    target_port: int
    fault: Fault | None = None
    at: int = -1
    requests: list[str] = field(default_factory=list)
    is_dead: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def port(self) -> int:
        return self._server.server_port

    def __enter__(self) -> "StorageProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def is_met(self) -> bool:
        """Whether the fault has happened."""
        return 0 <= self.at < len(self.requests)

    def decide(self, line: str) -> tuple[bool, bool]:
        """Whether to serve a request, and whether to say what came of it."""
        with self._lock:
            if self.is_dead:
                return False, False
            self.requests.append(line)
            if len(self.requests) != self.at + 1:
                return True, True
            self.is_dead = self.fault in (Fault.DIES_BEFORE, Fault.DIES_AFTER)
            return self.fault is not Fault.DIES_BEFORE, False


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news here."""


class _Handler(BaseHTTPRequestHandler):
    owner: StorageProxy
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_served, is_answered = self.owner.decide(f"{self.command} {self.path}")
        answer = self._serve(body) if is_served else None
        if not is_answered and not self.owner.is_dead:
            self.close_connection = True
            return
        status, headers, content = answer if answer is not None and is_answered else (403, [], b"")
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "keep-alive"):
                self.send_header(name, value)
        self.send_header("Content-Length", dict(headers).get("content-length", str(len(content))))
        self.end_headers()
        self.wfile.write(content)

    def _serve(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.owner.target_port, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, [(name.lower(), value) for name, value in answer.getheaders()], answer.read()
        finally:
            connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
