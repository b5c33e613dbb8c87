"""Geofences that are polygons: edges straight in longitude and latitude (RFC 7946), measured on the ellipsoid.

Between its two ends such an edge leaves the straight chord through the Earth by at most an eighth of its largest
second derivative (the error of linear interpolation). That bound carries every statement here about distances: it
holds anywhere, and at the poles and the antimeridian nothing is special, since Earth-centred coordinates have neither.
"""

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from shared.domain.geodesic import LEAST_RADIUS_OF_CURVATURE_M, EarthPoints, earth_points, squared_chord

LARGEST_RADIUS_OF_CURVATURE_M = 6_400_000.0
"""That of the meridian at the poles is 6,399,594 m; rounded up for its change along an edge (at most 64 km/rad)."""


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

    Never less than the geodesic distance of the polygon's farthest point; more by what its longest edges may bulge
    (below 4e-4 m for edges of 100 m; for 10 km, 4 m near the equator and 40 m at latitude 85).
    """
    shapes = np.array([polygon], dtype=np.object_)
    return float(reaches_m(shapes, np.array([latitude]), np.array([longitude]))[0])


def reaches_m(
    shapes: NDArray[np.object_], latitude: NDArray[np.float64], longitude: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`reach_m` of polygon i seen from position i, for columns of polygons (none empty)."""
    shape, edge_latitude, edge_longitude, is_last = _vertices(shapes)
    here, there = earth_points(latitude, longitude), earth_points(edge_latitude, edge_longitude)
    start = np.arange(len(shape))
    end = start + ~is_last
    to_start = np.sqrt(squared_chord(here, shape, there, start))
    bulge = _bulge_m(edge_latitude, edge_longitude, there, end)
    # The distance to a straight chord is largest at one of its ends.
    farthest = np.maximum(to_start, to_start[end]) + bulge
    chord = np.maximum.reduceat(farthest, np.searchsorted(shape, np.arange(len(shapes))))
    # Schur: of all curves with at most that curvature, the circle's arc is the longest over a chord.
    diameter = 2 * LEAST_RADIUS_OF_CURVATURE_M
    reach: NDArray[np.float64] = diameter * np.arcsin(np.minimum(chord / diameter, 1.0))
    return reach


def _vertices(
    shapes: NDArray[np.object_],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Every vertex of every ring: its shape's row, latitude, longitude, and whether it is the last of its ring.

    Rings repeat their first vertex at the end; so each vertex but the last of a ring is the start of an edge.
    """
    parts, shape_of_part = shapely.get_parts(shapes, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    coordinates, ring = shapely.get_coordinates(rings, return_index=True)
    is_last = np.diff(ring, append=-1) != 0
    return shape_of_part[part_of_ring[ring]], coordinates[:, 1].copy(), coordinates[:, 0].copy(), is_last


def _bulge_m(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], vertices: EarthPoints, end: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How far each edge leaves its chord at most: an eighth of a bound of its second derivative.

    With phi and lambda the rates of latitude and longitude along the edge, p the distance from the Earth's axis and M
    the meridian's radius of curvature, the derivative is at most M phi^2 + 2 M phi lambda + p lambda^2.
    """
    rise = np.abs(np.radians(latitude[end] - latitude))
    turn = np.abs(np.radians(longitude[end] - longitude))
    from_axis = np.hypot(vertices.x, vertices.y)
    from_axis = np.maximum(from_axis, from_axis[end]) + LARGEST_RADIUS_OF_CURVATURE_M * rise
    derivative: NDArray[np.float64] = LARGEST_RADIUS_OF_CURVATURE_M * rise * (rise + 2 * turn) + from_axis * turn * turn
    return derivative / 8
