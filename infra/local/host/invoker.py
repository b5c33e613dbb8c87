"""One invocation from beginning to end: call the function, publish its outputs, count it, log one line."""

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from infra.local.host.engine import Arguments, Engine, Result
from infra.local.host.errors import OutputFailed
from infra.local.host.model import Function
from infra.local.host.protos import TypedData
from infra.local.host.retry import RetryContext
from infra.local.host.status import FunctionStatus, HostStatus, now_text

log = logging.getLogger(__name__)


class Outputs(Protocol):
    """Where the outputs of functions go."""

    async def publish(self, function: Function, values: Mapping[str, TypedData]) -> None:
        """Publish what a function gave; raises OutputFailed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an invocation ended; `values` are the outputs that the caller itself needs (the HTTP response)."""

    invocation_id: str
    duration_ms: float
    error: str = ""
    values: Mapping[str, TypedData] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        return not self.error


class Invoker:
    """Runs invocations and knows which are under way."""

    def __init__(self, engine: Engine, outputs: Outputs, status: HostStatus, timeout: timedelta | None) -> None:
        self._engine = engine
        self._outputs = outputs
        self._status = status
        self._timeout = timeout
        self._running: dict[str, str] = {}
        self._tracebacks: dict[str, str] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, function: Function) -> None:
        self._status.functions[function.name] = FunctionStatus(trigger=str(function.trigger.get("type")))

    @property
    def running(self) -> Mapping[str, str]:
        """The function's name by invocation id."""
        return self._running

    async def wait_until_idle(self, timeout: float) -> bool:
        """True when no invocation runs any more; False when `timeout` seconds were not enough."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def invoke(
        self, function: Function, arguments: Arguments, cause: str, retry: RetryContext | None = None
    ) -> Outcome:
        """Run `function` once and publish its outputs; `cause` is for the log, for example the batch it gets."""
        invocation_id = str(uuid.uuid4())
        status = self._status.functions[function.name]
        self._running[invocation_id] = function.name
        self._idle.clear()
        status.running += 1
        began = time.perf_counter()
        watchdog = self._watch(function, invocation_id)
        try:
            result = await self._engine.call(function, invocation_id, arguments, retry or RetryContext())
            error = result.error or await self._publish(function, result)
        finally:
            watchdog.cancel()
            status.running -= 1
            del self._running[invocation_id]
            if not self._running:
                self._idle.set()
        outcome = Outcome(invocation_id, (time.perf_counter() - began) * 1000, error, result.outputs)
        self._record(function, status, outcome, cause, result.traceback)
        return outcome

    def refuse(self, function: Function, error: str, cause: str) -> Outcome:
        """An invocation that fails in the host, before the function is called."""
        outcome = Outcome(str(uuid.uuid4()), 0.0, error)
        self._record(function, self._status.functions[function.name], outcome, cause, "")
        return outcome

    async def _publish(self, function: Function, result: Result) -> str:
        try:
            await self._outputs.publish(function, result.outputs)
        except OutputFailed as error:
            return f"OutputFailed: {error}"
        return ""

    def _record(self, function: Function, status: FunctionStatus, outcome: Outcome, cause: str, traceback: str) -> None:
        status.invocations += 1
        status.last_finished_at = now_text()
        if outcome.succeeded:
            log.info(
                "%s succeeded in %.0f ms (%s, id %s)", function.name, outcome.duration_ms, cause, outcome.invocation_id
            )
            return
        status.failures += 1
        status.last_error = outcome.error
        status.last_error_at = status.last_finished_at
        log.error(
            "%s failed in %.0f ms (%s, id %s): %s%s",
            function.name,
            outcome.duration_ms,
            cause,
            outcome.invocation_id,
            outcome.error,
            self._said_once(function.name, traceback),
        )

    def _said_once(self, name: str, traceback: str) -> str:
        """A traceback, or that it is the last one again: a retry policy may repeat it for hours."""
        if not traceback:
            return ""
        if self._tracebacks.get(name) == traceback:
            return " (traceback as before)"
        self._tracebacks[name] = traceback
        return f"\n{traceback.rstrip()}"

    def _watch(self, function: Function, invocation_id: str) -> asyncio.Handle:
        """A thread cannot be stopped, so the host only says what Azure would do at host.json's functionTimeout."""
        if self._timeout is None:
            return asyncio.get_running_loop().call_soon(lambda: None)
        return asyncio.get_running_loop().call_later(
            self._timeout.total_seconds(),
            log.error,
            "%s has run for %s (id %s): on Azure the host would now restart its worker",
            function.name,
            self._timeout,
            invocation_id,
        )
