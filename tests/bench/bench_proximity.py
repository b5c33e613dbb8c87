"""Look-up of geofences, 1,024 pings a batch, against the usual grid: cells as wide as the largest radius, 3 x 3 of
them a ping; of polygons with 10,000 vertices, against shapely's tree of them; and of one circle, against geopy.

The grid measures on a sphere, so its answers are wrong near the edges; the tree knows no margin; the index's answers
are exact.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon, STRtree

from shared.domain.polygons import reaches_m
from shared.domain.proximity import GeofenceIndex, geodesic_m
from tests.bench.report import record
from tests.bench.side_by_side import compare

PINGS = 1_024
VERTICES = 10_000
MARGIN_M = 20.0
EARTH_RADIUS_M = 6_371_008.8
CITIES = np.array([(51.507, -0.128), (52.486, -1.890), (53.480, -2.242), (53.800, -1.549), (55.864, -4.252)])

type Floats = NDArray[np.float64]


def near_cities(random: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Positions as dense as premises and phones are: most in a city, some in the country."""
    city = CITIES[random.integers(0, len(CITIES), count)]
    spread = np.where(random.random(count) < 0.2, 0.8, 0.08)
    return city[:, 0] + random.normal(0, spread), city[:, 1] + random.normal(0, spread * 1.6)


class Grid:
    """The baseline: stores sorted by cell, candidates from three runs of three cells, haversine for each."""

    def __init__(self, latitude: Floats, longitude: Floats, radius_m: Floats) -> None:
        self._height = np.degrees(radius_m.max() / EARTH_RADIUS_M) * 1.01
        self._width = self._height / np.cos(np.radians(np.abs(latitude).max() + 1))
        cell = self._cell(latitude, longitude)
        order = np.argsort(cell, kind="stable")
        self._cells, self._rows = cell[order], order
        self._latitude, self._longitude, self._radius_m = latitude[order], longitude[order], radius_m[order]

    def match(self, latitude: Floats, longitude: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        middle = self._cell(latitude, longitude)[:, None] + np.array([-1_000_000, 0, 1_000_000])
        first = np.searchsorted(self._cells, (middle - 1).ravel())
        count = np.searchsorted(self._cells, (middle + 1).ravel(), side="right") - first
        ping = np.repeat(np.repeat(np.arange(len(latitude)), 3), count)
        store = np.arange(len(ping)) + np.repeat(first - (np.cumsum(count) - count), count)
        phi, other = np.radians(latitude)[ping], np.radians(self._latitude[store])
        across = np.radians(self._longitude[store] - longitude[ping])
        squared = np.sin((other - phi) / 2) ** 2 + np.cos(phi) * np.cos(other) * np.sin(across / 2) ** 2
        distance_m = 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(squared))
        inside = distance_m <= self._radius_m[store]
        return ping[inside], self._rows[store[inside]], distance_m[inside]

    def _cell(self, latitude: Floats, longitude: Floats) -> NDArray[np.int64]:
        row = ((latitude + 90) / self._height).astype(np.int64)
        return row * 1_000_000 + ((longitude + 180) / self._width).astype(np.int64)


def bench(title: str, stores: tuple[Floats, Floats], radius_m: Floats, pings: tuple[Floats, Floats]) -> None:
    start = time.perf_counter()
    index = GeofenceIndex(*stores, radius_m, margin_m=0.0)
    built_s = time.perf_counter() - start
    grid = Grid(*stores, radius_m)
    batches = [(pings[0][i : i + PINGS], pings[1][i : i + PINGS]) for i in range(0, len(pings[0]), PINGS)]
    pairs = len(index.match(*pings).ping)

    def over_batches(match: Callable[[Floats, Floats], object]) -> Callable[[], object]:
        return lambda: [match(*batch) for batch in batches]

    compare(
        f"{title}: {len(stores[0]):,} stores, built in {built_s:.2f} s, {pairs / len(pings[0]):.1f} pairs a ping",
        {
            "baseline: numpy, 3 x 3 cells, a sphere": over_batches(grid.match),
            "GeofenceIndex.match, exact": over_batches(index.match),
        },
        items=len(pings[0]),
        rounds=7,
    )


def outline(random: np.random.Generator, latitude: float, longitude: float) -> Polygon:
    """A ragged shape about 1 km wide."""
    azimuths = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    arms = 0.005 * (1 + 0.3 * np.sin(5 * azimuths)) * random.uniform(0.99, 1, VERTICES)
    return Polygon(np.c_[longitude + 1.6 * arms * np.cos(azimuths), latitude + arms * np.sin(azimuths)])


def bench_polygons(random: np.random.Generator, circles: int, polygons: int) -> None:
    """Polygons among circles, and pings in and around them."""
    latitude, longitude = near_cities(random, circles + polygons)
    shapes = np.array([outline(random, latitude[row], longitude[row]) for row in range(polygons)], dtype=np.object_)
    radius_m = np.full(len(latitude), 100.0)
    radius_m[:polygons] = reaches_m(shapes, latitude[:polygons], longitude[:polygons])
    start = time.perf_counter()
    index = GeofenceIndex(latitude, longitude, radius_m, dict(enumerate(shapes)), margin_m=MARGIN_M)
    built_s = time.perf_counter() - start
    tree = STRtree(shapes)
    near = random.integers(0, polygons, 16 * PINGS)
    pings = latitude[near] + random.normal(0, 0.005, len(near)), longitude[near] + random.normal(0, 0.008, len(near))
    batches = [(pings[0][i : i + PINGS], pings[1][i : i + PINGS]) for i in range(0, len(near), PINGS)]
    title = f"{polygons:,} polygons of {VERTICES:,} vertices among {circles:,} circles, built in {built_s:.2f} s"
    baseline, exact = "baseline: STRtree.query, no circles, no margin", "GeofenceIndex.match, exact"
    medians = compare(
        title,
        {
            baseline: lambda: [tree.query(shapely.points(lon, lat), predicate="intersects") for lat, lon in batches],
            exact: lambda: [index.match(*batch) for batch in batches],
        },
        items=len(near),
        rounds=5,
    )
    note = f"{VERTICES:,} vertices each, among {circles:,} circles; baseline: shapely's tree, polygons only, no margin"
    record(f"polygons_{polygons}", medians[exact], "µs a ping", medians[baseline], note)
    record(f"polygons_{polygons}_build", built_s, "s", note="of the look-up by position, from columns")


def bench_one(random: np.random.Generator) -> None:
    """One circle and one position, as for a visit whose store is no longer near."""
    latitude, longitude = near_cities(random, 1_000)
    index = GeofenceIndex(latitude, longitude, np.full(1_000, 100.0), margin_m=MARGIN_M)
    positions = [(row, float(latitude[row]) + 0.002, float(longitude[row])) for row in range(1_000)]
    baseline, exact = "baseline: geopy", "GeofenceIndex.is_beyond, exact"
    medians = compare(
        "one circle, one position",
        {
            baseline: lambda: [
                geodesic_m(lat, lon, latitude[row], longitude[row]) > 170.0 for row, lat, lon in positions
            ],
            exact: lambda: [index.is_beyond(row, *here, by_m=50.0) for row, *here in positions],
        },
        items=len(positions),
        rounds=5,
    )
    record("is_beyond", medians[exact], "µs a position", medians[baseline], "one circle; baseline: geopy")


def main() -> None:
    random = np.random.default_rng(1)
    pings = near_cities(random, 8 * PINGS)
    for count in (1_000, 100_000, 437_379):
        bench("radius 100 m", near_cities(random, count), np.full(count, 100.0), pings)
    count = 100_000
    mixed = np.where(np.arange(count) % 100 == 0, 5_000.0, np.exp(random.uniform(np.log(20), np.log(300), count)))
    bench("radii 20 to 300 m, 1 % of 5 km", near_cities(random, count), mixed, pings)
    bench_polygons(random, circles=436_379, polygons=1_000)
    bench_one(random)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
