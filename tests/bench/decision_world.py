"""The world of the decision's benchmark: stores all over the UK, and a crowd of devices of which a few go shopping."""

import csv
import gzip
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.local.host.event_hub_conversion import ReceivedEvent
from shared.domain.local_time import ALL_DAYS, DayWindow, WeeklyHours, Window
from shared.domain.promotions import ContactPolicy, PresenceParameters, Promotion, StoreSelector, Transition
from shared.domain.reference import ReferenceData
from shared.domain.stores import StoreTable

REAL_STORES = Path(__file__).parents[3] / "shared" / "data" / "fhrs_uk" / "fhrs_uk_2015.csv.gz"
STORES, RADIUS_M = 23_000, 100.0
DEVICES, BATCH = 10_240, 1_024
NEAR = 0.1
"""So many of the pings are near a store."""
PING_EVERY_S = 10
"""Every device, so a batch comes once a second."""
VISIT_S = 300.0
"""The mean stay at a store."""
START_US = 1_780_302_600_000_000
"""A Monday in June, 09:30 in London."""
CITIES = np.array([(51.507, -0.128), (52.486, -1.890), (53.480, -2.242), (53.800, -1.549), (55.864, -4.252)])
METRES_A_DEGREE = 111_200.0

type Floats = NDArray[np.float64]


def positions() -> tuple[Floats, Floats]:
    """Latitudes and longitudes of the stores: real food premises where the data is there, else spread over cities."""
    random = np.random.default_rng(1)
    if REAL_STORES.exists():
        with gzip.open(REAL_STORES, "rt", encoding="utf-8", newline="") as file:
            rows = [(float(row["latitude"]), float(row["longitude"])) for row in csv.DictReader(file)]
        chosen = np.array(rows)[random.choice(len(rows), STORES, replace=False)]
    else:
        spread = np.where(random.random((STORES, 1)) < 0.2, 0.8, 0.08)
        chosen = CITIES[random.integers(0, len(CITIES), STORES)] + random.normal(0, 1, (STORES, 2)) * spread * (1, 1.6)
    return np.ascontiguousarray(chosen[:, 0]), np.ascontiguousarray(chosen[:, 1])


def store_table() -> StoreTable:
    latitude, longitude = positions()
    rows = range(STORES)
    return StoreTable(
        store_id=tuple(str(100_000 + row) for row in rows),
        name=tuple(f"Shop {row}" for row in rows),
        merchant=tuple(("Costa", "Greggs", "Tesco", "Boots")[row % 4] for row in rows),
        service_type=("Food",) * STORES,
        location=tuple(f"Town {row % 500}" for row in rows),
        latitude=latitude,
        longitude=longitude,
        radius_m=np.full(STORES, RADIUS_M),
        loitering_delay_s=np.full(STORES, 180.0),
        time_zone=("Europe/London",) * STORES,
    )


def reference() -> ReferenceData:
    """All stores run a promotion, half of them a second that asks to stay, a quarter has one with all that there is."""
    opening = WeeklyHours((DayWindow(ALL_DAYS, Window(8 * 60, 22 * 60)),))
    stay, all_there_is = (StoreSelector(merchants=frozenset(names)) for names in (("Costa", "Tesco"), ("Greggs",)))
    promotions = (
        Promotion("everywhere", 5.0, "5 % for passing by"),
        Promotion("stay", 20.0, "Coffee?", stay, trigger=Transition.DWELL, hours=opening),
        Promotion("all", 30.0, "30 %!", all_there_is, hours=opening, priority=1, holdout_percent=10, max_offers=10**6),
        Promotion("over", 50.0, "Too late", ends_at_us=START_US - 1),
    )
    policy = ContactPolicy(quiet_hours=Window(22 * 60, 7 * 60))
    return ReferenceData("bench", store_table(), promotions, policy, PresenceParameters())


class Crowd:
    """Devices that send a ping every ten seconds. Some are shoppers, who walk from store to store; the others are
    nowhere near one. Two crowds of the same arguments send the same pings."""

    def __init__(self, data: ReferenceData, *, shoppers: float) -> None:
        self._random = np.random.default_rng(2)
        self._stores = data.stores
        self._away = self._places_away(data)
        self._ids = [str(uuid.UUID(bytes=self._random.bytes(16))) for _ in range(DEVICES)]
        self._shopper = np.sort(self._random.choice(DEVICES, round(DEVICES * shoppers), replace=False))
        self._inside_share = NEAR / shoppers
        self._favourites = self._random.integers(0, STORES, (len(self._shopper), 3))
        self._store = self._favourites[:, 0]
        self._inside = np.ones(len(self._shopper), np.bool_)
        self._next = 0
        self._at_us = START_US

    def warm_up(self) -> Iterator[list[ReceivedEvent]]:
        """Every shopper was at a store yesterday, and has walked for half an hour since."""
        day_us = 86_400 * 1_000_000
        self._at_us -= day_us
        yield from self._sweep(self._shopper)
        self._at_us += day_us - 1_800 * 1_000_000
        self._inside = self._random.random(len(self._shopper)) < self._inside_share
        for _ in range(30):
            self._walk(60.0)
            yield from self._sweep(self._shopper)
            self._at_us += 60 * 1_000_000

    def batches(self, count: int) -> list[list[ReceivedEvent]]:
        """The next batches of 1,024 events; ten of them have a ping of every device."""
        found: list[list[ReceivedEvent]] = []
        while len(found) < count:
            self._walk(PING_EVERY_S)
            found += self._sweep(np.arange(DEVICES))
        return found

    def _walk(self, seconds: float) -> None:
        chance, share = self._random.random(len(self._shopper)), self._inside_share
        leaves = self._inside & (chance < seconds / VISIT_S)
        comes = ~self._inside & (chance < seconds / VISIT_S * share / (1 - share))
        shop = self._random.integers(0, 3, len(self._shopper))
        self._store = np.where(comes, self._favourites[np.arange(len(shop)), shop], self._store)
        self._inside = (self._inside & ~leaves) | comes

    def _sweep(self, devices: NDArray[np.int64]) -> list[list[ReceivedEvent]]:
        """A ping of each of the devices, within ten seconds, in batches."""
        latitude, longitude = self._positions()
        gap_us = PING_EVERY_S * 1_000_000 // DEVICES
        events = []
        for device in devices.tolist():
            self._at_us += gap_us
            events.append(self._event(self._ids[device], latitude[device], longitude[device]))
        return [events[at : at + BATCH] for at in range(0, len(events), BATCH)]

    def _positions(self) -> tuple[list[float], list[float]]:
        place = self._away.copy()
        stores = self._store[self._inside]
        direction = self._random.uniform(0, 2 * np.pi, len(stores))
        distance = self._random.uniform(0, 0.7 * RADIUS_M, len(stores)) / METRES_A_DEGREE
        at = self._shopper[self._inside]
        place[at, 0] = self._stores.latitude[stores] + distance * np.cos(direction)
        squeeze = np.cos(np.radians(place[at, 0]))
        place[at, 1] = self._stores.longitude[stores] + distance * np.sin(direction) / squeeze
        return place[:, 0].tolist(), place[:, 1].tolist()

    def _event(self, device_id: str, latitude: float, longitude: float) -> ReceivedEvent:
        tracked_at = np.datetime64(self._at_us // 1_000_000 - 1, "s")
        body = (
            f'{{"device_id":"{device_id}","latitude":{latitude:.6f},'
            f'"longitude":{longitude:.6f},"tracked_at":"{tracked_at}Z"}}'
        )
        number, self._next = self._next, self._next + 1
        return ReceivedEvent(body.encode(), number, str(number * 264), self._at_us // 1_000, device_id, {}, {})

    def _places_away(self, data: ReferenceData) -> Floats:
        """A place for each device where no store is near, most in the same towns."""
        stores = self._random.integers(0, STORES, 3 * DEVICES)
        place = np.column_stack([data.stores.latitude[stores], data.stores.longitude[stores]])
        place += self._random.normal(0, 0.02, place.shape)
        near = np.zeros(len(place), np.bool_)
        near[data.index.match(place[:, 0].copy(), place[:, 1].copy()).ping] = True
        return place[~near][:DEVICES]
