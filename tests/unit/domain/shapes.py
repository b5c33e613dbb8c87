"""Geofences of every shape at awkward places on Earth, and what is true about them, found the slow way."""

import math
from itertools import pairwise

import numpy as np
import shapely
from geographiclib.geodesic import Geodesic
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon
from shapely.affinity import translate

from shared.domain.geodesic import earth_points, geodesic_m

METRES_A_DEGREE = 111_195.0

ANCHORS = [
    (51.501, -0.142),  # on the edges of the smallest cells
    (0.0, 0.0),
    (90.0, 0.0),
    (-90.0, 77.0),
    (89.9999, -120.0),
    (-89.99999999, 45.0),
    (-17.0, 180.0),
    (65.0, -180.0),
    (-16.5, 179.99999999),
    (78.22, 15.65),
]
AZIMUTHS = st.sampled_from([0.0, 90.0, 180.0, 270.0]) | st.floats(0, 360)


def moved(latitude: float, longitude: float, azimuth: float, length_m: float) -> tuple[float, float]:
    """The position `length_m` metres away."""
    end = Geodesic.WGS84.Direct(latitude, longitude, azimuth, length_m)
    return end["lat2"], end["lon2"]


def box(west: float, south: float, east: float, north: float) -> Polygon:
    return shapely.box(west, south, east, north)


def star(latitude: float, longitude: float, arms_m: list[float], hole: float = 0.0) -> Polygon | MultiPolygon:
    """A star with arms of such lengths, cut at the antimeridian; with a hole of that share of it."""
    azimuths = np.linspace(0, 2 * np.pi, len(arms_m), endpoint=False)
    lengths = np.array(arms_m) / METRES_A_DEGREE
    east = lengths * np.sin(azimuths) / math.cos(math.radians(latitude))
    north = lengths * np.cos(azimuths)
    shell, inner = (np.c_[longitude + share * east, latitude + share * north] for share in (1.0, hole))
    return cut_at_the_antimeridian(Polygon(shell, [inner] if hole else None))


def cut_at_the_antimeridian(shape: Polygon) -> Polygon | MultiPolygon:
    """The parts of a polygon that may reach beyond longitude 180 or -180, each moved to where RFC 7946 has it."""
    if np.abs(shapely.bounds(shape)).max() <= 180:
        return shape
    here, west, east = (shape.intersection(box(180 * k - 180, -90, 180 * k + 180, 90)) for k in (0, -2, 2))
    parts = [here, translate(west, 360), translate(east, -360)]
    polygons = [part for whole in parts for part in shapely.get_parts(whole) if isinstance(part, Polygon)]
    polygons = [part for part in polygons if not part.is_empty]
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)


@st.composite
def stars(draw) -> Polygon | MultiPolygon:
    """A star of 20 m to 10 km, some with a hole, some at the antimeridian, up to latitude 85."""
    latitude = draw(st.floats(-85, 85) | st.sampled_from([-85.0, 0.0, 51.5, 85.0]))
    longitude = draw(st.floats(-179, 179) | st.sampled_from([-180.0, -179.9999, 179.9999, 180.0]))
    size_m = draw(st.sampled_from([20.0, 100.0, 1_000.0, 10_000.0]))
    arms = draw(st.lists(st.floats(0.4, 1), min_size=3, max_size=9))
    return star(latitude, longitude, [size_m * arm for arm in arms], draw(st.sampled_from([0.0, 0.0, 0.5])))


@st.composite
def polar_shapes(draw) -> Polygon | MultiPolygon:
    """A cap, a ring, a sector or a star, up to 5 km from a pole or around it."""
    reach, inner = sorted(draw(st.lists(st.floats(1e-5, 0.05), min_size=2, max_size=2, unique=True)))
    west, east = sorted(draw(st.lists(st.integers(-180, 180), min_size=2, max_size=2, unique=True)))
    shape = draw(
        st.sampled_from(
            [
                box(-180, 90 - reach, 180, 90),
                box(-180, 90 - inner, 180, 90 - reach),
                box(west, 90 - reach, east, 90),
                box(west, 90 - inner, east, 90 - reach),
                Polygon([(west, 90 - inner), (east, 90 - inner), (east, 90 - reach)]),
                MultiPolygon([box(west, 90 - reach, east, 90), box(west, 90 - inner - 0.01, east, 90 - inner)]),
            ]
        )
    )
    return draw(st.sampled_from([shape, shapely.transform(shape, lambda points: points * (1, -1))]))


SHAPES = stars() | polar_shapes()


def edges_of(shape: Polygon | MultiPolygon) -> list[tuple[np.ndarray, np.ndarray]]:
    """The two ends of every edge, as (longitude, latitude)."""
    edges = []
    for part in shapely.get_parts(shape):
        for ring in (part.exterior, *part.interiors):
            points = shapely.get_coordinates(ring)
            edges += list(pairwise(points))
    return edges


def point_of(edge: tuple[np.ndarray, np.ndarray], share: float) -> tuple[float, float]:
    """Latitude and longitude of a point of an edge, straight in degrees."""
    longitude, latitude = edge[0] + share * (edge[1] - edge[0])
    return float(latitude), float(longitude)


def edge_distance_m(edge: tuple[np.ndarray, np.ndarray], latitude: float, longitude: float, pick=np.argmin) -> float:
    """Geopy's distance to the nearest point of an edge: of 1,001 points, of 1,001 around the best of those, and so on.

    With `pick` argmax, to the farthest point.
    """
    low, high = 0.0, 1.0
    here = np.array(earth_points(np.array([latitude]), np.array([longitude]))[:3])
    for _ in range(5):
        shares = np.linspace(low, high, 1_001)
        longitudes, latitudes = (edge[0] + shares[:, np.newaxis] * (edge[1] - edge[0])).T
        there = np.array(earth_points(latitudes, longitudes)[:3])
        best = int(pick(((there - here) ** 2).sum(axis=0)))
        low, high = shares[max(best - 1, 0)], shares[min(best + 1, 1_000)]
    return geodesic_m(latitude, longitude, *point_of(edge, shares[best]))


def distance_m(shape: Polygon | MultiPolygon, latitude: float, longitude: float) -> float:
    """The distance to the nearest edge, by brute force."""
    return nearest_of(edges_of(shape), latitude, longitude)


def nearest_of(edges: list[tuple[np.ndarray, np.ndarray]], latitude: float, longitude: float) -> float:
    return min(edge_distance_m(edge, latitude, longitude) for edge in edges)


def covers(shape: Polygon | MultiPolygon, latitude: float, longitude: float) -> bool:
    """Shapely's answer about a point, by a copy that nobody prepared."""
    return bool(shapely.from_wkb(shapely.to_wkb(shape)).covers(shapely.Point(longitude, latitude)))
