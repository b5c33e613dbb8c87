"""Exact proximity: which stores' geofences a position lies in, by WGS-84 geodesic distance or by shapely.

A raster of the Earth lists, for every cell, the stores whose geofence touches it, so a ping looks up one cell, also
next to a cell's edge, at the antimeridian and at the poles. Of the stores listed there, the chord through the Earth
rules out the far ones (it is never longer than the geodesic), `geodesic.arc_m` gives the distance of the others, and
the few that lie within its error bound of a threshold are decided by geopy. So every decision about a circle is
geopy's, at the cost of arithmetic on columns. A polygon is listed as the circle that holds it; of the pings in there,
`polygons.PolygonTable` says which are in the polygon, or how far from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from shared.domain.geodesic import (
    ERROR_BOUND_M,
    ERROR_BOUND_REACH_M,
    LEAST_RADIUS_OF_CURVATURE_M,
    EarthPoint,
    arc_m,
    earth_point,
    earth_points,
    error_bound_m,
    geodesic_m,
    one_arc_m,
    squared_chord,
)
from shared.domain.polygons import PolygonTable
from shared.domain.ragged import blocks, runs

__all__ = ["GeofenceIndex", "Pairs", "geodesic_m"]

ENTRIES_A_STORE = 4.0
"""How many cells list a store on average: more make the cells smaller, the answers quicker and the index larger."""
LEAST_CELL_DEG = 0.001
"""About 110 m: bounds the number of rows (180,000), whatever the radii."""
LARGEST_CELL_DEG = 10.0
PADDING_DEG = 1e-9
"""0.1 mm, a thousand times the rounding of the raster's arithmetic: no ping falls into a cell that was not listed."""
PADDING_M = 1e-3

NO_POLYGONS: Mapping[int, Polygon | MultiPolygon] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pings and the stores near them, one row a pair, ordered by ping, then by store row."""

    ping: NDArray[np.int64]
    """Row of the ping in the arrays that were looked up."""
    store: NDArray[np.int64]
    """Row of the store in the store table."""
    distance_m: NDArray[np.float64]
    inside: NDArray[np.bool_]
    """Within the radius; otherwise within the radius and the margin."""


class GeofenceIndex:
    """The geofences of a store table, ready to be looked up by position; immutable, so safe to share.

    The columns are float64, one row a store: degrees WGS-84 (latitude -90 to 90, longitude -180 to 180), `radius_m`
    positive, radius and `margin_m` together at most 100 km; the table may be empty. A row with a polygon has that as
    its geofence: valid, in degrees (longitude, latitude), edges straight in them; the position may be any, but
    `radius_m` reaches from there to the farthest edge, as `polygons.reach_m` says. Raises ValueError for anything
    else, with the row and what would be valid.
    """

    def __init__(
        self,
        latitude: NDArray[np.float64],
        longitude: NDArray[np.float64],
        radius_m: NDArray[np.float64],
        polygons: Mapping[int, Polygon | MultiPolygon] = NO_POLYGONS,
        *,
        margin_m: float,
    ) -> None:
        _require_geofences(latitude, longitude, radius_m, margin_m)
        self._latitude, self._longitude, self._radius_m = latitude, longitude, radius_m
        self._margin_m = margin_m
        self._reach_m = radius_m + margin_m
        self._polygons = _Polygons(latitude, longitude, radius_m, polygons) if polygons else None
        if self._polygons is not None:
            self._reach_m[self._polygons.stores] += 2 * PADDING_M  # for the rounding that their radii may have
        # The raster lies on a sphere with the ellipsoid's latitudes and longitudes. A step on the ellipsoid is at
        # least as long as the same step on such a sphere of the ellipsoid's least radius of curvature, so this disc
        # covers the geofence.
        angle = (self._reach_m + PADDING_M) / LEAST_RADIUS_OF_CURVATURE_M
        self._cells = _Cells(_cell_size_deg(angle))
        # A store's place is where the columns that candidates need have it: by cell, so that neighbours share a cache
        # line.
        self._row_of_place = np.argsort(self._cells.number(latitude, longitude), kind="stable")
        self._place_of_row = np.argsort(self._row_of_place)
        self._listing = _Listing(*self._cells.touched_by(latitude, longitude, angle), self._place_of_row)
        self._places = earth_points(latitude[self._row_of_place], longitude[self._row_of_place])
        self._largest_squared_chord = (self._reach_m[self._row_of_place] + ERROR_BOUND_M) ** 2

    def match(self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> Pairs:
        """All pairs of a ping and a store whose geofence it is in, or from which it is at most the margin away.

        For circles both decisions (distance at most the radius, at most radius + margin) equal those of
        `geodesic_m(ping, store)`, without exception. For polygons `inside` is what shapely's `covers` says (the edge
        is inside, a hole is not), and the margin is measured to the edge: too long by at most 2 mm for margins up to
        10 km and 1 cm up to 100 km, at any latitude. For both, `distance_m` is the distance to the store's position,
        within 1e-6 m of geopy's.

        The positions are float64 columns in degrees WGS-84 within range and not NaN, which `decode_pings` guarantees.
        """
        start, count = self._listing.look_up(self._cells.number(latitude, longitude))
        found = [
            self._match_block(latitude[rows], longitude[rows], start[rows], count[rows], rows.start)
            for rows in blocks(count)
        ]
        if len(found) == 1:
            return found[0]
        columns = zip(*((b.ping, b.store, b.distance_m, b.inside) for b in found), strict=True)
        return Pairs(*(np.concatenate(column) for column in columns))

    def is_inside(self, store: int, latitude: float, longitude: float) -> bool:
        """Whether a position lies in the geofence of the store of that row: as `match` says, for one pair."""
        if self._polygons is not None and store in self._polygons:
            return self._polygons.covers(store, latitude, longitude)
        radius_m = float(self._radius_m[store])
        distance_m = self._arc_m(store, latitude, longitude)
        if abs(distance_m - radius_m) <= error_bound_m(distance_m):
            distance_m = self._geodesic_m(store, latitude, longitude)
        return distance_m <= radius_m

    def is_beyond(self, store: int, latitude: float, longitude: float, *, by_m: float) -> bool:
        """Whether a position lies farther than `by_m` outside the geofence and its margin.

        That is distance - by_m > radius + margin for a circle, by geopy's distance without exception; for a polygon
        distance - by_m > margin, by the distance to its edge with the error that `match` states.
        """
        reach_m = float(self._reach_m[store])
        distance_m = self._arc_m(store, latitude, longitude)
        if self._polygons is not None and store in self._polygons:
            if distance_m - error_bound_m(distance_m) - by_m > reach_m:
                return True  # beyond the circle that holds the polygon
            return self._polygons.distance_m(store, latitude, longitude, self._margin_m + by_m) - by_m > self._margin_m
        if abs(distance_m - by_m - reach_m) <= error_bound_m(distance_m):
            distance_m = self._geodesic_m(store, latitude, longitude)
        return distance_m - by_m > reach_m

    def _arc_m(self, store: int, latitude: float, longitude: float) -> float:
        place, places = self._place_of_row[store], self._places
        there = EarthPoint(*(float(column[place]) for column in places))
        return one_arc_m(earth_point(latitude, longitude), there)

    def _geodesic_m(self, store: int, latitude: float, longitude: float) -> float:
        return geodesic_m(latitude, longitude, float(self._latitude[store]), float(self._longitude[store]))

    def _match_block(
        self,
        latitude: NDArray[np.float64],
        longitude: NDArray[np.float64],
        start: NDArray[np.int64],
        count: NDArray[np.int64],
        first_ping: int,
    ) -> Pairs:
        positions = earth_points(latitude, longitude)
        ping, offset = runs(count)
        place = self._listing.place[start[ping] + offset]
        squared = squared_chord(positions, ping, self._places, place)
        near = np.flatnonzero(squared <= self._largest_squared_chord[place])
        ping, place = ping[near], place[near]
        distance = arc_m(squared[near], positions, ping, self._places, place)
        store = self._row_of_place[place]
        self._settle(distance, latitude, longitude, ping, store)
        kept = distance <= self._reach_m[store]
        ping, store, distance = ping[kept], store[kept], distance[kept]
        inside = distance <= self._radius_m[store]
        if self._polygons is not None:
            kept = self._polygons.settle(inside, latitude[ping], longitude[ping], store, self._margin_m)
            ping, store, distance, inside = ping[kept], store[kept], distance[kept], inside[kept]
        return Pairs(ping + first_ping, store, distance, inside)

    def _settle(
        self,
        distance_m: NDArray[np.float64],
        latitude: NDArray[np.float64],
        longitude: NDArray[np.float64],
        ping: NDArray[np.int64],
        store: NDArray[np.int64],
    ) -> None:
        """Put geopy's distance where the formula's error could decide about the radius or about radius + margin."""
        undecided = np.abs(distance_m - self._radius_m[store]) <= ERROR_BOUND_M
        undecided |= np.abs(distance_m - self._reach_m[store]) <= ERROR_BOUND_M
        for pair in np.flatnonzero(undecided):  # about one pair in ten million of real ones
            i, j = ping[pair], store[pair]
            distance_m[pair] = geodesic_m(latitude[i], longitude[i], self._latitude[j], self._longitude[j])


class _Polygons:
    """The stores whose geofences are polygons."""

    def __init__(
        self,
        latitude: NDArray[np.float64],
        longitude: NDArray[np.float64],
        radius_m: NDArray[np.float64],
        polygons: Mapping[int, Polygon | MultiPolygon],
    ) -> None:
        shapes = _require_polygons(polygons, len(latitude))
        self.stores = np.array(sorted(polygons), dtype=np.int64)
        """Their rows, ascending; row i of the shapes is that of store `stores[i]`."""
        self._row = {store: row for row, store in enumerate(self.stores.tolist())}
        self._row_of_store = np.full(len(latitude), -1)
        self._row_of_store[self.stores] = np.arange(len(self.stores))
        self._table = PolygonTable(shapes, latitude[self.stores], longitude[self.stores])
        for row in np.flatnonzero(self._table.reach_m > radius_m[self.stores] + PADDING_M)[:1]:
            store, reach_m = self.stores[row], self._table.reach_m[row]
            raise ValueError(f"store row {store}: radius_m is {radius_m[store]}; its polygon reaches {reach_m:.3f} m")

    def __contains__(self, store: int) -> bool:
        return store in self._row

    def settle(
        self,
        inside: NDArray[np.bool_],
        latitude: NDArray[np.float64],
        longitude: NDArray[np.float64],
        store: NDArray[np.int64],
        margin_m: float,
    ) -> NDArray[np.bool_]:
        """Put the truth about polygons into `inside`, a pair a row; return which pairs are near."""
        row = self._row_of_store[store]
        pair = np.flatnonzero(row >= 0)
        row, latitude, longitude = row[pair], latitude[pair], longitude[pair]
        covered = self._table.covers(row, latitude, longitude)
        inside[pair] = covered
        out = np.flatnonzero(~covered)
        distance_m = self._table.distance_m(row[out], latitude[out], longitude[out], limit_m=margin_m)
        near = np.ones(len(store), np.bool_)
        near[pair[out]] = distance_m <= margin_m
        return near

    def covers(self, store: int, latitude: float, longitude: float) -> bool:
        """Whether the polygon of one store covers a position."""
        return bool(self._table.covers(*self._columns(store, latitude, longitude))[0])

    def distance_m(self, store: int, latitude: float, longitude: float, limit_m: float) -> float:
        """The distance of a position to the polygon of one store, 0 within; if above the limit, any above it."""
        columns = self._columns(store, latitude, longitude)
        if self._table.covers(*columns)[0]:
            return 0.0
        return float(self._table.distance_m(*columns, limit_m=limit_m)[0])

    def _columns(
        self, store: int, latitude: float, longitude: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        return np.array([self._row[store]]), np.array([latitude]), np.array([longitude])


class _Cells:
    """A raster of the whole Earth: rows of equal height, cut into columns so that cells are about square."""

    def __init__(self, size_deg: float) -> None:
        self._size_deg = size_deg
        self._rows = int(np.ceil(180 / size_deg))
        south = -90 + np.arange(self._rows) * size_deg
        north = np.minimum(south + size_deg, 90)
        widest = np.where((south <= 0) & (north >= 0), 0, np.minimum(np.abs(south), np.abs(north)))
        self._columns = np.maximum(1, np.ceil(360 * np.cos(np.radians(widest)) / size_deg)).astype(np.int64)
        self._columns_a_degree = self._columns / 360
        self._first = np.cumsum(self._columns) - self._columns

    def number(self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.int64]:
        """The number of the cell that each position lies in."""
        row = self._row(latitude)
        column = ((longitude + 180) * self._columns_a_degree[row]).astype(np.int64)
        column[column == self._columns[row]] = 0  # longitude 180 is -180
        return self._first[row] + column

    def touched_by(
        self, latitude: NDArray[np.float64], longitude: NDArray[np.float64], angle: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Every pair of a cell's number and a disc that may touch it; the discs' radii are angles, in radians."""
        reach = np.degrees(angle) + PADDING_DEG
        lowest = self._row(np.maximum(latitude - reach, -90))
        highest = self._row(np.minimum(latitude + reach, 90))
        disc, offset = runs(highest - lowest + 1)
        row = lowest[disc] + offset
        half_width = self._half_width_deg(row, latitude[disc], angle[disc])
        columns, scale = self._columns[row], self._columns_a_degree[row]
        west = np.floor((longitude[disc] + 180 - half_width) * scale).astype(np.int64)
        east = np.floor((longitude[disc] + 180 + half_width) * scale).astype(np.int64)
        count = np.where(half_width >= 90, columns, np.minimum(east - west + 1, columns))
        band, offset = runs(count)
        return self._first[row][band] + (west[band] + offset) % columns[band], disc[band]

    def _row(self, latitude: NDArray[np.float64]) -> NDArray[np.int64]:
        row = ((latitude + 90) / self._size_deg).astype(np.int64)
        return np.minimum(row, self._rows - 1)

    def _half_width_deg(
        self, row: NDArray[np.int64], latitude: NDArray[np.float64], angle: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Half of the longitudes that a disc covers within a row, at the latitude where it covers most."""
        # All from the nearer pole: there an angle keeps its digits, where the sine of a latitude of 89.9999999 lost
        # them.
        centre = np.radians(90 - np.abs(latitude))
        row_deg = np.where(latitude < 0, row * self._size_deg, 180 - (row + 1) * self._size_deg)
        nearest = np.radians(np.maximum(row_deg - PADDING_DEG, 0))
        farthest = np.radians(row_deg + self._size_deg + PADDING_DEG)
        # A meridian touches the disc where cos(widest) = cos(centre) / cos(angle); one with the pole in it is widest
        # there.
        tangent_2 = np.tan((centre + angle) / 2) * np.tan((centre - angle) / 2)
        widest = np.clip(2 * np.arctan(np.sqrt(np.maximum(tangent_2, 0))), nearest, farthest)
        haversine = np.sin((angle + widest - centre) / 2) * np.sin((angle - widest + centre) / 2)
        haversine /= np.maximum(np.sin(centre) * np.sin(widest), np.finfo(np.float64).tiny)
        half_width = np.degrees(2 * np.arcsin(np.sqrt(np.clip(haversine, 0, 1))))
        return np.where(widest == 0, 180, half_width) + PADDING_DEG  # a pole has all longitudes


class _Listing:
    """The places of the stores listed under each cell, in the order of the stores' rows.

    Cells are found by a hash of their number, and never compared: stores of two cells that share a hash are listed
    together, and the chord rules out the strangers. So a look-up is two reads, and its cost does not grow with the
    table.
    """

    def __init__(self, cell: NDArray[np.int64], store: NDArray[np.int64], place_of_row: NDArray[np.int64]) -> None:
        bits = max(1, len(cell)).bit_length()
        self._shift = np.uint64(64 - bits)
        # Sorting one number a pair orders each bucket's stores, and shows those listed twice by cells of one hash.
        stores = max(len(place_of_row), 1)
        pair = np.sort(self._bucket(cell) * stores + store)
        pair = pair[np.flatnonzero(np.diff(pair, prepend=-1))]
        bucket, row = np.divmod(pair, stores)
        self.place = place_of_row[row].astype(np.int32)
        self._start = np.zeros((1 << bits) + 1, np.int32)
        np.cumsum(np.bincount(bucket, minlength=1 << bits), out=self._start[1:])

    def look_up(self, cell: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the stores of each cell begin in `place`, and how many they are."""
        bucket = self._bucket(cell)
        start = self._start[bucket].astype(np.int64)
        return start, self._start[bucket + 1] - start

    def _bucket(self, cell: NDArray[np.int64]) -> NDArray[np.int64]:
        scattered = cell.astype(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)  # Knuth: 2^64 / golden ratio
        return (scattered >> self._shift).astype(np.int64)


def _cell_size_deg(angle: NDArray[np.float64]) -> float:
    """The smallest cells that list a store ENTRIES_A_STORE times on average, so that large geofences cannot explode.

    A square of side 2r touches (1 + 2r/h)^2 cells of side h on average; the mean over the stores is solved for h.
    """
    if not len(angle):
        return LARGEST_CELL_DEG
    radius = np.degrees(angle)
    mean, mean_square = float(np.mean(radius)), float(np.mean(radius * radius))
    size = 2 * mean_square / (np.sqrt(mean**2 + mean_square * (ENTRIES_A_STORE - 1)) - mean)
    return float(np.clip(size, LEAST_CELL_DEG, LARGEST_CELL_DEG))


def _require_geofences(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], radius_m: NDArray[np.float64], margin_m: float
) -> None:
    if not len(latitude) == len(longitude) == len(radius_m):
        lengths = f"{len(latitude)} latitudes, {len(longitude)} longitudes, {len(radius_m)} radii"
        raise ValueError(f"a store table has one of each a store, not {lengths}")
    largest_radius = ERROR_BOUND_REACH_M - margin_m
    if not 0 <= margin_m < ERROR_BOUND_REACH_M:
        raise ValueError(f"margin_m is {margin_m}; valid are 0 to {ERROR_BOUND_REACH_M:.0f}")
    for name, column, valid, words in (
        ("latitude", latitude, np.abs(latitude) <= 90, "-90 to 90"),
        ("longitude", longitude, np.abs(longitude) <= 180, "-180 to 180"),
        ("radius_m", radius_m, (radius_m > 0) & (radius_m <= largest_radius), f"more than 0 to {largest_radius:g}"),
    ):
        for row in np.flatnonzero(~valid)[:1]:
            raise ValueError(f"store row {row}: {name} is {column[row]}; valid are {words}")


def _require_polygons(polygons: Mapping[int, Polygon | MultiPolygon], stores: int) -> NDArray[np.object_]:
    """The polygons as a column, in the order of their stores' rows."""
    for store in polygons:
        if not 0 <= store < stores:
            raise ValueError(f"a polygon is of store row {store}; valid are 0 to {stores - 1}")
    rows = sorted(polygons)
    shapes = np.array([polygons[row] for row in rows], dtype=np.object_)
    bounds = shapely.bounds(shapes)
    valid = (np.abs(bounds) <= (180, 90, 180, 90)).all(axis=1)  # the bounds of nothing are NaN
    for row in np.flatnonzero(~valid)[:1]:
        words = "some points, longitude -180 to 180, latitude -90 to 90"
        raise ValueError(f"store row {rows[row]}: the polygon's bounds are {bounds[row].tolist()}; valid are {words}")
    return shapes
