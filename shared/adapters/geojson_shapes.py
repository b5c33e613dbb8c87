"""The geometries of stores.geojson: a point, or a polygon that is checked as RFC 7946 describes it."""

import re
from typing import Annotated

import msgspec
import numpy as np
import shapely
from msgspec import Meta
from shapely import LinearRing, MultiPolygon, Polygon

from shared.adapters.json_text import plain_words
from shared.adapters.store_rows import swap_hint

MAX_VERTICES = 10_000
"""Of all rings of a store together, the repeated ends of the rings not counted."""
LEAST_RING = 4
HALF_TURN = 180
QUARTER_TURN = 90
COORDINATES = ".coordinates"

type Position = list[float]

_Position = Annotated[list[float], Meta(min_length=2)]  # a third number is the altitude, which does not matter here
_POINT = msgspec.json.Decoder(_Position)
_POLYGON = msgspec.json.Decoder(list[list[_Position]])
_MULTI_POLYGON = msgspec.json.Decoder(list[list[list[_Position]]])


class ShapeFault(ValueError):
    """A geometry that is no geofence: `within` says where in it."""

    def __init__(self, problem: str, within: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.within = within


def read_point(coordinates: msgspec.Raw) -> tuple[float, float]:
    """The latitude and longitude of a Point. Raises ShapeFault."""
    position = _decoded(_POINT, coordinates)
    longitude, latitude = position[0], position[1]
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise _out_of_range(position, COORDINATES)
    return latitude, longitude


def read_polygon(coordinates: msgspec.Raw) -> Polygon:
    """A Polygon: its outer ring, then its holes. Raises ShapeFault with the first thing wrong in it."""
    return _valid(_polygon(_decoded(_POLYGON, coordinates), COORDINATES))


def read_multi_polygon(coordinates: msgspec.Raw) -> MultiPolygon:
    """A MultiPolygon: polygons that touch in points at most. Raises ShapeFault with the first thing wrong in it."""
    polygons = _decoded(_MULTI_POLYGON, coordinates)
    if not polygons:
        raise ShapeFault("has no polygon", COORDINATES)
    return _valid(MultiPolygon([_polygon(rings, f"{COORDINATES}[{number}]") for number, rings in enumerate(polygons)]))


def _decoded[T](decoder: msgspec.json.Decoder[T], coordinates: msgspec.Raw) -> T:
    try:
        return decoder.decode(coordinates)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        raise ShapeFault(plain_words(message), COORDINATES + place.rstrip("`")) from error
    except msgspec.DecodeError as error:
        raise ShapeFault(plain_words(str(error)), COORDINATES) from error


def _polygon(rings: list[list[Position]], within: str) -> Polygon:
    if not rings:
        raise ShapeFault("has no ring", within)
    outer, *holes = (_ring(positions, f"{within}[{number}]") for number, positions in enumerate(rings))
    return Polygon(outer, holes)


def _ring(positions: list[Position], within: str) -> LinearRing:
    if len(positions) < LEAST_RING:
        problem = f"has {len(positions)} positions; a ring has at least {LEAST_RING}, the first again as the last"
        raise ShapeFault(problem, within)
    longitude, latitude = np.array([position[:2] for position in positions]).T
    is_there = (np.abs(longitude) <= HALF_TURN) & (np.abs(latitude) <= QUARTER_TURN)
    for number in np.flatnonzero(~is_there)[:1].tolist():
        raise _out_of_range(positions[number], f"{within}[{number}]")
    if positions[0][:2] != positions[-1][:2]:
        raise ShapeFault(f"is not closed: it begins at {positions[0][:2]} and ends at {positions[-1][:2]}", within)
    for number in np.flatnonzero(np.abs(np.diff(longitude)) > HALF_TURN)[:1].tolist():
        problem = (
            f"goes from longitude {longitude[number]} to {longitude[number + 1]}: cut a polygon that crosses the "
            "antimeridian into a MultiPolygon with a part on each side (RFC 7946, section 3.1.9)"
        )
        raise ShapeFault(problem, f"{within}[{number + 1}]")
    ring: LinearRing = shapely.linearrings(longitude, latitude)
    return ring


def _out_of_range(position: Position, within: str) -> ShapeFault:
    problem = f"{position[:2]} is out of range; a position is [longitude, latitude], -180..180 and -90..90"
    return ShapeFault(problem + swap_hint(latitude=position[1], longitude=position[0]), within)


def _valid[Shape: (Polygon, MultiPolygon)](shape: Shape) -> Shape:
    rings = len(shapely.get_rings(shape))
    vertices = int(shapely.get_num_coordinates(shape)) - rings
    if vertices > MAX_VERTICES:
        raise ShapeFault(f"has {vertices:,} vertices; valid are at most {MAX_VERTICES:,}: simplify it")
    if not shape.is_valid:
        raise ShapeFault(_in_words(shapely.is_valid_reason(shape)))
    return shape


def _in_words(reason: str) -> str:
    """GEOS says for example `Self-intersection[-0.1 51.5]`."""
    found = re.fullmatch(r"(.*)\[(\S+) (\S+)\]", reason)
    if found is None:
        return reason
    kind, longitude, latitude = found.groups()
    what = "crosses or touches itself" if kind.endswith("elf-intersection") else f"is no valid polygon: {kind.lower()}"
    return f"{what} at [{longitude}, {latitude}]"
