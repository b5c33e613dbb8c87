"""Our Event Hubs for tests: a real process, on free ports, with its own data; killed and started again at will."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from infra.local.ports import free_ports
from tests.polling import wait_until

NAMESPACE = "emulatorns1"


class EventHubsServer:
    """One `python -m infra.local.eventhubs`. `start` again after `kill`: the data and the ports stay the same.

    `hubs` are the entities of a Config.json.
    """

    def __init__(self, location: Path, hubs: Sequence[Mapping[str, Any]], storage: str | None = None) -> None:
        self.location = location
        self.storage = storage
        self.amqp_port, self.health_port = free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None
        location.mkdir(parents=True, exist_ok=True)
        self.config = location / "config.json"
        namespace = {"Type": "EventHub", "Name": NAMESPACE, "Entities": list(hubs)}
        self.config.write_text(json.dumps({"UserConfig": {"NamespaceConfig": [namespace]}}))

    @property
    def connection_string(self) -> str:
        return (
            f"Endpoint=sb://127.0.0.1:{self.amqp_port};SharedAccessKeyName=RootManageSharedAccessKey;"
            "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"
        )

    @property
    def pid(self) -> int:
        assert self.process is not None, "the broker is not running"
        return self.process.pid

    @property
    def output(self) -> str:
        return (self.location / "eventhubs.out").read_text()

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "infra.local.eventhubs", "--config", str(self.config)),
            *("--data", str(self.location / "data"), "--amqp-port", str(self.amqp_port)),
            *("--health-port", str(self.health_port)),
            *(("--storage", self.storage) if self.storage else ()),
        ]

    def start(self) -> None:
        with (self.location / "eventhubs.out").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        wait_until(self._answers, 30, f"the broker (its output is in {log.name})")

    def kill(self) -> None:
        """kill -9: nothing is said to it, nothing is saved by it."""
        self._end(9)

    def stop(self) -> None:
        self._end(15)

    def get(self, path: str) -> Any:
        return self._ask("GET", path)[1]

    def post(self, path: str) -> tuple[int, Any]:
        """(status, answer)."""
        return self._ask("POST", path)

    def _ask(self, method: str, path: str) -> tuple[int, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.health_port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as response:  # noqa: S310 (a port of this machine)
                return response.status, json.load(response)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the broker ended with {self.process.returncode}: {self.output[-2000:]}"
        try:
            return self.get("/health")["status"] == "healthy"
        except (URLError, ConnectionError):
            return False

    def _end(self, signal: int) -> None:
        if self.process is not None:
            self.process.send_signal(signal)
            self.process.wait(timeout=20)
            self.process = None
