"""A small world for the decision: stores in London, a few promotions, and pings by hand."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import cos, radians

import numpy as np
from shapely import Polygon

from shared.domain.budget import Budget
from shared.domain.deciding import decide
from shared.domain.decision import Decision, Near, Outcome, SeenPing
from shared.domain.device_state import DeviceState
from shared.domain.promotions import ContactPolicy, PresenceParameters, Promotion, StoreSelector
from shared.domain.reference import ReferenceData
from shared.domain.stores import StoreTable
from shared.settings import STATE_TTL
from shared.workflows.partition_state import HubPartition
from shared.workflows.sightings import HubBatch

NOON_US = round(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp() * 1_000_000)
"""Monday, 13:00 in London."""
SECOND_US = 1_000_000
TTL_US = round(STATE_TTL.total_seconds() * 1e6)
PARTITION = HubPartition("footfall", "local", "dev-readfrom", "2")
UNLIMITED = Budget(4, {})

Position = tuple[float, float]

CAFE = 51.5000, -0.1200
BAKERY = 51.5003, -0.1200
"""33 m north of the café: one ping can be inside both."""
FAR_AWAY = 51.6000, -0.1200
CORNERS = (-1, -1), (-1, 1), (1, 1), (1, -1)


COFFEE = Promotion("coffee", 20.0, "Coffee?", StoreSelector(merchants=frozenset({"Costa"})))
BREAD = Promotion("bread", 30.0, "Bread?", StoreSelector(merchants=frozenset({"Greggs"})))
EVERYWHERE = Promotion("everywhere", 10.0, "Come in")


@dataclass(frozen=True)
class Shop:
    """A store with a circle around it, or a polygon, where its radius reaches to the farthest corner."""

    store_id: str
    position: Position
    radius_m: float = 50.0
    loitering_s: float = 180.0
    time_zone: str = "Europe/London"
    merchant: str = "Costa"
    service_type: str = "Coffee Shop"
    polygon: Polygon | None = None


THE_CAFE = Shop("cafe", CAFE)
THE_BAKERY = Shop("bakery", BAKERY, 20.0, merchant="Greggs", service_type="Bakery")


def stores(*shops: Shop) -> StoreTable:
    """A store table of the shops; of none given, the café and the bakery."""
    shops = shops or (THE_CAFE, THE_BAKERY)
    return StoreTable(
        store_id=tuple(shop.store_id for shop in shops),
        name=tuple(f"The {shop.store_id}" for shop in shops),
        merchant=tuple(shop.merchant for shop in shops),
        service_type=tuple(shop.service_type for shop in shops),
        location=("Lambeth",) * len(shops),
        latitude=np.array([shop.position[0] for shop in shops]),
        longitude=np.array([shop.position[1] for shop in shops]),
        radius_m=np.array([shop.radius_m for shop in shops]),
        loitering_delay_s=np.array([shop.loitering_s for shop in shops]),
        time_zone=tuple(shop.time_zone for shop in shops),
        polygons={row: shop.polygon for row, shop in enumerate(shops) if shop.polygon is not None},
    )


def reference(
    *shops: Shop,
    version: str = "v1",
    promotions: tuple[Promotion, ...] = (COFFEE,),
    policy: ContactPolicy | None = None,
    presence: PresenceParameters | None = None,
    require_consent: bool = False,
    suppressed: Iterable[str] = (),
    changed_us: Mapping[int, int] | None = None,
) -> ReferenceData:
    return ReferenceData(
        version,
        stores(*shops),
        promotions,
        policy or ContactPolicy(),
        presence or PresenceParameters(),
        require_consent,
        frozenset(suppressed),
        changed_us or {},
    )


class BrokenReference(ReferenceData):
    """Reference data with a bug: whoever asks which store runs which promotion gets an error."""

    @classmethod
    def like(cls, good: ReferenceData) -> "BrokenReference":
        return cls("broken", good.stores, good.promotions, good.contact_policy, good.presence)

    @property
    def selection(self):
        raise ZeroDivisionError("a bug of ours")


def beside(position: Position, *, north_m: float = 0.0, east_m: float = 0.0) -> Position:
    """The position so many metres away; right to a few millimetres a kilometre."""
    latitude, longitude = position
    return latitude + north_m / 111_265, longitude + east_m / (111_412 * cos(radians(latitude)))


def block(position: Position, *half_sides_m: float) -> Polygon:
    """A square around the position; of two sizes given, the second is that of its courtyard."""
    rings = [
        [beside(position, north_m=north * half, east_m=east * half)[::-1] for north, east in CORNERS]
        for half in half_sides_m
    ]
    return Polygon(rings[0], rings[1:])


def near(data: ReferenceData, positions: Iterable[Position]) -> list[tuple[Near, ...]]:
    """The geofences near each position, as the index finds them."""
    latitude, longitude = np.array(list(positions), np.float64).reshape(-1, 2).T
    found: list[list[Near]] = [[] for _ in latitude]
    pairs = data.index.match(np.ascontiguousarray(latitude), np.ascontiguousarray(longitude))
    for row, store, distance_m, inside in zip(
        pairs.ping.tolist(), pairs.store.tolist(), pairs.distance_m.tolist(), pairs.inside.tolist(), strict=True
    ):
        found[row].append(Near(store, distance_m, inside))
    return [tuple(stores_near) for stores_near in found]


@dataclass(frozen=True)
class Ping:
    """Where a device says that it was, in seconds since noon."""

    at_s: float
    position: Position
    accuracy_m: float | None = None
    enqueued_s: float | None = None
    """When the hub had it; as soon as it was sent, where nothing is said."""
    consent: bool | None = None


def see(ping: Ping, number: int, data: ReferenceData, device_id: str = "d1") -> SeenPing:
    """The ping as the decision sees it, under that reference data."""
    enqueued_s = ping.at_s if ping.enqueued_s is None else ping.enqueued_s
    (stores_near,) = near(data, [ping.position])
    return SeenPing(
        device_id,
        *ping.position,
        NOON_US + round(ping.at_s * SECOND_US),
        NOON_US + round(enqueued_s) * SECOND_US,
        ping.accuracy_m,
        PARTITION.partition_id,
        number,
        stores_near,
        ping.consent,
    )


@dataclass
class Walk:
    """One device that sends pings; what is known of it, and what was decided."""

    data: ReferenceData
    device_id: str = "d1"
    state: DeviceState | None = None
    budget: Budget = UNLIMITED
    pings: int = 0

    def sends(self, at_s: float, position: Position, **more: object) -> list[Decision]:
        """The decisions that the next ping leads to."""
        return self.sees(Ping(at_s, position, **more))

    def sees(self, ping: Ping) -> list[Decision]:
        """The same, of a ping."""
        self.pings += 1
        seen = see(ping, self.pings, self.data, self.device_id)
        self.state, outputs = decide(self.state, seen, self.data, self.budget, state_ttl_us=TTL_US)
        sent = [decision for decision in outputs.decisions if decision.outcome is Outcome.SENT]
        assert [offer.decision for offer in outputs.offers] == sent, "an offer for each decision to send, and no other"
        return list(outputs.decisions)


def told(decisions: Iterable[Decision]) -> list[tuple[object, ...]]:
    """Where, at what, of which promotion, and why not (None: sent)."""
    return [(one.store_id, one.transition, one.promotion_id, one.reason) for one in decisions]


def body(device_id: str, position: Position, at_us: int, **more: object) -> bytes:
    tracked_at = datetime.fromtimestamp(at_us / 1e6, UTC).isoformat()
    fields = {"device_id": device_id, "latitude": position[0], "longitude": position[1], "tracked_at": tracked_at}
    return json.dumps(fields | more).encode()


def batch(*events: tuple[int, int, str | None, bytes], partition: HubPartition = PARTITION) -> HubBatch:
    """A batch of (sequence number, enqueued time in µs, partition key, body)."""
    numbers, enqueued, keys, bodies = zip(*events, strict=True)
    return HubBatch(partition, list(bodies), np.array(numbers, np.int64), np.array(enqueued, np.int64), list(keys))


def seen_at(number: int, device_id: str, position: Position, at_us: int) -> tuple[int, int, str, bytes]:
    """An event that was enqueued in the second in which the ping was tracked."""
    return number, at_us // SECOND_US * SECOND_US, device_id, body(device_id, position, at_us)
