"""Starting simulations, and sending them as time goes by."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shared.adapters.reference_files import parse_reference
from shared.adapters.route_file import read_route
from shared.domain.simulation import PlannedPing, Position, Scenario
from shared.errors import ConfigurationError, FootfallError, HubUnavailable, ReferenceUnavailable, RequestRefused
from shared.workflows.reference import ReferenceCatalogue, publish
from shared.workflows.sending import OutgoingPing
from shared.workflows.simulate import (
    MAX_RUNNING,
    TICK_S,
    Simulation,
    Simulator,
    SimulatorBusy,
    SimulatorOff,
    decode_request,
    when_due,
)
from tests.fakes_reference import MemoryReferenceStore, reference_files
from tests.polling import wait_until

NOW_US = 1_800_000_000_000_000
ROUTE = [Position(51.5, -0.1), Position(51.6, -0.2)]


@dataclass
class FakeHub:
    """Takes in what simulations send; `is_open` keeps it from answering, `error` makes it fail."""

    sent: list[OutgoingPing] = field(default_factory=list)
    connected: int = 0
    closed: int = 0
    error: FootfallError | None = None
    is_open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.is_open.set()

    @asynccontextmanager
    async def connect(self):
        self.connected += 1
        yield self
        self.closed += 1

    async def send(self, pings: Sequence[OutgoingPing]) -> int:
        await asyncio.to_thread(self.is_open.wait, 20)
        if self.error is not None:
            raise self.error
        self.sent += pings
        return len(pings)


@dataclass
class World:
    hub: FakeHub = field(default_factory=FakeHub)
    store: MemoryReferenceStore = field(default_factory=MemoryReferenceStore)
    is_enabled: bool = True

    def __post_init__(self) -> None:
        publish(
            reference_files(),
            store=self.store,
            parse=parse_reference,
            clock=lambda: NOW_US,
            activation_delay_s=60,
            partition_count=4,
        )
        self.simulator = Simulator(
            ReferenceCatalogue(self.store, parse_reference, lambda: NOW_US),
            self.hub.connect,
            lambda: ROUTE,
            lambda: NOW_US,
            is_enabled=self.is_enabled,
            timer=lambda: 1_000 * time.monotonic(),
        )

    def start(self, body: bytes) -> Simulation:
        return self.simulator.start(body)

    def end(self) -> None:
        """Wait until no simulation is running."""
        wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("simulation ")], 20)


@pytest.fixture(name="world")
def _world() -> Iterator[World]:
    world = World()
    yield world
    world.hub.is_open.set()
    world.end()


def test_a_simulation_sends_exactly_what_it_announced(world: World) -> None:
    simulation = world.start(b'{"devices": 20, "seconds": 1, "rate": 200, "seed": 7, "hostile_percent": 10}')
    world.end()
    assert simulation.scenario is Scenario.WALK
    assert (simulation.pings, simulation.devices, simulation.hostile, simulation.seed) == (200, 20, 20, 7)
    assert len(world.hub.sent) == 200
    assert len({ping.device_id for ping in world.hub.sent}) == 20
    assert (world.hub.connected, world.hub.closed) == (1, 1)


def test_the_pings_of_a_device_are_sent_in_their_order(world: World) -> None:
    simulation = world.start(b'{"scenario": "route", "devices": 3, "seconds": 1, "rate": 60}')
    world.end()
    for device in range(3):
        ids = [ping.body.rpartition(b"-")[2] for ping in world.hub.sent if ping.device_id.endswith(f"-{device}")]
        assert ids == [b'%d"}' % number for number in range(device, simulation.pings, 3)]


def test_a_request_without_a_seed_gets_one_that_repeats_it(world: World) -> None:
    simulation = world.start(b'{"seconds": 1}')
    world.end()
    first = list(world.hub.sent)
    world.hub.sent.clear()
    assert world.start(b'{"seconds": 1, "seed": %d}' % simulation.seed).id != simulation.id
    world.end()
    assert [ping.device_id for ping in world.hub.sent] == [ping.device_id for ping in first]


def test_an_empty_body_asks_for_ten_walkers_for_half_a_minute() -> None:
    request = decode_request(b" ")
    assert (request.scenario, request.seconds, request.pings) == (Scenario.WALK, 30, 300)


def test_a_walk_is_between_the_stores_in_force(world: World) -> None:
    world.start(b'{"seconds": 1, "rate": 50}')
    world.end()
    assert all(b'"latitude":51.' in ping.body for ping in world.hub.sent)
    assert len(world.store.reads) == 3  # the catalogue by `publish`, the catalogue and the files by the walk


def test_a_walk_cannot_start_without_reference_data(world: World) -> None:
    world.store.is_away = True
    with pytest.raises(ReferenceUnavailable):
        world.start(b'{"seconds": 1}')
    assert world.hub.connected == 0


def test_a_route_and_the_classic_scenario_need_no_reference_data(world: World) -> None:
    world.store.is_away = True
    world.start(b'{"scenario": "classic", "seconds": 1}')
    world.start(b'{"scenario": "route", "seconds": 1}')
    world.start(b'{"scenario": "route", "seconds": 1, "positions": [{"latitude": 1, "longitude": 2}]}')
    world.end()
    assert len(world.hub.sent) == 30


def test_the_simulator_is_off_unless_a_setting_turns_it_on() -> None:
    world = World(is_enabled=False)
    with pytest.raises(SimulatorOff, match="SIMULATOR_ENABLED=true"):
        world.start(b"{}")
    assert world.hub.connected == 0


@pytest.mark.parametrize("body", [b'{"seconds": 601}', b"[]", b"not json", b'{"rate": 5000, "seconds": 300}', b"\xff"])
def test_a_request_that_is_not_valid_starts_nothing(world: World, body: bytes) -> None:
    with pytest.raises(RequestRefused):
        world.start(body)
    assert world.hub.connected == 0


def test_a_worker_runs_only_so_many_simulations_at_a_time(world: World) -> None:
    world.hub.is_open.clear()
    for _ in range(MAX_RUNNING):
        world.start(b'{"seconds": 1}')
    with pytest.raises(SimulatorBusy, match="try again later"):
        world.start(b'{"seconds": 1}')
    world.hub.is_open.set()
    world.end()
    world.start(b'{"seconds": 1}')


@pytest.mark.parametrize("error", [HubUnavailable("away"), ConfigurationError("no role")])
def test_a_hub_that_fails_ends_the_simulation_with_a_log_line_and_frees_its_place(
    world: World, caplog: pytest.LogCaptureFixture, error: FootfallError
) -> None:
    world.hub.error = error
    for _ in range(MAX_RUNNING + 1):
        simulation = world.start(b'{"seconds": 1}')
        world.end()
    assert f"simulation {simulation.id} ended early" in caplog.text


def test_one_line_at_the_end_says_what_was_sent(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="shared.workflows.simulate")
    simulation = world.start(b'{"seconds": 1}')
    world.end()
    assert [record.getMessage().partition(" in ")[0] for record in caplog.records] == [
        f"simulation {simulation.id}: 10 pings sent, 10 acknowledged,"
    ]


def test_pings_leave_when_they_are_due_and_never_before() -> None:
    planned = [PlannedPing(0.01 * number, "d", b"%d" % number) for number in range(60)]
    started = time.monotonic()
    left: list[tuple[float, PlannedPing]] = []

    async def watch() -> None:
        async for due in when_due(iter(planned), lambda: time.monotonic() - started):
            left.extend((time.monotonic() - started, ping) for ping in due)

    asyncio.run(watch())
    assert [ping for _, ping in left] == planned
    assert all(at_s >= ping.offset_s for at_s, ping in left)


def test_pings_wait_for_each_other_for_a_tick() -> None:
    clock = iter(number * TICK_S for number in range(1_000))
    planned = [PlannedPing(0.001 * number, "d", b"") for number in range(50)]

    async def watch() -> list[int]:
        return [len(due) async for due in when_due(iter(planned), lambda: next(clock))]

    assert asyncio.run(watch()) == [50]


def test_the_sample_route_is_read_from_its_file() -> None:
    sample = Path(__file__).parents[3] / "infra" / "local" / "sample" / "route.csv"
    assert read_route(sample)[0] == Position(51.51735, -0.1201)


def test_a_route_that_is_not_deployed_or_faulty_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "route.csv"
    with pytest.raises(RequestRefused, match=r"no route\.csv: give positions"):
        read_route(file)
    file.write_text("latitude,longitude\n51,0\n91,0\n")
    with pytest.raises(RequestRefused, match=r"route\.csv line 3: Expected `float` <= 90"):
        read_route(file)
