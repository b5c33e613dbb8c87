"""The laptop cloud as a whole: Azurite, the Event Hubs broker and the Functions host, started, watched and stopped."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.local import azurite, processes
from infra.local.app_settings import read_settings, storage_connection, write_settings
from infra.local.control import BrokerControl, HostControl
from infra.local.home import REPO, Home, StackPorts
from infra.local.ports import holder, is_free, is_listening

HUBS_CONFIG = REPO / "infra" / "local" / "eventhubs.config.json"
_POLL_S = 0.05
_TAIL_LINES = 15


class StackError(RuntimeError):
    """The laptop cloud could not be started or used as asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the laptop cloud. `ports` are by the command-line option that moves each."""

    name: str
    command: Callable[[], Sequence[str]]
    ports: Mapping[str, int]
    is_ready: Callable[[], bool]
    start_s: float
    """How long it may take until it is ready."""
    stop_s: float
    """How long it may take to stop by itself."""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What became of one service: `pid` None is stopped, `ready` False with a pid is starting or ill."""

    name: str
    pid: int | None
    ready: bool
    ports: tuple[int, ...]
    log: str


@dataclass(slots=True)
class Stack:
    """The laptop cloud of one home. `say` gets a line for each step, for people."""

    home: Home = field(default_factory=Home)
    ports: StackPorts = field(default_factory=StackPorts)
    app: Path = REPO
    hubs_config: Path = HUBS_CONFIG
    sample_settings: Path = REPO / "local.settings.sample.json"
    say: Callable[[str], None] = lambda _: None
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False)

    @property
    def broker(self) -> BrokerControl:
        return BrokerControl(self.ports.health)

    @property
    def host(self) -> HostControl:
        return HostControl(self.ports.http, self.home.data / "host" / "host-keys.json")

    def up(self) -> list[str]:
        """Start what is not running, in order, each when the one before is ready; returns the names of the started.

        Raises StackError when a port is taken or a service does not get ready; what was started then is stopped again.
        """
        with self.home.locked():
            missing = [service for service in self.services() if self._process(service) is None]
            self._refuse_other_ports(running=3 - len(missing))
            for service in missing:
                self._refuse_taken_ports(service)
            self.home.remember_ports(self.ports)
            write_settings(self.home, self.ports, self.sample_settings)
            try:
                self._start_in_order(missing)
            except BaseException:  # Ctrl-C too: leave nothing running that was started here
                self._stop(missing)
                raise
            return [service.name for service in missing]

    def down(self) -> list[str]:
        """Stop what is running, the last started first; returns the names of the stopped."""
        with self.home.locked():
            return self._stop(self.services())

    def status(self) -> list[ServiceStatus]:
        """What runs, and whether it answers."""
        return [self._status(service) for service in self.services()]

    def refuse_unless_ready(self) -> None:
        """Raise StackError that names what is not running or not answering."""
        ill = [status.name for status in self.status() if not status.ready]
        if ill:
            raise StackError(f"{', '.join(ill)} not running in {self.home.path}; start with: footfall up --detach")

    def services(self) -> tuple[Service, Service, Service]:
        """The three services, in the order in which they start."""
        return self._azurite(), self._eventhubs(), self._host()

    def _azurite(self) -> Service:
        ports = {"--blob-port": self.ports.blob, "--queue-port": self.ports.queue, "--table-port": self.ports.table}
        return Service(
            name="azurite",
            command=lambda: azurite.command(
                self.home.data / "azurite", azurite.AzuritePorts(self.ports.blob, self.ports.queue, self.ports.table)
            ),
            ports=ports,
            is_ready=lambda: all(map(is_listening, ports.values())),
            start_s=60,
            stop_s=20,
        )

    def _eventhubs(self) -> Service:
        command = [
            *(sys.executable, "-m", "infra.local.eventhubs"),
            *("--config", str(self.hubs_config), "--data", str(self.home.data / "eventhubs")),
            *("--amqp-port", str(self.ports.amqp), "--health-port", str(self.ports.health)),
            *("--storage", storage_connection(self.ports)),
        ]
        return Service(
            name="eventhubs",
            command=lambda: command,
            ports={"--amqp-port": self.ports.amqp, "--health-port": self.ports.health},
            is_ready=self.broker.is_healthy,
            start_s=30,
            stop_s=10,
        )

    def _host(self) -> Service:
        command = [
            *(sys.executable, "-m", "infra.local.host"),
            *("--app", str(self.app), "--settings", str(self.home.settings)),
            *("--port", str(self.ports.http), "--data", str(self.home.data / "host")),
        ]
        return Service(
            name="host",
            command=lambda: command,
            ports={"--http-port": self.ports.http},
            is_ready=self.host.is_running,
            start_s=60,
            stop_s=20,
        )

    def _start_in_order(self, missing: Sequence[Service]) -> None:
        for service in missing:
            self.say(f"starting {service.name} …")
            self._start(service)
            if service.name == "azurite":
                self._create_storage()

    def _start(self, service: Service) -> None:
        (self.home.data / service.name).mkdir(parents=True, exist_ok=True)
        log = self.home.log(service.name)
        child = processes.start(service.command(), pid_file=self.home.pid_file(service.name), log=log, folder=REPO)
        self._children.append(child)
        deadline = time.monotonic() + service.start_s
        while not service.is_ready():
            if child.poll() is not None:
                raise StackError(f"{service.name} ended with code {child.returncode}:\n{_tail(log)}")
            if time.monotonic() > deadline:
                raise StackError(f"{service.name} was not ready in {service.start_s:g} s; see {log}:\n{_tail(log)}")
            time.sleep(_POLL_S)

    def _create_storage(self) -> None:
        """Containers and table, as Terraform makes them on Azure."""
        # The SDKs take half a second to import; `footfall status` must not wait for them.
        from shared.adapters.azure_clients import blob_service, table_service

        settings = read_settings(self.home)
        containers = (
            settings.bronze_container,
            settings.silver_container,
            settings.gold_container,
            settings.quarantine_container,
            settings.reference_container,
        )
        with blob_service(settings.lake_storage) as blobs, table_service(settings.state_storage) as tables:
            present = {container.name for container in blobs.list_containers()}
            for name in set(containers) - present:
                blobs.create_container(name)
            tables.create_table_if_not_exists(settings.state_table)

    def _stop(self, services: Sequence[Service]) -> list[str]:
        stopped = []
        with _undisturbed():
            for service in reversed(services):
                if self._process(service) is not None:
                    # Nobody reads what we say any more (rich then asks to exit): it is stopped all the same.
                    with contextlib.suppress(BrokenPipeError, SystemExit):
                        self.say(f"stopping {service.name} …")
                if processes.stop(self.home.pid_file(service.name), service.stop_s):
                    stopped.append(service.name)
        for child in self._children:
            child.poll()  # takes note of its end
        return stopped

    def _refuse_other_ports(self, running: int) -> None:
        """Services that run know each other by the ports they were started with."""
        before = self.home.remembered_ports()
        if running and before not in (None, self.ports):
            raise StackError(f"part of it runs on other ports ({before}); stop it first: footfall down")

    def _refuse_taken_ports(self, service: Service) -> None:
        for option, port in service.ports.items():
            if is_free(port):
                continue
            by = holder(port) or "another process"
            variable = "FOOTFALL_" + option.removeprefix("--").upper().replace("-", "_")
            raise StackError(
                f"port {port} of {service.name} is taken by {by}; choose another one with {option} or {variable}"
            )

    def _status(self, service: Service) -> ServiceStatus:
        process = self._process(service)
        return ServiceStatus(
            name=service.name,
            pid=None if process is None else process.pid,
            ready=process is not None and service.is_ready(),
            ports=tuple(service.ports.values()),
            log=str(self.home.log(service.name)),
        )

    def _process(self, service: Service) -> psutil.Process | None:
        return processes.find(self.home.pid_file(service.name))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no second Ctrl-C or SIGTERM cut the stopping short: each service has its time limit anyway."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
