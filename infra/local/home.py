"""The folder of one laptop cloud: where its data, logs, process files and settings lie."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

REPO = Path(__file__).parents[2]
DEFAULT_HOME = REPO / ".local"


@dataclass(frozen=True, slots=True)
class StackPorts:
    """The TCP ports of one laptop cloud; the defaults are those that each service has everywhere."""

    blob: int = 10000
    queue: int = 10001
    table: int = 10002
    amqp: int = 5672
    health: int = 5300
    http: int = 7071


@dataclass(frozen=True, slots=True)
class Home:
    """One laptop cloud on disk. Two of them, with ports of their own, do not know of each other."""

    path: Path = DEFAULT_HOME

    @property
    def data(self) -> Path:
        """What the services keep: blobs, tables, event logs, host keys."""
        return self.path / "data"

    @property
    def settings(self) -> Path:
        """The local.settings.json that the app runs with."""
        return self.path / "local.settings.json"

    @property
    def demo(self) -> Path:
        """The home of the demo's own laptop cloud."""
        return self.path / "demo"

    def log(self, service: str) -> Path:
        return self.path / "logs" / f"{service}.log"

    def pid_file(self, service: str) -> Path:
        return self.path / "run" / f"{service}.json"

    def remembered_ports(self) -> StackPorts | None:
        """The ports of the last `up` in this home; None before the first."""
        try:
            noted = json.loads((self.path / "stack.json").read_bytes())["ports"]
        except FileNotFoundError:
            return None
        return StackPorts(**{field.name: noted[field.name] for field in fields(StackPorts)})

    def remember_ports(self, ports: StackPorts) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self.path / "stack.json.partial"
        partial.write_text(json.dumps({"ports": asdict(ports)}, indent=2) + "\n")
        partial.replace(self.path / "stack.json")

    def delete_data(self) -> None:
        """Delete data, logs, settings and ports; tools that were installed for all homes stay, and other homes."""
        for name in ("data", "logs", "run"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in ("stack.json", "local.settings.json"):
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command at a time start or stop services here."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
