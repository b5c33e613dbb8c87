"""Geofences that are polygons: edges straight in longitude and latitude (RFC 7946), measured on the ellipsoid.

Between its ends such an edge leaves the straight chord through the Earth, but by no more than an eighth of its largest
second derivative (the error of linear interpolation): its bulge. All that is said here about distances follows from
that bound. It holds anywhere, and nothing is special at the poles and the antimeridian, since the Earth-centred
coordinates of a chord have neither.
"""

from threading import Lock
from typing import NamedTuple, Self

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from shared.domain.geodesic import (
    LEAST_RADIUS_OF_CURVATURE_M,
    EarthPoints,
    RowNumbers,
    arc_m,
    earth_points,
    squared_chord,
)
from shared.domain.ragged import blocks, runs

LARGEST_RADIUS_OF_CURVATURE_M = 6_400_000.0
"""No less than sqrt(M^2 + (dM/dlatitude)^2), M the meridian's radius of curvature: 6,399,594 m at the poles."""
LARGEST_BULGE_M = 1e-3
"""Distances are measured to pieces of edges that bulge no more than this."""
EDGES_A_BOX = 64
"""A polygon's edges lie in boxes of this many, so that only those next to a position are looked at one by one."""

_PREPARING = Lock()

type Floats = NDArray[np.float64]


def position_of(polygon: Polygon | MultiPolygon) -> tuple[float, float]:
    """A position that stands for the polygon, as latitude and longitude in degrees; always one of its own points.

    The centroid (in degrees) where that lies in the polygon; else, for a crescent, a hole in the middle or parts cut
    at the antimeridian, shapely's representative point.
    """
    centroid = polygon.centroid
    point = centroid if polygon.covers(centroid) else polygon.representative_point()
    return point.y, point.x


def reach_m(polygon: Polygon | MultiPolygon, latitude: float, longitude: float) -> float:
    """A distance in metres within which the whole polygon lies, seen from a position in degrees WGS-84.

    Never less than the geodesic distance of the polygon's farthest point (but for 1e-6 m of rounding); more by what
    its longest edges may bulge: below 4e-4 m for edges of 100 m; for 10 km, 4 m near the equator, 40 m at latitude 85.
    """
    shapes = np.array([polygon], dtype=np.object_)
    return float(reaches_m(shapes, np.array([latitude]), np.array([longitude]))[0])


def reaches_m(shapes: NDArray[np.object_], latitude: Floats, longitude: Floats) -> Floats:
    """`reach_m` of polygon i (none empty) seen from position i, for columns: a hundred times as fast as one by one."""
    vertices = shapely.get_num_coordinates(shapes).astype(np.int64)
    reaches = [
        _reaches_m(_vertices(shapes[rows]), earth_points(latitude[rows], longitude[rows])) for rows in blocks(vertices)
    ]
    return np.concatenate(reaches)


class _Edges(NamedTuple):
    """Edges as columns: where each starts, and how many degrees it goes north and east."""

    latitude: Floats
    longitude: Floats
    rise: Floats
    turn: Floats

    def at(self, share: Floats | float) -> tuple[Floats, Floats]:
        """Latitude and longitude of each edge's point that has a share (0 to 1) of the edge before it."""
        return self.latitude + share * self.rise, self.longitude + share * self.turn

    def take(self, rows: NDArray[np.int64]) -> Self:
        return type(self)(*(column[rows] for column in self))


class PolygonTable:
    """Polygons as columns, ready to be asked about many positions at once; immutable, so safe to share.

    `shapes` are valid, not empty and within longitude -180 to 180 and latitude -90 to 90; `latitude` and `longitude`
    are the position of each, in degrees. `reach_m` says of each what the function of that name says.
    """

    def __init__(self, shapes: NDArray[np.object_], latitude: Floats, longitude: Floats) -> None:
        self._shapes = shapes
        bounds = shapely.bounds(shapes)
        self._south, self._north = bounds[:, 1], bounds[:, 3]
        _prepare(shapes, bounds)
        edges = shapely.get_num_coordinates(shapes).astype(np.int64)
        self._boxes = -(-edges // EDGES_A_BOX)
        self._first_box = np.cumsum(self._boxes) - self._boxes
        shape, offset = runs(self._boxes)
        self._first_edge = (np.cumsum(edges) - edges)[shape] + offset * EDGES_A_BOX
        self._edges = np.minimum(edges[shape] - offset * EDGES_A_BOX, EDGES_A_BOX)
        outlines = [_outline(shapes[rows], latitude[rows], longitude[rows]) for rows in blocks(edges)]
        self.reach_m = np.concatenate([outline.reach_m for outline in outlines])
        self._latitude = np.concatenate([outline.latitude for outline in outlines])
        self._longitude = np.concatenate([outline.longitude for outline in outlines])
        self._is_last = np.concatenate([outline.is_last for outline in outlines])
        self._box_low = np.concatenate([outline.box_low for outline in outlines], axis=1)
        self._box_high = np.concatenate([outline.box_high for outline in outlines], axis=1)

    def covers(self, row: NDArray[np.int64], latitude: Floats, longitude: Floats) -> NDArray[np.bool_]:
        """Whether polygon `row[i]` covers position i: shapely's answer, so its edges count and its holes do not.

        RFC 7946 cuts polygons at the antimeridian and has no edge around a pole; but longitudes -180 and 180 are one
        meridian and a pole is one point. A position there is covered if the polygon reaches it from any side.
        """
        covered: NDArray[np.bool_] = shapely.intersects_xy(self._shapes[row], longitude, latitude)
        seam = np.flatnonzero(np.abs(longitude) == 180)
        if len(seam):
            covered[seam] |= shapely.intersects_xy(self._shapes[row[seam]], -longitude[seam], latitude[seam])
        covered |= (latitude == 90) & (self._north[row] == 90)
        covered |= (latitude == -90) & (self._south[row] == -90)
        return covered

    def distance_m(self, row: NDArray[np.int64], latitude: Floats, longitude: Floats, *, limit_m: float) -> Floats:
        """The geodesic distance in metres from position i, outside of it, to the edge of polygon `row[i]`.

        Only distances up to `limit_m` are measured; for others the answer may be anything above it. Never too short
        by more than 1e-6 m, and too long by at most 2 mm (2 LARGEST_BULGE_M) up to 10 km and 1 cm up to 100 km: at
        any latitude, and whatever the length of the edges.
        """
        distances = [
            self._block_distance_m(row[some], latitude[some], longitude[some], limit_m)
            for some in blocks(self._boxes[row])
        ]
        return np.concatenate(distances)

    def _block_distance_m(self, row: NDArray[np.int64], latitude: Floats, longitude: Floats, limit_m: float) -> Floats:
        here = earth_points(latitude, longitude)
        position, edge = self._edges_near(row, here, limit_m)
        edges = self._edges_at(edge)
        start, end = earth_points(*edges.at(0)), earth_points(*edges.at(1))
        bulge = _bulge_m(edges, start)
        _, chord = _nearest(here, position, start, end)
        # Nearest may be an edge that is no farther at least than the limit, and than any other edge is at most.
        most = np.full(len(row), limit_m)
        np.minimum.at(most, position, chord + bulge)
        kept = np.flatnonzero(chord - bulge <= most[position])
        pieces = np.maximum(np.ceil(np.sqrt(bulge[kept] / LARGEST_BULGE_M)), 1).astype(np.int64)
        piece, offset = runs(pieces)
        position, there = position[kept][piece], kept[piece]
        nearest = earth_points(*_nearest_on_pieces(here, position, edges.take(there), offset, pieces[piece]))
        pair = np.arange(len(position))
        squared = squared_chord(here, position, nearest, pair)
        distance = np.full(len(row), np.inf)
        np.minimum.at(distance, position, arc_m(squared, here, position, nearest, pair))
        return distance

    def _edges_near(
        self, row: NDArray[np.int64], here: EarthPoints, limit_m: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of a position and an edge of its polygon, all of those within the limit among them."""
        position, offset = runs(self._boxes[row])
        box = self._first_box[row][position] + offset
        squared_gap = np.zeros(len(box))
        for axis, coordinate in enumerate((here.x, here.y, here.z)):
            at = coordinate[position]
            gap = np.maximum(np.maximum(self._box_low[axis, box] - at, at - self._box_high[axis, box]), 0)
            squared_gap += gap * gap
        near = np.flatnonzero(squared_gap <= limit_m * limit_m)
        position, box = position[near], box[near]
        pair, offset = runs(self._edges[box])
        return position[pair], self._first_edge[box][pair] + offset

    def _edges_at(self, edge: NDArray[np.int64]) -> _Edges:
        end = edge + ~self._is_last[edge]
        latitude, longitude = self._latitude[edge], self._longitude[edge]
        return _Edges(latitude, longitude, self._latitude[end] - latitude, self._longitude[end] - longitude)


class _Vertices(NamedTuple):
    """The vertices of some shapes, ring by ring, each the start of an edge to the next.

    A ring repeats its first vertex at the end; from that one goes an edge to itself, which changes no distance.
    """

    shape: NDArray[np.int64]
    latitude: Floats
    longitude: Floats
    is_last: NDArray[np.bool_]
    """Whether it is the last of its ring."""
    points: EarthPoints
    bulge_m: Floats
    """Of the edge that starts here."""


def _vertices(shapes: NDArray[np.object_]) -> _Vertices:
    parts, shape_of_part = shapely.get_parts(shapes, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    coordinates, ring = shapely.get_coordinates(rings, return_index=True)
    longitude, latitude = coordinates.T.copy()
    is_last = np.diff(ring, append=-1) != 0
    end = np.arange(len(ring)) + ~is_last
    points = earth_points(latitude, longitude)
    bulge = _bulge_m(_Edges(latitude, longitude, latitude[end] - latitude, longitude[end] - longitude), points)
    return _Vertices(shape_of_part[part_of_ring[ring]], latitude, longitude, is_last, points, bulge)


class _Outline(NamedTuple):
    """What a PolygonTable keeps of some shapes: a reach for each of them, and their edges, in boxes."""

    reach_m: Floats
    latitude: Floats
    longitude: Floats
    is_last: NDArray[np.bool_]
    box_low: Floats
    """The least x, y and z of each box, in Earth-centred coordinates."""
    box_high: Floats


def _outline(shapes: NDArray[np.object_], latitude: Floats, longitude: Floats) -> _Outline:
    vertices = _vertices(shapes)
    reach = _reaches_m(vertices, earth_points(latitude, longitude))
    _, rank = runs(np.bincount(vertices.shape))
    first = np.flatnonzero(rank % EDGES_A_BOX == 0)
    end = np.arange(len(rank)) + ~vertices.is_last
    low, high = [], []
    for axis in vertices.points[:3]:
        low.append(np.minimum.reduceat(np.minimum(axis, axis[end]) - vertices.bulge_m, first))
        high.append(np.maximum.reduceat(np.maximum(axis, axis[end]) + vertices.bulge_m, first))
    return _Outline(reach, vertices.latitude, vertices.longitude, vertices.is_last, np.stack(low), np.stack(high))


def _reaches_m(vertices: _Vertices, here: EarthPoints) -> Floats:
    """The reach of each shape from its position in `here`."""
    rows = np.arange(len(vertices.shape))
    chord = np.sqrt(squared_chord(here, vertices.shape, vertices.points, rows))
    # Of a straight chord, one of the ends is farthest.
    farthest = np.maximum(chord, chord[rows + ~vertices.is_last]) + vertices.bulge_m
    reach = np.maximum.reduceat(farthest, np.searchsorted(vertices.shape, np.arange(len(here.x))))
    # Schur: no curve that bends less than a circle is longer over a chord than the circle's arc.
    diameter = 2 * LEAST_RADIUS_OF_CURVATURE_M
    arc: Floats = diameter * np.arcsin(np.minimum(reach / diameter, 1.0))
    return arc


def _bulge_m(edges: _Edges, start: EarthPoints) -> Floats:
    """How far each edge leaves its chord at most: an eighth of a bound of its second derivative.

    With phi and lambda the rates of latitude and longitude along the edge, p the distance from the Earth's axis and R
    the largest radius of curvature, the derivative is at most R phi^2 + 2 R phi lambda + p lambda^2.
    """
    phi, lam = np.abs(np.radians(edges.rise)), np.abs(np.radians(edges.turn))
    p = np.hypot(start.x, start.y) + LARGEST_RADIUS_OF_CURVATURE_M * phi
    bulge: Floats = (LARGEST_RADIUS_OF_CURVATURE_M * phi * (phi + 2 * lam) + p * lam * lam) / 8
    return bulge


def _nearest(here: EarthPoints, position: RowNumbers, start: EarthPoints, end: EarthPoints) -> tuple[Floats, Floats]:
    """For pairs of a position and a chord: the share of the chord before its nearest point, and how far that is."""
    along = end.x - start.x, end.y - start.y, end.z - start.z
    to = here.x[position] - start.x, here.y[position] - start.y, here.z[position] - start.z
    squared = along[0] * along[0] + along[1] * along[1] + along[2] * along[2]
    share = (to[0] * along[0] + to[1] * along[1] + to[2] * along[2]) / np.maximum(squared, np.finfo(np.float64).tiny)
    share = np.clip(share, 0, 1)
    gap = [to[axis] - share * along[axis] for axis in range(3)]
    return share, np.sqrt(gap[0] * gap[0] + gap[1] * gap[1] + gap[2] * gap[2])


def _nearest_on_pieces(
    here: EarthPoints, position: RowNumbers, edges: _Edges, number: NDArray[np.int64], pieces: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Latitude and longitude of the nearest point of one piece of each edge, that `number` of so many `pieces`."""
    start, end = earth_points(*edges.at(number / pieces)), earth_points(*edges.at((number + 1) / pieces))
    share, _ = _nearest(here, position, start, end)
    return edges.at((number + share) / pieces)


def _prepare(shapes: NDArray[np.object_], bounds: Floats) -> None:
    """Let GEOS index each shape's edges now, one thread at a time.

    It would do so at the second question about a point in the bounds, and the process aborts if two threads ask that
    at once (https://github.com/libgeos/geos/issues/825); a shape that has its index is only read.
    """
    with _PREPARING:
        shapely.prepare(shapes)
        for _ in range(2):
            shapely.intersects_xy(shapes, (bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2)
