"""What should have been offered, worked out the slow way: geopy for every store that could be near, one ping at a time.

It shares no code with the product: the rules are written down again, as docs/promotions and design say them.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from geopy.distance import geodesic

from infra.local.hub_reader import HubEvent

CONDITIONS = {"store_ids": "store_id", "merchants": "merchant", "service_types": "service_type"}
METRES_A_DEGREE = 110_000.0
"""Less than any degree of latitude has, so that a box of so many degrees holds the circle."""


@dataclass(frozen=True)
class Sent:
    """One offer: to whom, where, of what, and at which ping."""

    device_id: str
    store_id: str
    promotion_id: str
    tracked_at: datetime


@dataclass
class World:
    """Stores and promotions as their files say."""

    stores: list[dict[str, str]]
    promotions: list[dict]
    policy: dict
    presence: dict
    order: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.latitude = np.array([float(store["latitude"]) for store in self.stores])
        self.longitude = np.array([float(store["longitude"]) for store in self.stores])
        self.radius = np.array([float(store["radius_m"]) for store in self.stores])
        self.order = np.argsort(self.latitude)
        self.sorted_latitude = self.latitude[self.order]

    @classmethod
    def read(cls, stores: Path, promotions: Path) -> "World":
        with stores.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        plan = json.loads(promotions.read_text())
        return cls(rows, plan["promotions"], plan.get("contact_policy", {}), plan.get("presence", {}))

    def near(self, latitude: float, longitude: float) -> Iterator[tuple[int, float]]:
        """(store, distance) of every store whose radius or exit margin the position lies in."""
        reach = float(self.radius.max()) + self.exit_margin_m
        height = reach / METRES_A_DEGREE
        width = height / max(0.01, np.cos(np.radians(min(89.0, abs(latitude) + height))))
        first, last = np.searchsorted(self.sorted_latitude, [latitude - height, latitude + height])
        band = self.order[first:last]
        for store in sorted(band[np.abs(self.longitude[band] - longitude) <= width].tolist()):
            distance = geodesic((latitude, longitude), (self.latitude[store], self.longitude[store])).meters
            if distance <= self.radius[store] + self.exit_margin_m:
                yield store, distance

    @property
    def exit_margin_m(self) -> float:
        return float(self.presence.get("exit_margin_m", 20))

    def runs(self, promotion: dict, store: dict[str, str], at: datetime) -> bool:
        chosen = promotion["stores"]
        if chosen != "all":
            for condition, column in (
                ("store_ids", "store_id"),
                ("merchants", "merchant"),
                ("service_types", "service_type"),
            ):
                if condition in chosen and store[column] not in chosen[condition]:
                    return False
        starts, ends = promotion.get("starts_at"), promotion.get("ends_at")
        return (not starts or datetime.fromisoformat(starts) <= at) and (not ends or at < datetime.fromisoformat(ends))


@dataclass
class Device:
    newest: datetime
    inside: dict[str, datetime] = field(default_factory=dict)
    offered: dict[str, datetime] = field(default_factory=dict)


def offers(events: Iterable[HubEvent], world: World) -> tuple[set[Sent], int, int]:
    """The offers that those pings lead to; and how many pairs of ping and store there are, from how many pings.

    Every event must be a ping in canonical JSON; partitions and their events in order.
    """
    devices: dict[tuple[str, str], Device] = {}
    sent: set[Sent] = set()
    pairs = pings = 0
    for event in events:
        body = json.loads(event.body)
        near = list(world.near(body["latitude"], body["longitude"]))
        inside = [(store, distance) for store, distance in near if distance <= world.radius[store]]
        pairs += len(inside)
        pings += bool(inside)
        sent |= set(_offers_of(event, body, near, inside, devices, world))
    return sent, pairs, pings


def _offers_of(event, body, near, inside, devices, world) -> Iterator[Sent]:
    enqueued = datetime.fromtimestamp(event.enqueued_ms // 1000, UTC)
    tracked = instant(body["tracked_at"]) if "tracked_at" in body else enqueued
    is_stale = enqueued - tracked > timedelta(seconds=world.policy.get("max_ping_age_s", 120))
    key = event.partition_id, body["device_id"]
    device = devices.get(key)
    if device is None:
        if not inside or is_stale:
            return
        device = devices[key] = Device(tracked)
    if tracked < device.newest:
        return
    device.newest = tracked
    if body.get("accuracy_m", 0) > world.presence.get("max_accuracy_m", 100):
        return
    close = {world.stores[store]["store_id"] for store, _ in near}
    device.inside = {store_id: since for store_id, since in device.inside.items() if store_id in close}
    entered = [(store, d) for store, d in inside if world.stores[store]["store_id"] not in device.inside]
    candidates = []
    for store, distance in entered:
        row = world.stores[store]
        device.inside[row["store_id"]] = tracked
        last = device.offered.get(row["store_id"])
        is_cooling = last is not None and tracked - last < timedelta(seconds=world.policy.get("cooldown_s", 14_400))
        candidates += [
            (-promotion["discount_percent"], distance, promotion["promotion_id"], row["store_id"])
            for promotion in world.promotions
            if world.runs(promotion, row, tracked) and not is_stale and not is_cooling
        ]
    if candidates:
        _, _, promotion_id, store_id = min(candidates)
        device.offered[store_id] = tracked
        yield Sent(body["device_id"], store_id, promotion_id, tracked)


def instant(value: str | float) -> datetime:
    """An instant as a ping or a decision says it: RFC 3339, or seconds or milliseconds since 1970."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
