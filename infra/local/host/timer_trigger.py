"""Timer triggers: run a function by its schedule, never twice at a time, and once at start when a run was missed.

As the Timer extension does, the status of a monitored timer lies in a blob of the host's storage; a schedule that comes
more often than once a minute is not monitored. A laptop runs one host an account, so there is no lock between hosts.
"""

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobClient

from infra.local.host.background import Calls, Signal
from infra.local.host.engine import Arguments
from infra.local.host.invoker import Invoker, Outcome
from infra.local.host.model import Function
from infra.local.host.outage import AWAY, Outage
from infra.local.host.protos import TypedData
from infra.local.host.schedule import Schedule
from infra.local.host.status import TimerStatus
from infra.local.host.storage import HOSTS_CONTAINER, HostStorage

log = logging.getLogger(__name__)

_LEAST_MONITORED = timedelta(minutes=1)
_LONGEST_SLEEP_S = 30.0


class ScheduleMonitor:
    """When a timer last ran, kept in `timers/<host id>/Host.Functions.<name>/status`."""

    def __init__(self, storage: HostStorage, host_id: str, function_name: str) -> None:
        self._storage = storage
        self._path = f"timers/{host_id}/Host.Functions.{function_name}/status"

    async def last_run(self) -> datetime | None:
        """The start of the last run, or of the timer's first day when it never ran; None for a new timer."""
        try:
            content = await (await self._blob()).download_blob()
            status = json.loads(await content.readall())
        except ResourceNotFoundError:
            return None
        return datetime.fromisoformat(status["Last"])

    async def record(self, last: datetime, following: datetime) -> None:
        status = {"Last": last.isoformat(), "Next": following.isoformat(), "LastUpdated": _now().isoformat()}
        await (await self._blob()).upload_blob(json.dumps(status), overwrite=True)

    async def _blob(self) -> BlobClient:
        return (await self._storage.create_container(HOSTS_CONTAINER)).get_blob_client(self._path)


class TimerTrigger:
    """The listener of one timer function."""

    def __init__(self, function: Function, storage: HostStorage, host_id: str, invoker: Invoker) -> None:
        trigger = function.trigger
        self._function = function
        self._invoker = invoker
        self._schedule = Schedule(str(trigger.get("schedule")))
        self._run_on_startup = bool(trigger.get("runOnStartup", False))
        monitored = trigger.get("useMonitor", True) and self._schedule.interval_after(_now()) >= _LEAST_MONITORED
        self._monitor = ScheduleMonitor(storage, host_id, function.name) if monitored else None
        self._last_run: datetime | None = None
        self._turn = asyncio.Lock()
        self._calls = Calls()
        self._stopping = Signal()
        self._outage = Outage(function.name, "the storage of timer status")
        self.status = TimerStatus(self._schedule.expression)

    async def run(self) -> None:
        """Run the function when its time comes, until cancelled."""
        past_due = await self._is_past_due()
        self.status.listening = True
        if past_due or self._run_on_startup:
            await self._fire("past due" if past_due else "run on startup", past_due=past_due)
        tick = _now()
        while True:
            # Counted from the tick itself too: a clock that is a little behind must not find the same tick again.
            tick = self._schedule.next_after(max(tick, _now()))
            self.status.next_run = tick.isoformat()
            await _sleep_until(tick)
            await self._fire("schedule", past_due=False)

    def close(self) -> None:
        """From now on the storage is not waited for any more."""
        self._stopping.set()

    async def finished(self) -> None:
        await self._calls.finished()

    async def invoke_now(self, _text: str) -> Outcome:
        """Run the function now, after a run that is under way."""
        return await self._fire("called by hand", past_due=False)

    async def _is_past_due(self) -> bool:
        """True when a run was missed while the host was down; waits for the storage."""
        if self._monitor is None:
            return False
        self._last_run = await self._outage.wait_out(self._begin_monitoring, self._stopping)
        return self._last_run is not None and self._schedule.next_after(self._last_run) < _now()

    async def _begin_monitoring(self) -> datetime | None:
        assert self._monitor is not None
        last = await self._monitor.last_run()
        if last is None:
            # So that a missed run is noticed also when the host stops before the first one.
            await self._monitor.record(_now(), self._schedule.next_after(_now()))
        return last

    async def _fire(self, cause: str, *, past_due: bool) -> Outcome:
        return await self._calls.run(self._run(cause, past_due=past_due))

    async def _run(self, cause: str, *, past_due: bool) -> Outcome:
        async with self._turn:
            began = _now()
            arguments = timer_arguments(self._function, self._status_document(began), past_due=past_due)
            outcome = await self._invoker.invoke(self._function, arguments, cause)
            self._last_run = began
            self.status.last_run = began.isoformat()
            await self._record(began)
            return outcome

    async def _record(self, began: datetime) -> None:
        if self._monitor is None:
            return
        try:
            await self._monitor.record(began, self._schedule.next_after(_now()))
        except AWAY as error:
            # The function has run; at worst it runs once more after a restart.
            self._outage.failed(error)

    def _status_document(self, began: datetime) -> dict[str, str] | None:
        if self._monitor is None:
            return None
        last = (self._last_run or datetime(1, 1, 1, tzinfo=UTC)).isoformat()
        return {"Last": last, "Next": self._schedule.next_after(began).isoformat(), "LastUpdated": last}


def timer_arguments(function: Function, schedule_status: dict[str, str] | None, *, past_due: bool) -> Arguments:
    """What a timer function is called with (the extension's TimerInfo)."""
    info: dict[str, Any] = {
        "Schedule": {"AdjustForDST": True},
        "ScheduleStatus": schedule_status,
        "IsPastDue": past_due,
    }
    metadata = {"TimerTrigger": TypedData(string=f"{_now():%m/%d/%Y %H:%M:%S}")}
    return Arguments(((function.trigger.name, TypedData(json=json.dumps(info))),), metadata)


def _now() -> datetime:
    return datetime.now(UTC)


async def _sleep_until(instant: datetime) -> None:
    """In pieces, so that a laptop that slept or a clock that was set does not keep a timer waiting."""
    while (left := (instant - _now()).total_seconds()) > 0:
        await asyncio.sleep(min(left, _LONGEST_SLEEP_S))
