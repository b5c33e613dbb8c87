"""Simulations: check a request, say what will be sent, and send it in the background as time goes by."""

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import msgspec

from shared.domain.simulation import Plan, PlannedPing, Position, Scenario, SimulationRequest, plan
from shared.errors import FootfallError, RequestRefused
from shared.workflows.sending import OutgoingPing, PingSender
from shared.workflows.sightings import ReferenceSource

log = logging.getLogger(__name__)

MAX_RUNNING = 4
"""Simulations at the same time, a worker."""
TICK_S = 0.1
"""Pings wait for each other up to this long, to be sent together."""
PINGS_A_SEND = 50_000
"""More than there are devices: a sender that is behind sends several pings of each at once, and so catches up."""


class SimulatorOff(RequestRefused):
    """A setting has to turn the simulator on."""


class SimulatorBusy(RequestRefused):
    """As many simulations are running as a worker may have."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What will be sent, exactly: `pings` in all, of which so many are hostile, repetitions, late or jumps."""

    id: str
    scenario: Scenario
    seed: int
    seconds: float
    rate: float
    devices: int
    pings: int
    hostile: int
    duplicates: int
    disordered: int
    jumps: int


class Simulator:
    """Starts simulations. Each runs in a thread of this worker and ends with it, sent or not."""

    def __init__(
        self,
        references: ReferenceSource,
        connect: Callable[[], AbstractAsyncContextManager[PingSender]],
        sample_route: Callable[[], Sequence[Position]],
        clock: Callable[[], int],
        *,
        is_enabled: bool,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._references = references
        self._connect = connect
        self._sample_route = sample_route
        self._clock = clock
        self._is_enabled = is_enabled
        self._timer = timer
        self._slots = threading.BoundedSemaphore(MAX_RUNNING)

    def start(self, body: bytes) -> Simulation:
        """Start what the body asks for, a SimulationRequest in JSON; nothing in it asks for the defaults.

        Raises SimulatorOff, SimulatorBusy, RequestRefused naming a limit, ReferenceUnavailable.
        """
        if not self._is_enabled:
            raise SimulatorOff("the simulator is off: the setting SIMULATOR_ENABLED=true turns it on")
        request = decode_request(body)
        seed = secrets.randbits(32) if request.seed is None else request.seed
        planned = self._plan(request, seed)
        if not self._slots.acquire(blocking=False):
            raise SimulatorBusy(f"{MAX_RUNNING} simulations are running, as many as a worker may have: try again later")
        threading.Thread(
            target=self._run, args=(planned, self._timer()), name=f"simulation {planned.simulation_id}", daemon=True
        ).start()
        return Simulation(
            id=planned.simulation_id,
            scenario=request.scenario,
            seed=seed,
            seconds=request.seconds,
            rate=request.rate,
            devices=planned.devices,
            pings=planned.pings,
            hostile=planned.hostile,
            duplicates=planned.duplicates,
            disordered=planned.disordered,
            jumps=planned.jumps,
        )

    def _plan(self, request: SimulationRequest, seed: int) -> Plan:
        start_us = self._clock()
        if request.scenario is Scenario.WALK:
            self._references.refresh(start_us)
            stores = self._references.version_for(start_us).stores
            return plan(request, seed=seed, start_us=start_us, stores=stores)
        if request.scenario is Scenario.ROUTE and request.positions is None:
            return plan(request, seed=seed, start_us=start_us, route=self._sample_route())
        return plan(request, seed=seed, start_us=start_us)

    def _run(self, planned: Plan, started_s: float) -> None:
        """The life of the thread."""
        try:
            acknowledged = asyncio.run(self._send(planned, started_s))
            log.info(
                "simulation %s: %d pings sent, %d acknowledged, in %.1f s",
                planned.simulation_id,
                planned.pings,
                acknowledged,
                self._timer() - started_s,
            )
        except FootfallError:
            log.exception("simulation %s ended early", planned.simulation_id)
        finally:
            self._slots.release()

    async def _send(self, planned: Plan, started_s: float) -> int:
        acknowledged = 0
        async with self._connect() as sender:
            async for due in when_due(planned.write(), lambda: self._timer() - started_s):
                acknowledged += await sender.send([OutgoingPing(ping.device_id, ping.body) for ping in due])
        return acknowledged


def decode_request(body: bytes) -> SimulationRequest:
    """The request in that body. Raises RequestRefused, which names the field and its limit."""
    try:
        return msgspec.json.decode(body.strip() or b"{}", type=SimulationRequest)
    except msgspec.DecodeError as error:
        raise RequestRefused(str(error)) from error


async def when_due(pings: Iterator[PlannedPing], elapsed_s: Callable[[], float]) -> AsyncIterator[list[PlannedPing]]:
    """The pings in their order, each when it is due or at most a tick later; those that are overdue at once."""
    due: list[PlannedPing] = []
    for ping in pings:
        if len(due) == PINGS_A_SEND or (due and ping.offset_s > elapsed_s()):
            yield due
            due = []
        while (wait_s := ping.offset_s - elapsed_s()) > 0:
            await asyncio.sleep(max(wait_s, TICK_S))
        due.append(ping)
    if due:
        yield due
