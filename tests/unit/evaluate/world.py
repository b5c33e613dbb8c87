"""A small world for the decision: two stores in London, a few promotions, and pings by hand."""

import json
from datetime import UTC, datetime

import numpy as np

from shared.domain.promotions import ContactPolicy, PresenceParameters, Promotion, StoreSelector
from shared.domain.reference import ReferenceData
from shared.domain.stores import StoreTable
from shared.workflows.partition_state import HubPartition
from shared.workflows.sightings import HubBatch

NOON_US = round(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp() * 1_000_000)
SECOND_US = 1_000_000
PARTITION = HubPartition("footfall", "local", "dev-readfrom", "2")

CAFE = 51.5000, -0.1200
BAKERY = 51.5003, -0.1200
"""33 m north of the café: one ping can be inside both."""
FAR_AWAY = 51.6000, -0.1200


COFFEE = Promotion("coffee", 20.0, "Coffee?", StoreSelector(merchants=frozenset({"Costa"})))


def stores() -> StoreTable:
    return StoreTable(
        store_id=("cafe", "bakery"),
        name=("The Café", "The Bakery"),
        merchant=("Costa", "Greggs"),
        service_type=("Coffee Shop", "Bakery"),
        location=("Lambeth", "Lambeth"),
        latitude=np.array([CAFE[0], BAKERY[0]]),
        longitude=np.array([CAFE[1], BAKERY[1]]),
        radius_m=np.array([50.0, 20.0]),
        loitering_delay_s=np.array([180.0, 180.0]),
        time_zone=("Europe/London", "Europe/London"),
    )


def reference(
    *,
    version: str = "v1",
    promotions: tuple[Promotion, ...] = (
        Promotion("coffee", 20.0, "Coffee?", StoreSelector(merchants=frozenset({"Costa"}))),
    ),
    policy: ContactPolicy | None = None,
    presence: PresenceParameters | None = None,
) -> ReferenceData:
    return ReferenceData(version, stores(), promotions, policy or ContactPolicy(), presence or PresenceParameters())


class BrokenReference(ReferenceData):
    """Reference data with a bug: whoever asks which store runs which promotion gets an error."""

    @classmethod
    def like(cls, good: ReferenceData) -> "BrokenReference":
        return cls("broken", good.stores, good.promotions, good.contact_policy, good.presence)

    @property
    def selection(self):
        raise ZeroDivisionError("a bug of ours")


def body(device_id: str, position: tuple[float, float], at_us: int, **more: object) -> bytes:
    tracked_at = datetime.fromtimestamp(at_us / 1e6, UTC).isoformat()
    fields = {"device_id": device_id, "latitude": position[0], "longitude": position[1], "tracked_at": tracked_at}
    return json.dumps(fields | more).encode()


def batch(*events: tuple[int, int, str | None, bytes], partition: HubPartition = PARTITION) -> HubBatch:
    """A batch of (sequence number, enqueued time in µs, partition key, body)."""
    numbers, enqueued, keys, bodies = zip(*events, strict=True)
    return HubBatch(partition, list(bodies), np.array(numbers, np.int64), np.array(enqueued, np.int64), list(keys))


def seen_at(number: int, device_id: str, position: tuple[float, float], at_us: int) -> tuple[int, int, str, bytes]:
    """An event that was enqueued in the second in which the ping was tracked."""
    return number, at_us // SECOND_US * SECOND_US, device_id, body(device_id, position, at_us)
