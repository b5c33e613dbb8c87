"""Our Functions host for tests: a real process with an app, on a free port; killed and started again at will."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from infra.local.ports import free_ports
from tests.polling import wait_until


class FunctionsHost:
    """One `python -m infra.local.host`. `start` again after `kill` or `stop`: data, settings and port stay the same."""

    def __init__(self, location: Path, app: Path, settings: Mapping[str, str], *options: str) -> None:
        self.location = location
        self.app = app
        self.options = options
        (self.port,) = free_ports(1)
        self.process: subprocess.Popen[bytes] | None = None
        location.mkdir(parents=True, exist_ok=True)
        self.journal = location / "journal.jsonl"
        self.settings = location / "local.settings.json"
        values = {**settings, "JOURNAL": str(self.journal)}
        self.settings.write_text(json.dumps({"IsEncrypted": False, "Values": values}))

    @property
    def output(self) -> str:
        return (self.location / "host.out").read_text()

    @property
    def keys(self) -> dict[str, str]:
        keys: dict[str, str] = json.loads((self.location / "data" / "host-keys.json").read_text())
        return keys

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "infra.local.host", "--app", str(self.app), "--settings", str(self.settings)),
            *("--data", str(self.location / "data"), "--port", str(self.port), *self.options),
        ]

    def begin(self) -> None:
        """Start, and do not wait until it is ready."""
        with (self.location / "host.out").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=dict(os.environ))

    def start(self) -> None:
        """Start, and wait until all triggers listen."""
        self.begin()
        wait_until(lambda: self.state() == "running", 60, f"the host (its output is in {self.location})")

    def state(self) -> str | None:
        """`starting`, `running` or `stopping`; None while it does not answer."""
        assert self.process is not None
        assert self.process.poll() is None, f"the host ended with {self.process.returncode}: {self.output[-3000:]}"
        try:
            return str(self.status()["state"])
        except (URLError, ConnectionError):
            return None

    def kill(self) -> None:
        """kill -9: nothing is said to it, nothing is saved by it."""
        self._end(9)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(15)

    def wait(self, timeout: float = 30) -> int:
        """Wait until it ends by itself; the exit code."""
        assert self.process is not None
        code = self.process.wait(timeout)
        self.process = None
        return code

    def status(self) -> dict[str, Any]:
        """`GET /admin/footfall/status`."""
        status: dict[str, Any] = json.loads(self.ask("GET", "/admin/footfall/status")[1])
        return status

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """(status, body, headers) of an HTTP request."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data=body, method=method, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 (a port of this machine)
                return response.status, response.read(), response.headers
        except HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    def notes(self, function: str) -> list[dict[str, Any]]:
        """What a function of the app `everything` has noted, in order."""
        if not self.journal.exists():
            return []
        lines = self.journal.read_text().splitlines(keepends=True)
        # A killed process may leave a last line without its end.
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
        return [entry for entry in entries if entry["function"] == function]

    def _end(self, signal: int) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(signal)
        return self.wait()
