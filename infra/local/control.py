"""What the broker and the Functions host can be asked and told over HTTP while they run."""

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.ports import LOOPBACK


class NoAnswer(RuntimeError):
    """A service of the laptop cloud does not answer, or answers that it cannot; the message says which, and what."""


@dataclass(frozen=True, slots=True)
class BrokerControl:
    """The health port of the Event Hubs broker."""

    port: int

    def is_healthy(self) -> bool:
        """True once it serves its hubs."""
        try:
            _ask("eventhubs", self.port, "GET", "/health")
        except NoAnswer:
            return False
        return True

    def stats(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By hub and partition: numbers of the log and of Capture. Raises NoAnswer."""
        return _ask("eventhubs", self.port, "GET", "/stats")

    def flush_capture(self, timeout_s: float) -> None:
        """Close all capture windows now and wait until their files are uploaded. Raises NoAnswer."""
        _ask("eventhubs", self.port, "POST", f"/capture/flush?timeout={timeout_s:g}", timeout_s + 5)


@dataclass(frozen=True, slots=True)
class HostControl:
    """The admin pages of the Functions host; `keys_file` holds its keys once it has run."""

    port: int
    keys_file: Path

    def is_running(self) -> bool:
        """True once the app is indexed and its triggers listen."""
        try:
            return bool(self.status()["state"] == "running")
        except NoAnswer:
            return False

    def status(self) -> dict[str, Any]:
        """Every function with its numbers and those of its trigger. Raises NoAnswer."""
        return _ask("host", self.port, "GET", "/admin/footfall/status")

    def run_now(self, function: str, timeout_s: float) -> None:
        """Run a timer function now and wait until it has returned. Raises NoAnswer, also when it failed."""
        path = f"/admin/functions/{function}?wait=true"
        _ask("host", self.port, "POST", path, timeout_s, headers={"x-functions-key": self.key("master")}, body="{}")

    def call(self, route: str, body: str) -> dict[str, Any]:
        """POST a body to a function's route below /api, with the function key. Raises NoAnswer."""
        headers = {"x-functions-key": self.key("default")}
        return _ask("host", self.port, "POST", f"/api/{route}", headers=headers, body=body)

    def key(self, name: str) -> str:
        """The function key (`default`) or the admin key (`master`). Raises NoAnswer before the host has made them."""
        try:
            return str(json.loads(self.keys_file.read_bytes())[name])
        except FileNotFoundError as error:
            raise NoAnswer("host: it has not run in this home yet, so it has no keys") from error


def _ask(
    service: str,
    port: int,
    method: str,
    path: str,
    timeout_s: float = 10,
    headers: dict[str, str] | None = None,
    body: str | None = None,
) -> dict[str, Any]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_s)
    try:
        connection.request(method, path, body, {"content-type": "application/json", **(headers or {})})
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"{service} on port {port} does not answer: {error}") from error
    finally:
        connection.close()
    if response.status >= http.client.BAD_REQUEST:
        raise NoAnswer(f"{service}: {method} {path} answered {response.status} {content.decode(errors='replace')}")
    answer: dict[str, Any] = json.loads(content) if content else {}
    return answer
