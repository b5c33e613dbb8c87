"""The host as a whole: index the app, check it, start its triggers, serve HTTP, stop in order."""

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.local.host.blob_trigger import BlobTrigger
from infra.local.host.connections import HOST_STORAGE, find_connection
from infra.local.host.engine import Engine
from infra.local.host.errors import AppRefused, PortTaken
from infra.local.host.event_hub_trigger import EventHubTrigger
from infra.local.host.http_server import HttpFunction, HttpServer
from infra.local.host.invoker import Invoker, Outcome
from infra.local.host.keys import HostKeys
from infra.local.host.logs import set_up_logging
from infra.local.host.model import Function
from infra.local.host.outputs import OutputBindings
from infra.local.host.receipts import Receipts
from infra.local.host.settings import HostOptions, apply_settings, load_host_options, load_local_settings
from infra.local.host.status import HostStatus, TriggerStatus
from infra.local.host.storage import HostStorage
from infra.local.host.timer_trigger import TimerTrigger
from infra.local.host.validation import Level, check_app
from infra.local.ports import holder

log = logging.getLogger(__name__)

_GRACE_S = 5.0
_STOP_LISTENING_S = 3.0


@dataclass(frozen=True, slots=True)
class HostArguments:
    """The command line."""

    app: Path
    settings: Path
    data: Path
    address: str
    port: int
    blob_scan_s: float


class Trigger(Protocol):
    """What the host knows of a listener."""

    @property
    def status(self) -> TriggerStatus: ...

    async def run(self) -> None:
        """Listen until cancelled."""

    def close(self) -> None:
        """From now on begin nothing and remember nothing."""

    async def finished(self) -> None:
        """Wait for the calls that are under way."""

    async def invoke_now(self, text: str) -> Outcome:
        """Call the function by hand."""


def run_host(arguments: HostArguments) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises AppRefused, PortTaken and ConfigurationError before that."""
    listener = _bind(arguments.address, arguments.port)
    engine = Engine(arguments.app)
    set_up_logging(engine.function_of_this_thread)
    for name in apply_settings(load_local_settings(arguments.settings), os.environ):
        log.warning("the environment has %s already, so the local settings' value is not used", name)
    options = load_host_options(arguments.app)
    functions = engine.start()
    _check(functions, options)
    return asyncio.run(_Host(arguments, engine, functions, options).run(listener))


def _bind(address: str, port: int) -> socket.socket:
    """Take the port before the app is loaded: a taken one is known at once."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen()
    except OSError as error:
        listener.close()
        by = f" by {found}" if (found := holder(port)) else ""
        raise PortTaken(
            f"port {port} of {address} is taken{by} ({error.strerror}); choose another with --port"
        ) from error
    return listener


def _check(functions: list[Function], options: HostOptions) -> None:
    findings = check_app(functions, options.document, os.environ)
    for finding in findings:
        log.log(getattr(logging, finding.level.name), "%s: %s", finding.where, finding.text)
    errors = [f"{finding.where}: {finding.text}" for finding in findings if finding.level is Level.ERROR]
    if errors:
        raise AppRefused("\n".join(errors))


class _Host:
    def __init__(
        self, arguments: HostArguments, engine: Engine, functions: list[Function], options: HostOptions
    ) -> None:
        self._arguments = arguments
        self._engine = engine
        self._functions = functions
        self._options = options
        self._status = HostStatus(_host_id(arguments.app))
        self._failed = False
        self._stop = asyncio.Event()

    async def run(self, listener: socket.socket) -> int:
        keys = HostKeys.load(self._arguments.data)
        outputs = OutputBindings(self._functions)
        invoker = Invoker(self._engine, outputs, self._status, self._options.function_timeout)
        storage = _host_storage()
        triggers = self._make_triggers(invoker, storage)
        for function in self._functions:
            invoker.add(function)
        server = self._make_server(triggers, invoker, keys)
        await server.start(listener)
        opening = asyncio.create_task(outputs.open())
        listening = [asyncio.create_task(self._supervise(name, trigger)) for name, trigger in triggers.items()]
        announcing = asyncio.create_task(self._announce(triggers))
        self._stop_on_signals()
        await self._stop.wait()
        log.info("stopping; %d calls are under way", len(invoker.running))
        self._status.state = "stopping"
        await _cancel(opening, announcing)
        clean = await self._stop_all(triggers, listening, server, invoker)
        await outputs.close()
        if storage is not None:
            await storage.close()
        self._end_engine(clean, invoker.running)
        return 1 if self._failed else 0

    def _make_triggers(self, invoker: Invoker, storage: HostStorage | None) -> dict[str, Trigger]:
        triggers: dict[str, Trigger] = {}
        for function in self._functions:
            trigger = self._make_trigger(function, invoker, storage)
            if trigger is not None:
                triggers[function.name] = trigger
                self._status.triggers[function.name] = trigger.status
        return triggers

    def _make_trigger(self, function: Function, invoker: Invoker, storage: HostStorage | None) -> Trigger | None:
        if function.trigger.type == "httptrigger":
            return None
        assert storage is not None, "validation has refused an app without it"
        host_id = self._status.host_id
        connection = find_connection(str(function.trigger.get("connection", HOST_STORAGE)))
        if function.trigger.type == "timertrigger":
            return TimerTrigger(function, storage, host_id, invoker)
        assert connection is not None, "validation has refused an app without it"
        if function.trigger.type == "eventhubtrigger":
            return EventHubTrigger(function, connection, storage, invoker, self._options.event_hubs)
        receipts = Receipts(storage, host_id, function.name)
        return BlobTrigger(function, connection, receipts, invoker, self._options.blobs, self._arguments.blob_scan_s)

    def _make_server(self, triggers: Mapping[str, Trigger], invoker: Invoker, keys: HostKeys) -> HttpServer:
        by_hand = {
            function.name: triggers.get(function.name, HttpFunction(function, invoker)) for function in self._functions
        }
        return HttpServer(self._functions, by_hand, self._options.route_prefix, invoker, keys, self._status)

    async def _supervise(self, name: str, trigger: Trigger) -> None:
        """A listener waits out every outage, so an error that ends it is a fault of this host: say so and stop."""
        try:
            await trigger.run()
        except Exception:  # whatever it is, it is a fault of this host: say so and stop
            if not self._stop.is_set():
                log.exception("the listener of %s has failed", name)
                self._failed = True
                self._stop.set()

    async def _announce(self, triggers: Mapping[str, Trigger]) -> None:
        while not all(trigger.status.listening for trigger in triggers.values()):
            await asyncio.sleep(0.02)
        self._status.state = "running"
        base = f"http://{self._arguments.address}:{self._arguments.port}"
        print(f"ready: {base}/{self._options.route_prefix}, {len(self._functions)} functions", flush=True)  # noqa: T201

    def _stop_on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            os._exit(130)  # asked twice: do not wait for anything
        self._stop.set()

    async def _stop_all(
        self, triggers: Mapping[str, Trigger], listening: list[asyncio.Task[None]], server: HttpServer, invoker: Invoker
    ) -> bool:
        """End listening at once and give calls under way some seconds; False when some have not ended by then."""
        for trigger in triggers.values():
            trigger.close()
        for task in listening:
            task.cancel()
        ends = [trigger.finished() for trigger in triggers.values()]
        stopping = asyncio.gather(*ends, server.stop(), server.finished(), _ended(listening), return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping, _GRACE_S)
        return not invoker.running

    def _end_engine(self, clean: bool, running: Mapping[str, str]) -> None:
        if clean:
            self._engine.stop()
            return
        # Python waits for its threads at exit, and a function's thread cannot be ended.
        log.warning("these calls did not end in %g s and are left: %s", _GRACE_S, ", ".join(sorted(running.values())))
        logging.shutdown()
        os._exit(1 if self._failed else 0)


def _host_storage() -> HostStorage | None:
    connection = find_connection(HOST_STORAGE)
    return HostStorage(connection) if connection else None


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=_STOP_LISTENING_S)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _host_id(app: Path) -> str:
    """Names the app in the storage: receipts and timers are found again as long as it lies in the same folder."""
    given = os.environ.get("AzureFunctionsWebHost__hostid")  # noqa: SIM112 (Azure's own spelling)
    return given or "local-" + hashlib.sha256(str(app).encode()).hexdigest()[:16]
