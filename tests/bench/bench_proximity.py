"""Look-up of geofences, 1,024 pings a batch, against the usual grid: cells as wide as the largest radius, 3 x 3 of
them a ping.

The baseline measures on a sphere, so its answers are wrong near the edges; the index's are exact.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shared.domain.proximity import GeofenceIndex
from tests.bench.side_by_side import compare

PINGS = 1_024
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


def main() -> None:
    random = np.random.default_rng(1)
    pings = near_cities(random, 8 * PINGS)
    for count in (1_000, 100_000, 437_379):
        bench("radius 100 m", near_cities(random, count), np.full(count, 100.0), pings)
    count = 100_000
    mixed = np.where(np.arange(count) % 100 == 0, 5_000.0, np.exp(random.uniform(np.log(20), np.log(300), count)))
    bench("radii 20 to 300 m, 1 % of 5 km", near_cities(random, count), mixed, pings)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
