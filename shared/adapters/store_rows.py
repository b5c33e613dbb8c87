"""What stores.csv and stores.geojson share: rows of texts and numbers become a StoreTable, or faults by place."""

import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from shared.adapters.swapped_positions import all_are_swapped, swapped_rows, zone_at
from shared.domain.stores import StoreTable

MAX_ID_LENGTH = 128
RADIUS_RANGE_M = (10.0, 10_000.0)
LOITERING_RANGE_S = (0.0, 86_400.0)
DEFAULT_LOITERING_DELAY_S = 180.0
FILE = 0
"""The place of a fault of the file as a whole."""
NO_PLACES = frozenset({"Factory", "localtime"})
"""In the database of zones for machines: neither says what time it is anywhere."""


@dataclass(slots=True)
class StoresFile:
    """What was read: the table (None when there is a fault), the raw columns, and every fault in the file's order."""

    table: StoreTable | None
    columns: Mapping[str, Sequence[str]]
    faults: list[str]


@dataclass(frozen=True, slots=True)
class Geofences:
    """The numbers of each row; NaN where the file had none that is valid."""

    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    radius_m: NDArray[np.float64]
    loitering_delay_s: NDArray[np.float64]
    polygons: Mapping[int, Polygon | MultiPolygon] = field(default_factory=dict)


@dataclass(slots=True)
class StoreRows:
    """The texts of a file by column, the place (line or feature, from 1) of each row, and the faults found so far."""

    at: str
    """How one says that something is at a place: "on line", or "in feature"."""
    fields: Sequence[str]
    """The fields in the order in which the faults of a row are listed."""
    position: str
    """The field that holds the position, or its first half."""
    describe: Callable[[int], str]
    """A place in words, with the name of the file."""
    places: list[int] = field(default_factory=list)
    columns: dict[str, Sequence[str]] = field(default_factory=dict)
    found: list[tuple[int, int, str, str]] = field(default_factory=list)

    def fault(self, place: int, field_name: str | None, problem: str, *, within: str = "") -> None:
        """Note a fault; *within* says where in the field."""
        order = -1 if field_name is None else self.fields.index(field_name)
        self.found.append((place, order, "" if field_name is None else f", {field_name}{within}", problem))

    def fault_at(self, row: int, field_name: str, problem: str) -> None:
        self.fault(self.places[row], field_name, problem)

    def faults(self) -> list[str]:
        """By place, then in the order of the fields."""
        ordered = sorted(self.found, key=lambda item: item[:2])
        return [f"{self.describe(place)}{what}: {problem}" for place, _, what, problem in ordered]

    def check_ids(self) -> None:
        """Every id is there, not too long, and once in the file."""
        first: dict[str, int] = {}
        order = self.fields.index("store_id")
        refused = {place for place, at, _, _ in self.found if at == order}
        for row, store_id in enumerate(self.columns.get("store_id", ())):
            if self.places[row] in refused:
                continue
            if not 0 < len(store_id) <= MAX_ID_LENGTH:
                problem = f"has {len(store_id)} characters; valid are 1 to {MAX_ID_LENGTH}"
                self.fault_at(row, "store_id", problem)
            elif first.setdefault(store_id, row) != row:
                self.fault_at(row, "store_id", f"{store_id!r} is also {self.at} {self.places[first[store_id]]}")

    def check_time_zones(self) -> None:
        """Every zone that is given is in the IANA database."""
        names = self.columns.get("time_zone", ())
        unknown = set(names) - {""}
        if unknown:
            unknown -= zoneinfo.available_timezones() - NO_PLACES
        for row, name in enumerate(names) if unknown else ():
            if name in unknown:
                self.fault_at(row, "time_zone", f"{name!r} is no IANA time zone, such as Europe/London")

    def check_positions(self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> None:
        """No position was never set, and none has its latitude and longitude swapped, as far as one can tell."""
        for row in np.flatnonzero((latitude == 0) & (longitude == 0)).tolist():
            self.fault_at(row, self.position, "latitude 0 and longitude 0 is a position that was never set")
        given = self._given_zones()
        if all_are_swapped(latitude, longitude, given):
            problem = (
                "latitude and longitude swapped? Most stores lie at sea, and the other way round on land; "
                "if they are right, give each its time_zone"
            )
            self.fault(FILE, None, problem)
            return
        for row in swapped_rows(latitude, longitude, given):
            north, east = latitude[row], longitude[row]
            problem = (
                f"latitude and longitude swapped? {north}, {east} is far from most stores, and {east}, {north} is near "
                f"them; if it is right, set its time_zone to {zone_at(north, east)}"
            )
            self.fault_at(row, self.position, problem)

    def table(self, geofences: Geofences) -> StoreTable:
        """The stores; for columns without a fault."""
        return StoreTable(
            store_id=tuple(self.columns["store_id"]),
            name=_shared(self.columns["name"]),
            merchant=_shared(self.columns["merchant"]),
            service_type=_shared(self.columns["service_type"]),
            location=_shared(self.columns["location"]),
            latitude=geofences.latitude,
            longitude=geofences.longitude,
            radius_m=geofences.radius_m,
            loitering_delay_s=geofences.loitering_delay_s,
            time_zone=self._zones(geofences.latitude, geofences.longitude),
            polygons=geofences.polygons,
        )

    def _zones(self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> tuple[str, ...]:
        """The zone that the file gives, else the one at the position."""
        places = zip(self._given_zones(), latitude.tolist(), longitude.tolist(), strict=True)
        return _shared([name or zone_at(north, east) for name, north, east in places])

    def _given_zones(self) -> Sequence[str]:
        return self.columns.get("time_zone") or [""] * len(self.places)


def out_of_range(value: object, valid: tuple[float, float]) -> str:
    """The fault of a number outside of its range."""
    low, high = valid
    return f"{value} is out of range {low:g}..{high:g}"


def swap_hint(latitude: float, longitude: float) -> str:
    """A latitude that cannot be, beside a longitude that could be one, was probably written in the other's place."""
    return " (latitude and longitude swapped?)" if abs(longitude) <= 90 < abs(latitude) <= 180 else ""


def _shared(texts: Sequence[str]) -> tuple[str, ...]:
    """The same texts, equal ones as one object: a merchant's name is kept once, not once a store."""
    known: dict[str, str] = {}
    return tuple(known.setdefault(text, text) for text in texts)
