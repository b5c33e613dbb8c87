"""An Azurite for tests: a real process, on free ports, with its own data; killed and started again at will."""

import os
import subprocess
from pathlib import Path

from infra.local import azurite
from infra.local.ports import free_ports, is_listening
from tests.polling import wait_until

CRASH_SCRIPT = Path(__file__).parent / "data" / "azurite_crash.cjs"


class AzuriteServer:
    """One Azurite process. `start` again after `kill`: the data in `location` and the ports stay the same."""

    def __init__(self, location: Path) -> None:
        self.location = location
        self.ports = azurite.AzuritePorts(*free_ports(3))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def connection_string(self) -> str:
        return self.ports.connection_string

    @property
    def blob_port(self) -> int:
        return self.ports.blob

    @property
    def queue_port(self) -> int:
        return self.ports.queue

    @property
    def table_port(self) -> int:
        return self.ports.table

    @property
    def pid(self) -> int:
        assert self.process is not None, "Azurite is not running"
        return self.process.pid

    def start(self, crash: str | None = None, of: str = "") -> None:
        """Start it; `crash` kills it at a moment that data/azurite_crash.cjs knows, counted in the database `of`."""
        self.location.mkdir(parents=True, exist_ok=True)
        node, *rest = azurite.command(self.location, self.ports)
        environment = dict(os.environ)
        if crash is not None:
            rest = ["-r", str(CRASH_SCRIPT), *rest]
            environment |= {"CRASH": crash, "CRASH_FILE": of}
        with (self.location / "azurite.out").open("ab") as log:
            self.process = subprocess.Popen(
                [node, *rest], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        wait_until(self._answers, 60, f"Azurite on {self.ports} (its output is in {log.name})")

    def kill(self) -> None:
        """kill -9: nothing is said to it, nothing is saved by it."""
        self._end(9)

    def stop(self) -> None:
        self._end(15)

    def wait(self) -> None:
        """Wait for the end of a server that was told to crash."""
        assert self.process is not None
        self.process.wait(timeout=20)
        self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"Azurite ended with {self.process.returncode}"
        return all(is_listening(port) for port in (self.blob_port, self.queue_port, self.table_port))

    def _end(self, signal: int) -> None:
        if self.process is not None:
            self.process.send_signal(signal)
            self.process.wait(timeout=20)
            self.process = None
