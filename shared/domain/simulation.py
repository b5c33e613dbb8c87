"""Simulated pings: what devices would send, planned from a request, a seed and a start. Same in, same bytes out.

Scenario `walk`: walkers stroll between stores at walking speed and pause at each. Scenario `route`: devices go through
given positions, one a ping, in a loop. Scenario `classic`: the 38 text bodies of the 2021 proof of concept, in a loop.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from shared.domain.hostile_bodies import hostile_body, rfc3339
from shared.domain.stores import StoreTable
from shared.domain.walkers import around, moved, stroll

MAX_PINGS = 1_000_000
"""Of one simulation, so that its plan stays below some 100 MB."""
DEFAULT_WALKERS = 10
CLASSIC_POINTS = 38
_CLASSIC_LETTERS = "fghijklmn"

GPS_NOISE_M = 5.0
"""Standard deviation of a position's error, in each of the two directions."""

type Floats = NDArray[np.float64]
type Rows = NDArray[np.int64]
type Flags = NDArray[np.bool_]


class Scenario(StrEnum):
    """What the devices do."""

    WALK = "walk"
    ROUTE = "route"
    CLASSIC = "classic"


Percent = Annotated[float, Meta(ge=0, le=50)]


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A position of a route, in degrees WGS-84."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]

    def __post_init__(self) -> None:
        if self.latitude == 0 and self.longitude == 0:
            raise ValueError("latitude 0 and longitude 0 is a position that was never set")


class SimulationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to simulate. It sends rate x seconds pings, rounded, faulty ones and repetitions included."""

    scenario: Scenario = Scenario.WALK
    devices: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """Default 10 walkers, or 1 device on a route; scenario `classic` has the nine of its text bodies."""
    seconds: Annotated[float, Meta(ge=1, le=600)] = 30
    rate: Annotated[float, Meta(gt=0, le=5_000)] = 10
    """Pings a second, over all devices together; they take turns."""
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] | None = None
    """Default: any."""
    duplicates_percent: Percent = 0
    """Of the pings: sent a second time, byte for byte."""
    disorder_percent: Percent = 0
    """Of the pings: sent after the device's next one."""
    jumps_percent: Percent = 0
    """Of the pings: 500 m to 5 km away from where the device is."""
    hostile_percent: Percent = 0
    """Of the pings: bodies that are no pings, of every kind."""
    positions: Annotated[list[Position], Meta(min_length=1, max_length=10_000)] | None = None
    """Of scenario `route`; default: the route of the sample."""

    def __post_init__(self) -> None:
        if not 1 <= self.pings <= MAX_PINGS:
            raise ValueError(f"rate x seconds is {self.pings:,} pings; valid are 1 to {MAX_PINGS:,}")
        if self.positions is not None and self.scenario is not Scenario.ROUTE:
            raise ValueError(f"positions belong to scenario route, not to {self.scenario}")
        if self.scenario is not Scenario.CLASSIC:
            return
        for name in ("devices", "duplicates_percent", "disorder_percent", "jumps_percent", "hostile_percent"):
            if getattr(self, name):
                raise ValueError(f"scenario classic sends its 38 bodies as they are: it takes no {name}")

    @property
    def pings(self) -> int:
        """How many will be sent."""
        return round(self.rate * self.seconds)


@dataclass(frozen=True, slots=True)
class PlannedPing:
    """One ping to send: when, counted from the start; by which device; and what."""

    offset_s: float
    device_id: str
    body: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What will be sent, exactly. `pings` counts the hostile and the repeated ones as well."""

    simulation_id: str
    scenario: Scenario
    devices: int
    pings: int
    hostile: int
    duplicates: int
    disordered: int
    jumps: int
    write: Callable[[], Iterator[PlannedPing]] = field(repr=False)
    """The pings in the order of sending; written while they are taken, as a million would fill the memory."""


def plan(
    request: SimulationRequest,
    *,
    seed: int,
    start_us: int,
    stores: StoreTable | None = None,
    route: Sequence[Position] = (),
) -> Plan:
    """Plan a simulation that starts at an instant. *stores* are for a walk, *route* for a route without positions.

    Raises ValueError when a walk has no stores, or a route no positions.
    """
    key = msgspec.json.encode((request, seed, start_us))
    simulation_id = hashlib.sha256(key).hexdigest()[:12]
    if request.scenario is Scenario.CLASSIC:
        return _plan_classic(request, simulation_id)
    rng = np.random.default_rng(seed)
    turns = _Turns(request)
    if request.scenario is Scenario.WALK:
        track = _walk(turns, stores, rng)
    else:
        track = _follow(turns, request.positions or route)
    faults = _Faults.choose(turns, request, rng)
    _jump(track, faults.jumps, rng)
    writer = _Writer(simulation_id, f"{request.scenario}-{seed}", start_us, turns, track, faults)
    return Plan(
        simulation_id=simulation_id,
        scenario=request.scenario,
        devices=min(turns.devices, turns.pings),
        pings=turns.pings,
        hostile=int(faults.is_hostile.sum()),
        duplicates=len(faults.repeated),
        disordered=len(faults.late),
        jumps=len(faults.jumps),
        write=writer.write,
    )


class _Turns:
    """Who sends when: ping n is sent by device n mod devices, n / rate seconds after the start."""

    def __init__(self, request: SimulationRequest) -> None:
        self.pings = request.pings
        self.devices = request.devices or (DEFAULT_WALKERS if request.scenario is Scenario.WALK else 1)
        numbers = np.arange(self.pings, dtype=np.int64)
        self.device: Rows = numbers % self.devices
        self.offset_s: Floats = numbers / request.rate

    def last_before(self, is_good: Flags) -> Rows:
        """For each ping, the last good one that its device sent before it; -1 where there is none."""
        rounds = -(-self.pings // self.devices) + 1
        numbers = np.full(rounds * self.devices, -1, dtype=np.int64)
        numbers[self.devices :][: self.pings] = np.where(is_good, np.arange(self.pings), -1)
        last = np.maximum.accumulate(numbers.reshape(rounds, self.devices), axis=0)
        return last.reshape(-1)[: self.pings]


@dataclass(slots=True)
class _Track:
    """Where the device of each ping says that it is."""

    latitude: Floats
    longitude: Floats
    accuracy_m: Floats


def _walk(turns: _Turns, stores: StoreTable | None, rng: np.random.Generator) -> _Track:
    if stores is None or not len(stores):
        raise ValueError("there are no stores to walk between")
    latitude, longitude = stroll(turns.device, turns.offset_s, turns.devices, stores, rng)
    north_m, east_m = rng.normal(0.0, GPS_NOISE_M, (2, turns.pings))
    accuracy_m = np.clip(rng.lognormal(np.log(8.0), 0.4, turns.pings), 3.0, 50.0)
    return _Track(*moved(latitude, longitude, north_m, east_m), accuracy_m)


def _follow(turns: _Turns, positions: Sequence[Position]) -> _Track:
    """Through the positions in a loop, the devices spread evenly along it."""
    if not positions:
        raise ValueError("a route needs positions")
    latitude, longitude = np.array([(position.latitude, position.longitude) for position in positions]).T
    start = turns.device * len(positions) // turns.devices
    at = (start + np.arange(turns.pings) // turns.devices) % len(positions)
    return _Track(latitude[at], longitude[at], np.full(turns.pings, GPS_NOISE_M))


def _jump(track: _Track, jumps: Rows, rng: np.random.Generator) -> None:
    far_m = rng.uniform(500.0, 5_000.0, len(jumps))
    track.latitude[jumps], track.longitude[jumps] = around(track.latitude[jumps], track.longitude[jumps], far_m, rng)


@dataclass(frozen=True, slots=True)
class _Faults:
    """What is wrong with which ping (rows of the plan)."""

    is_hostile: Flags
    repeated: Rows
    original: Rows
    """Of each repeated one: the ping whose body it has."""
    jumps: Rows
    late: Rows
    """Sent with the device's next ping, after it."""

    @classmethod
    def choose(cls, turns: _Turns, request: SimulationRequest, rng: np.random.Generator) -> "_Faults":
        """Each fault as often as was asked for; fewer where there are not enough pings that can have it."""
        numbers = np.arange(turns.pings)

        def some(rows: Rows, percent: float) -> Rows:
            wanted = min(len(rows), round(turns.pings * percent / 100))
            return np.sort(rng.choice(rows, wanted, replace=False))

        is_fresh = np.ones(turns.pings, dtype=np.bool_)
        hostile = some(numbers, request.hostile_percent)
        is_fresh[hostile] = False
        is_hostile = ~is_fresh
        repeated = some(numbers[is_fresh & (turns.last_before(is_fresh) >= 0)], request.duplicates_percent)
        is_fresh[repeated] = False
        fresh = numbers[is_fresh]
        before_next = fresh[fresh + turns.devices < turns.pings]
        # Of two pings in a row that are both late, both would be in order again: only those of even turns may be.
        can_be_late = is_fresh[before_next + turns.devices] & (before_next // turns.devices % 2 == 0)
        return cls(
            is_hostile,
            repeated,
            turns.last_before(is_fresh)[repeated],
            jumps=some(fresh, request.jumps_percent),
            late=some(before_next[can_be_late], request.disorder_percent),
        )


class _PingBody(msgspec.Struct):
    """A ping as a phone writes it."""

    device_id: str
    latitude: float
    longitude: float
    tracked_at: str
    accuracy_m: float
    ping_id: str


@dataclass(frozen=True, slots=True, eq=False)
class _Writer:
    """Writes the bodies of a plan, in the order of sending."""

    simulation_id: str
    device_prefix: str
    start_us: int
    turns: _Turns
    track: _Track
    faults: _Faults

    def write(self) -> Iterator[PlannedPing]:
        sent_s = self.turns.offset_s.copy()
        sent_s[self.faults.late] = self.turns.offset_s[self.faults.late + self.turns.devices]
        is_late = np.zeros(self.turns.pings, dtype=np.bool_)
        is_late[self.faults.late] = True
        body_of = np.arange(self.turns.pings)
        body_of[self.faults.repeated] = self.faults.original
        hostile = 0
        for row in np.lexsort((is_late, sent_s)):
            device_id = f"{self.device_prefix}-{self.turns.device[row]}"
            if self.faults.is_hostile[row]:
                body = hostile_body(hostile, device_id, self.start_us + self._us(row))
                hostile += 1
            else:
                body = self._body(int(body_of[row]), device_id)
            yield PlannedPing(float(sent_s[row]), device_id, body)

    def _us(self, row: int) -> int:
        """When that ping was tracked, counted from the start."""
        return int(self.turns.offset_s[row] * 1_000_000)

    def _body(self, row: int, device_id: str) -> bytes:
        ping = _PingBody(
            device_id=device_id,
            latitude=round(float(self.track.latitude[row]), 6),
            longitude=round(float(self.track.longitude[row]), 6),
            tracked_at=rfc3339(self.start_us + self._us(row)),
            accuracy_m=round(float(self.track.accuracy_m[row]), 1),
            ping_id=f"{self.simulation_id}-{row}",
        )
        return msgspec.json.encode(ping)


def _plan_classic(request: SimulationRequest, simulation_id: str) -> Plan:
    def write() -> Iterator[PlannedPing]:
        for number in range(request.pings):
            device_id, body = classic_ping(number % CLASSIC_POINTS)
            yield PlannedPing(number / request.rate, device_id, body)

    devices = {classic_ping(point)[0] for point in range(min(request.pings, CLASSIC_POINTS))}
    return Plan(
        simulation_id,
        request.scenario,
        devices=len(devices),
        pings=request.pings,
        hostile=0,
        duplicates=0,
        disordered=0,
        jumps=0,
        write=write,
    )


def classic_ping(point: int) -> tuple[str, bytes]:
    """Device and body of the ancestor's point 0 to 37, to the byte."""
    letter = _CLASSIC_LETTERS[point if point == 0 else (point - 1) % 8 + 1]
    device_id = f"abcde-j12345-e12345-{letter}12345"
    latitude, longitude = 51.1 + 0.1 * point, 0.1 + 0.03 * point
    return device_id, f"latitude:{latitude:g}, longitude:{longitude:g},appid:{device_id}".encode()
