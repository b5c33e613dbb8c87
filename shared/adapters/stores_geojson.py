"""stores.geojson: its bytes become a StoreTable, or a list of all that is wrong in it, by line and feature.

A FeatureCollection (RFC 7946), a Feature a store. A circle is a Point with `radius` in metres and `subType` "Circle",
as Azure Maps extends GeoJSON; a Polygon or a MultiPolygon is the geofence itself. Members that are not known here are
left alone, as the RFC asks.
"""

import codecs
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from msgspec import Raw, Struct
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from shared.adapters.geojson_shapes import ShapeFault, read_multi_polygon, read_point, read_polygon
from shared.adapters.json_text import parse_json, plain_words, shown
from shared.adapters.store_rows import (
    DEFAULT_LOITERING_DELAY_S,
    FILE,
    LOITERING_RANGE_S,
    RADIUS_RANGE_M,
    Geofences,
    StoreRows,
    StoresFile,
    out_of_range,
)
from shared.domain.polygons import position_of, reaches_m

REACH_RANGE_M = (10.0, 20_000.0)
"""How far a polygon may reach from its position."""
TEXTS = ("store_id", "name", "merchant", "service_type", "location")
GEOMETRIES = "Point (a circle), Polygon and MultiPolygon"
_ID_HINT = "; give it as a property, or as the id of the feature"
FIELDS = ("geometry", *TEXTS, "subType", "radius", "loitering_delay_s", "time_zone")


class _Properties(Struct, gc=False):
    store_id: Any = None
    name: Any = None
    merchant: Any = None
    service_type: Any = None
    location: Any = None
    subType: Any = None
    radius: Any = None
    radius_m: Any = None
    loitering_delay_s: Any = None
    time_zone: Any = None


class _Geometry(Struct, gc=False):
    type: Any = None
    coordinates: Raw = Raw(b"null")


class _Feature(Struct, gc=False):
    type: Any = None
    id: Any = None
    geometry: _Geometry | None = None
    properties: _Properties | None = None


class _Collection(Struct, gc=False):
    type: Any = None
    features: list[Raw] | None = None


_COLLECTION = msgspec.json.Decoder(_Collection)
_FEATURE = msgspec.json.Decoder(_Feature)
_NO_PROPERTIES = _Properties()


def read_geojson_stores(data: bytes) -> StoresFile:
    """Read stores.geojson. Never raises for any bytes."""
    reading = _Reading(data)
    reading.read()
    return reading.finish()


class _Reading:
    """The features read so far, a row for each that is an object, and the faults found."""

    def __init__(self, data: bytes) -> None:
        self._data = data.removeprefix(codecs.BOM_UTF8)
        self._features: list[Raw] = []
        self._rows = StoreRows("in feature", FIELDS, "geometry", self._describe)
        self._ids: list[Any] = []
        self._properties: list[_Properties] = []
        self._latitude: list[float] = []
        self._longitude: list[float] = []
        self._shapes: dict[int, Polygon | MultiPolygon | None] = {}
        """By row; None for a geometry with a fault, circles are not here."""

    def read(self) -> None:
        """Split the file into features, and read one after the other: only one has its coordinates as lists."""
        try:
            self._data.decode()
            collection = _COLLECTION.decode(self._data)
        except UnicodeDecodeError as error:
            line = self._data.count(b"\n", 0, error.start) + 1
            self._rows.fault(FILE, None, f"line {line}: byte {error.start} is not UTF-8")
            return
        except (msgspec.DecodeError, RecursionError) as error:
            self._rows.fault(FILE, None, _why_no_json(self._data, error))
            return
        if collection.type != "FeatureCollection":
            self._rows.fault(FILE, None, f"its type is {collection.type!r}; it must be 'FeatureCollection'")
        if not collection.features:
            self._rows.fault(FILE, None, "there is no store in the file: it has no features")
        self._features = collection.features or []
        for place, feature in enumerate(self._features, start=1):
            self._read_feature(place, feature)

    def _read_feature(self, place: int, raw: Raw) -> None:
        try:
            feature = _FEATURE.decode(raw)
        except (msgspec.DecodeError, RecursionError) as error:
            self._rows.fault(place, None, _why_no_json(bytes(raw), error))
            return
        if feature.type != "Feature":
            self._rows.fault(place, None, f"its type is {feature.type!r}; it must be 'Feature'")
        properties = feature.properties or _NO_PROPERTIES
        self._rows.places.append(place)
        self._properties.append(properties)
        self._ids.append(feature.id if properties.store_id is None else properties.store_id)
        latitude, longitude = self._read_geometry(place, feature.geometry)
        self._latitude.append(latitude)
        self._longitude.append(longitude)

    def _read_geometry(self, place: int, geometry: _Geometry | None) -> tuple[float, float]:
        """The position that stands for the geometry, NaN for one with a fault."""
        row = len(self._latitude)
        try:
            if geometry is None:
                raise ShapeFault(f"is missing; valid are {GEOMETRIES}")
            if geometry.type == "Point":
                return read_point(geometry.coordinates)
            if geometry.type == "Polygon":
                shape: Polygon | MultiPolygon = read_polygon(geometry.coordinates)
            elif geometry.type == "MultiPolygon":
                shape = read_multi_polygon(geometry.coordinates)
            else:
                raise ShapeFault(f"its type is {geometry.type!r}; valid are {GEOMETRIES}")
        except ShapeFault as fault:
            self._rows.fault(place, "geometry", fault.problem, within=fault.within)
            self._shapes[row] = None
            return np.nan, np.nan
        self._shapes[row] = shape
        return position_of(shape)

    def finish(self) -> StoresFile:
        """Check what was read column by column; the table when all is well."""
        rows = self._rows
        properties = self._properties
        rows.columns = {
            "store_id": self._texts("store_id", self._ids),
            "name": self._texts("name", [one.name for one in properties]),
            "merchant": self._texts("merchant", [one.merchant for one in properties]),
            "service_type": self._texts("service_type", [one.service_type for one in properties]),
            "location": self._texts("location", [one.location for one in properties]),
            "time_zone": self._texts("time_zone", [one.time_zone for one in properties], default=""),
        }
        rows.check_ids()
        rows.check_time_zones()
        latitude, longitude = np.array(self._latitude), np.array(self._longitude)
        rows.check_positions(latitude, longitude)
        geofences = Geofences(
            latitude,
            longitude,
            self._radii(latitude, longitude),
            self._numbers("loitering_delay_s", range(len(properties)), LOITERING_RANGE_S, DEFAULT_LOITERING_DELAY_S),
            {row: shape for row, shape in self._shapes.items() if shape is not None},
        )
        faults = rows.faults()
        return StoresFile(None if faults else rows.table(geofences), rows.columns, faults)

    def _radii(self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.float64]:
        """The radius of each circle, and how far each polygon reaches from its position."""
        circles = [row for row in range(len(latitude)) if row not in self._shapes]
        self._check_subtypes(circles)
        radius = self._numbers("radius", circles, RADIUS_RANGE_M, None)
        shapes = {row: shape for row, shape in self._shapes.items() if shape is not None}
        if shapes:
            rows = np.fromiter(shapes, np.int64, len(shapes))
            polygons = np.fromiter(shapes.values(), np.object_, len(shapes))
            radius[rows] = reaches_m(polygons, latitude[rows], longitude[rows])
            low, high = REACH_RANGE_M
            for row in rows[(radius[rows] < low) | (radius[rows] > high)].tolist():
                problem = f"reaches {radius[row]:,.1f} m from its middle; valid are {low:g} to {high:,.0f} m"
                self._rows.fault_at(row, "geometry", problem)
        return radius

    def _check_subtypes(self, circles: Sequence[int]) -> None:
        for row in circles:
            found = self._properties[row].subType
            if found is not None and found != "Circle":
                self._rows.fault_at(row, "subType", f"{found!r} is refused: a Point is a 'Circle'")

    def _texts(self, name: str, values: Sequence[Any], *, default: str | None = None) -> list[str]:
        """The values as texts without spaces around them; a fault, and "", for each that is none."""
        texts: list[str] = []
        for row, value in enumerate(values):
            if type(value) is str:
                texts.append(value.strip())
                continue
            text = default if value is None else None
            if name == "store_id" and type(value) is int:
                text = str(value)  # RFC 7946 allows numbers as ids
            if text is None:
                hint = _ID_HINT if name == "store_id" else ""
                self._rows.fault_at(row, name, f"is missing{hint}" if value is None else f"{shown(value)} is no text")
            texts.append(text or "")
        return texts

    def _numbers(
        self, name: str, rows: Sequence[int], valid: tuple[float, float], default: float | None
    ) -> NDArray[np.float64]:
        """One number a store, NaN except in *rows*; a fault for each there that is no number in the valid range."""
        numbers = np.full(len(self._properties), np.nan)
        low, high = valid
        for row in rows:
            value = getattr(self._properties[row], name)
            if value is None and default is not None:
                numbers[row] = default
            elif value is None:
                hint = "" if self._properties[row].radius_m is None else "; radius_m is its name in stores.csv only"
                self._rows.fault_at(row, name, f"is missing: a Point needs its radius in metres{hint}")
            elif type(value) not in (int, float):
                self._rows.fault_at(row, name, f"{shown(value)} is no number")
            elif not low <= value <= high:
                self._rows.fault_at(row, name, out_of_range(value, valid))
            else:
                numbers[row] = value
        return numbers

    def _describe(self, place: int) -> str:
        """The line on which a feature begins, its number, and its id if it has one."""
        if place == FILE:
            return "stores.geojson"
        line = int(np.searchsorted(self._newlines, _address(self._features[place - 1]) - _address(self._data))) + 1
        store_id = self._ids_by_place.get(place)
        return f"stores.geojson line {line}, feature {place}" + (f" ({store_id})" if store_id else "")

    @cached_property
    def _newlines(self) -> NDArray[np.int64]:
        """Where the lines end."""
        return np.flatnonzero(np.frombuffer(self._data, np.uint8) == ord("\n"))

    @cached_property
    def _ids_by_place(self) -> dict[int, str]:
        return dict(zip(self._rows.places, self._rows.columns["store_id"], strict=True))


def _why_no_json(data: bytes, error: Exception) -> str:
    """What the slower reader says, which knows line and column; what only the fast one minds, in its words."""
    if not isinstance(error, msgspec.ValidationError):
        try:
            parse_json(data)
        except ValueError as found:
            return str(found)
    message, _, place = str(error).partition(" - at `$.")
    message = plain_words(message)
    return f"{place.rstrip('`')}: {message}" if place else message


def _address(data: bytes | Raw) -> int:
    """Where in memory the bytes begin: a Raw is a window into the bytes that it was read from."""
    address: int = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    return address
