"""What should have been decided, worked out the slow way: geopy for every store that could be near, ping after ping.

It shares no code with the product: the rules are written down again, as docs/deciding.md and docs/promotions.md say
them, hashes included. One version of circles is known, so no geofence ever changes under a device.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from hashlib import blake2b
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from geopy.distance import geodesic
from tzfpy import get_tz

from infra.local.hub_reader import HubEvent

CONDITIONS = {"store_ids": "store_id", "merchants": "merchant", "service_types": "service_type"}
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
METRES_A_DEGREE = 110_000.0
"""Less than any degree of latitude has, so that a box of so many degrees holds the circle."""
REST = timedelta(hours=4)
ONE_HOUR = timedelta(hours=1)
STANDARD_POLICY = {
    "cooldown_s": 14_400, "daily_cap": 5, "min_gap_s": 300, "quiet_hours": None, "max_ping_age_s": 120,
    "require_consent": False,
}  # fmt: skip
STANDARD_PRESENCE = {"exit_margin_m": 20, "exit_delay_s": 60, "visit_timeout_s": 1800, "max_accuracy_m": 100}


@dataclass(frozen=True)
class Sent:
    """One offer: to whom, where, of what, and at which ping."""

    device_id: str
    store_id: str
    promotion_id: str
    tracked_at: datetime


@dataclass(frozen=True)
class Verdict:
    """One decision: about whom, where, at what, of what, why not (None: sent), at which ping, and in which visit."""

    device_id: str
    store_id: str
    transition: str | None
    promotion_id: str | None
    reason: str | None
    tracked_at: datetime
    entered_at: datetime | None = None
    left_at: datetime | None = None

    @classmethod
    def of(cls, data: dict) -> "Verdict":
        """What a decision of the product says in its `data`."""
        names = "device_id", "store_id", "transition", "promotion_id", "reason"
        times = (data[name] and instant(data[name]) for name in ("tracked_at", "entered_at", "left_at"))
        return cls(*(data[name] for name in names), *times)


@dataclass
class World:
    """Stores and promotions as their files say."""

    stores: list[dict[str, str]]
    promotions: list[dict]
    policy: dict
    presence: dict
    partitions: int = 4
    order: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.policy = STANDARD_POLICY | self.policy
        self.presence = STANDARD_PRESENCE | self.presence
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

    def near(self, latitude: float, longitude: float) -> dict[int, float]:
        """The distance of every store whose radius or exit margin the position lies in."""
        reach = float(self.radius.max()) + self.presence["exit_margin_m"]
        height = reach / METRES_A_DEGREE
        width = height / max(0.01, np.cos(np.radians(min(89.0, abs(latitude) + height))))
        first, last = np.searchsorted(self.sorted_latitude, [latitude - height, latitude + height])
        band = self.order[first:last]
        stores = band[np.abs(self.longitude[band] - longitude) <= width].tolist()
        distances = {store: self.distance(store, latitude, longitude) for store in sorted(stores)}
        return {store: distance for store, distance in distances.items() if distance <= self.reach(store)}

    def distance(self, store: int, latitude: float, longitude: float) -> float:
        return geodesic((latitude, longitude), (self.latitude[store], self.longitude[store])).meters

    def reach(self, store: int) -> float:
        return self.radius[store] + self.presence["exit_margin_m"]

    def loitering(self, store: int) -> timedelta:
        return timedelta(seconds=float(self.stores[store].get("loitering_delay_s") or 180))

    def zone(self, store: int) -> ZoneInfo | None:
        name = self.stores[store].get("time_zone") or get_tz(self.longitude[store], self.latitude[store])
        return ZoneInfo(name) if name else None

    def runs(self, store: int) -> list[dict]:
        """The promotions that a store runs, at whatever time."""
        row = self.stores[store]
        return [
            promotion
            for promotion in self.promotions
            if promotion["stores"] == "all"
            or all(row[CONDITIONS[key]] in names for key, names in promotion["stores"].items())
        ]


@dataclass
class Visit:
    entered: datetime
    inside: datetime
    away: datetime | None = None
    dwelling: bool = False
    was_out: bool = False


@dataclass(frozen=True)
class Left:
    """An EXIT: when the visit had begun and ended."""

    entered: datetime
    left: datetime


@dataclass
class Device:
    newest: datetime
    visits: dict[int, Visit] = field(default_factory=dict)
    contacts: dict[int, datetime] = field(default_factory=dict)
    offered: list[datetime] = field(default_factory=list)
    blurred: dict[int, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Ping:
    device_id: str
    latitude: float
    longitude: float
    accuracy: float | None
    consent: bool | None
    tracked: datetime
    enqueued: datetime
    partition: int

    @classmethod
    def of(cls, event: HubEvent) -> "Ping":
        body, enqueued = json.loads(event.body), datetime.fromtimestamp(event.enqueued_ms // 1000, UTC)
        tracked = instant(body["tracked_at"]) if body.get("tracked_at") is not None else enqueued
        return cls(
            body["device_id"], body["latitude"], body["longitude"], body.get("accuracy_m"), body.get("consent"),
            tracked, enqueued, int(event.partition_id),
        )  # fmt: skip

    def is_older_than(self, seconds: float) -> bool:
        return self.enqueued - self.tracked > timedelta(seconds=seconds)


@dataclass
class Expected:
    """What should have been decided, and how many pairs of ping and store there are, from how many pings."""

    verdicts: list[Verdict] = field(default_factory=list)
    pairs: int = 0
    pings: int = 0

    @property
    def offers(self) -> set[Sent]:
        return {
            Sent(one.device_id, one.store_id, one.promotion_id, one.tracked_at)
            for one in self.verdicts
            if one.reason is None and one.promotion_id is not None
        }


def expect(events: Iterable[HubEvent], world: World) -> Expected:
    """What those pings lead to. Every event must be a ping in canonical JSON; partitions and their events in order."""
    devices: dict[tuple[int, str], Device] = {}
    spent: Counter[tuple[int, str]] = Counter()
    expected = Expected()
    for ping in map(Ping.of, events):
        near = world.near(ping.latitude, ping.longitude)
        inside = sum(distance <= world.radius[store] for store, distance in near.items())
        expected.pairs += inside
        expected.pings += inside > 0
        expected.verdicts += _decide(ping, near, devices, spent, world)
    return expected


def _decide(ping: Ping, near: dict[int, float], devices: dict, spent: Counter, world: World) -> Iterator[Verdict]:
    inside = {store for store, distance in near.items() if distance <= world.radius[store]}
    is_sharp = ping.accuracy is None or ping.accuracy <= world.presence["max_accuracy_m"]
    device = devices.get((ping.partition, ping.device_id))
    if device is None:
        if not inside or ping.is_older_than(world.policy["max_ping_age_s"]):
            return
        if not is_sharp and not any(world.runs(store) for store in inside):
            return
        device = devices[ping.partition, ping.device_id] = Device(ping.tracked)
    if ping.tracked < device.newest:
        return
    device.newest = ping.tracked
    happened = [(s, t) for s in sorted(near.keys() | device.visits) for t in _moves(ping, s, near, device, world)]
    for store, transition in happened:
        if isinstance(transition, Left):
            times = transition.entered, transition.left
            yield _verdict(ping, store, "EXIT", None, "no_promotion", world, *times)
    yield from _considered(ping, [one for one in happened if one[1] in ("ENTER", "DWELL")], near, device, spent, world)
    for store in inside - device.visits.keys():
        last = device.blurred.get(store)
        if not is_sharp and world.runs(store) and (last is None or ping.tracked - last >= ONE_HOUR):
            device.blurred[store] = ping.tracked
            yield _verdict(ping, store, None, None, "low_accuracy", world)


def _moves(ping: Ping, store: int, near: dict[int, float], device: Device, world: World) -> Iterator["str | Left"]:
    """The transitions at one store; the device's visit there is changed."""
    presence, at = world.presence, ping.tracked
    is_sharp = ping.accuracy is None or ping.accuracy <= presence["max_accuracy_m"]
    is_in = is_sharp and store in near and near[store] <= world.radius[store]
    visit = device.visits.get(store)
    if visit is not None:
        distance = world.distance(store, ping.latitude, ping.longitude)
        is_away = distance - (ping.accuracy or 0) > world.reach(store)
        is_out = is_away or (is_sharp and not is_in)
        silent = at - visit.inside
        has_left = is_away and visit.away is not None and at > visit.away
        has_left = has_left and at - visit.away >= timedelta(seconds=presence["exit_delay_s"])
        is_lost = silent > timedelta(seconds=presence["visit_timeout_s"]) and (is_out or (is_in and visit.was_out))
        if has_left or is_lost or silent > REST:
            yield Left(visit.entered, visit.away if has_left else visit.inside)
            del device.visits[store]
            visit = None
        elif is_out:
            visit.was_out = True
            visit.away = (visit.away or at) if is_away else None
    if not is_in:
        return
    if visit is None:
        visit = device.visits[store] = Visit(at, at)
        yield "ENTER"
    visit.inside, visit.away, visit.was_out = at, None, False
    if not visit.dwelling and at - visit.entered >= world.loitering(store):
        visit.dwelling = True
        yield "DWELL"


def _considered(
    ping: Ping, happened: list[tuple[int, str]], near: dict, device: Device, spent: Counter, world: World
) -> Iterator[Verdict]:
    """All promotions at all transitions, refused, outranked, or the one that is sent."""
    rivals = []
    for store, transition in happened:
        if not world.runs(store):
            reason = _consent_reason(ping, world) or "no_promotion"
            yield _verdict(ping, store, transition, None, reason, world, device.visits[store].entered)
        for promotion in world.runs(store):
            reason = _refusal(ping, store, transition, promotion, device, world)
            if reason is not None:
                yield _verdict(ping, store, transition, promotion, reason, world, device.visits[store].entered)
                continue
            rank = -promotion.get("priority", 0), -promotion["discount_percent"], near[store]
            ids = promotion["promotion_id"], world.stores[store]["store_id"]
            rivals.append((*rank, *ids, store, transition, promotion))
    is_over = False
    for *_, store, transition, promotion in sorted(rivals, key=lambda rival: rival[:5]):
        reason: str | None = "outranked"
        if not is_over:
            reason = _held_out_or_spent(ping, promotion, spent, world)
            is_over = reason != "budget_spent"
        if reason in (None, "held_out"):
            device.contacts[store] = ping.tracked
            device.offered.append(ping.tracked)
        if reason is None:
            spent[ping.partition, promotion["promotion_id"]] += 1
        yield _verdict(ping, store, transition, promotion, reason, world, device.visits[store].entered)


def _consent_reason(ping: Ping, world: World) -> str | None:
    is_given = ping.consent is True if world.policy["require_consent"] else ping.consent is not False
    return None if is_given else "no_consent"


def _refusal(ping: Ping, store: int, transition: str, promotion: dict, device: Device, world: World) -> str | None:
    """The first check before the rank that fails."""
    at, zone = ping.tracked, world.zone(store)
    policy = world.policy | promotion.get("contact_policy", {})
    starts, ends, hours = promotion.get("starts_at"), promotion.get("ends_at"), promotion.get("hours")
    last = device.contacts.get(store)
    quiet = policy["quiet_hours"]
    if (reason := _consent_reason(ping, world)) is not None:
        return reason
    if (starts and at < datetime.fromisoformat(starts)) or (ends and at >= datetime.fromisoformat(ends)):
        return "not_running"
    if transition != promotion.get("trigger", "ENTER"):
        return "wrong_trigger"
    if hours and zone and not any(_is_on(window, at.astimezone(zone)) for window in hours):
        return "outside_hours"
    if ping.is_older_than(policy["max_ping_age_s"]):
        return "stale_ping"
    if last is not None and at - last < timedelta(seconds=policy["cooldown_s"]):
        return "cooldown"
    if policy["daily_cap"] is not None and zone and _today(at, device, zone) >= policy["daily_cap"]:
        return "daily_cap"
    if device.offered and at - device.offered[-1] < timedelta(seconds=policy["min_gap_s"]):
        return "too_soon"
    if quiet and zone and _is_on(quiet, at.astimezone(zone)):
        return "quiet_hours"
    needs_zone = hours or policy["daily_cap"] is not None or quiet
    return "unknown" if needs_zone and not zone else None


def _today(at: datetime, device: Device, zone: ZoneInfo) -> int:
    def day(then: datetime) -> date:
        return then.astimezone(zone).date()

    return sum(day(then) == day(at) for then in device.offered)


def _is_on(window: dict, local: datetime) -> bool:
    """Whether one of the days' windows is open: yesterday's may last until this morning."""
    for days_ago in (0, 1):
        begun = local.replace(tzinfo=None) - timedelta(days=days_ago)
        midnight = begun.replace(hour=0, minute=0, second=0, microsecond=0)
        start, end = (_clock(window[key]) for key in ("from", "to"))
        end += timedelta(days=1) if end < start else timedelta()
        is_day = DAYS[begun.weekday()] in (window.get("days") or DAYS)
        if is_day and midnight + start <= local.replace(tzinfo=None) < midnight + end:
            return True
    return False


def _clock(text: str) -> timedelta:
    hours, minutes = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def _held_out_or_spent(ping: Ping, promotion: dict, spent: Counter, world: World) -> str | None:
    promotion_id, percent = promotion["promotion_id"], promotion.get("holdout_percent", 0)
    if _hash("holdout", promotion_id, ping.device_id) < percent / 100 * 2**64:
        return "held_out"
    if promotion.get("max_offers") is not None:
        share = _shares(promotion_id, promotion["max_offers"], world.partitions)[ping.partition]
        if spent[ping.partition, promotion_id] >= share:
            return "budget_spent"
    return None


@cache
def _shares(promotion_id: str, max_offers: int, partitions: int) -> list[int]:
    shares = [max_offers // partitions] * partitions
    lucky = sorted(range(partitions), key=lambda partition: _hash("budget", promotion_id, str(partition)))
    for partition in lucky[: max_offers % partitions]:
        shares[partition] += 1
    return shares


def _hash(*parts: str) -> int:
    """64 bits of BLAKE2b over the parts in UTF-8, each after its length in four bytes."""
    texts = [part.encode() for part in parts]
    digest = blake2b(b"".join(len(text).to_bytes(4, "big") + text for text in texts), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def _verdict(
    ping: Ping,
    store: int,
    transition: str | None,
    promotion: dict | None,
    reason: str | None,
    world: World,
    entered: datetime | None = None,
    left: datetime | None = None,
) -> Verdict:
    promotion_id = None if promotion is None else promotion["promotion_id"]
    store_id = world.stores[store]["store_id"]
    return Verdict(ping.device_id, store_id, transition, promotion_id, reason, ping.tracked, entered, left)


def instant(value: str | float) -> datetime:
    """An instant as a ping or a decision says it: RFC 3339, or seconds or milliseconds since 1970."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
