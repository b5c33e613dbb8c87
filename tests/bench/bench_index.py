"""Look-up of 16,234 positions of buses among 437,379 stores of 100 m, both real, in batches of 1,024, exact.

The baseline is what stands on the shelf: shapely's STRtree of the stores' boxes, then the haversine formula: on a
sphere, so that some of its answers are wrong. Where the real data is not beside the repository, positions are made up,
and then no number of pairs is known beforehand.
"""

import csv
import gzip
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from shared.domain.proximity import GeofenceIndex
from tests.bench.report import record
from tests.bench.side_by_side import compare

DATA = Path(__file__).parents[3] / "shared" / "data"
STORES, BUSES, PAIRS = 437_379, 16_234, 68_487
"""PAIRS: by the geodesic of WGS-84, counted by two libraries."""
RADIUS_M, BATCH, EARTH_RADIUS_M = 100.0, 1_024, 6_371_008.8
EXACT, BASELINE = "GeofenceIndex.match", "baseline: STRtree of boxes, haversine"

type Floats = NDArray[np.float64]


def read(file: Path) -> tuple[Floats, Floats]:
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    lines = csv.DictReader(content.decode().splitlines())
    rows = [(float(row["latitude"]), float(row["longitude"])) for row in lines]
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


def made_up(count: int, seed: int) -> tuple[Floats, Floats]:
    """Positions as dense as those of stores: most in a town, some in the country."""
    random = np.random.default_rng(seed)
    towns = np.random.default_rng(0).uniform((50.5, -4), (56, 1), (300, 2))
    spread = np.where(random.random((count, 1)) < 0.2, 0.8, 0.02)
    places = towns[random.integers(0, len(towns), count)] + random.normal(0, 1, (count, 2)) * spread * (1, 1.6)
    return np.ascontiguousarray(places[:, 0]), np.ascontiguousarray(places[:, 1])


class Shelf:
    """The baseline."""

    def __init__(self, latitude: Floats, longitude: Floats) -> None:
        self._latitude, self._longitude = latitude, longitude
        height = np.degrees(RADIUS_M / EARTH_RADIUS_M) * 1.01
        width = height / np.cos(np.radians(np.abs(latitude) + 1))
        self._tree = shapely.STRtree(
            shapely.box(longitude - width, latitude - height, longitude + width, latitude + height)
        )

    def match(self, latitude: Floats, longitude: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ping, store = self._tree.query(shapely.points(longitude, latitude))
        phi, other = np.radians(latitude[ping]), np.radians(self._latitude[store])
        across = np.radians(self._longitude[store] - longitude[ping])
        squared = np.sin((other - phi) / 2) ** 2 + np.cos(phi) * np.cos(other) * np.sin(across / 2) ** 2
        inside = 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(squared)) <= RADIUS_M
        return ping[inside], store[inside]


def main() -> None:
    is_real = DATA.is_dir()
    stores = read(DATA / "fhrs_uk" / "fhrs_uk_2015.csv.gz") if is_real else made_up(STORES, 1)
    buses = read(DATA / "uk_bus" / "uk_bus_positions_20220108.csv") if is_real else made_up(BUSES, 2)
    began = time.perf_counter()
    index = GeofenceIndex(*stores, np.full(len(stores[0]), RADIUS_M), margin_m=0.0)
    built_s = time.perf_counter() - began
    shelf = Shelf(*stores)
    pairs, wrong = len(index.match(*buses).ping), differences(index, shelf, buses)
    if is_real and pairs != PAIRS:
        sys.exit(f"the index found {pairs:,} pairs, and there are {PAIRS:,}")
    batches = [(buses[0][at : at + BATCH], buses[1][at : at + BATCH]) for at in range(0, len(buses[0]), BATCH)]

    def over_batches(match: Callable[[Floats, Floats], object]) -> Callable[[], object]:
        return lambda: [match(*batch) for batch in batches]

    data = "real" if is_real else "made-up"
    medians = compare(
        f"{len(stores[0]):,} {data} stores, built in {built_s:.2f} s: {pairs:,} pairs, {wrong:,} wrong in the baseline",
        {BASELINE: over_batches(shelf.match), EXACT: over_batches(index.match)},
        items=len(buses[0]),
        rounds=7,
    )
    note = f"{data} data, {pairs:,} pairs; baseline: STRtree and haversine, {wrong:,} wrong"
    record("index_437379", medians[EXACT], "µs a ping", medians[BASELINE], note)
    record("index_437379_build", built_s, "s", note="of the look-up by position, from columns")


def differences(index: GeofenceIndex, shelf: Shelf, buses: tuple[Floats, Floats]) -> int:
    """How many pairs only one of the two has."""
    found = index.match(*buses)
    return len(
        set(zip(found.ping.tolist(), found.store.tolist(), strict=True)).symmetric_difference(
            zip(*(column.tolist() for column in shelf.match(*buses)), strict=True)
        )
    )


if __name__ == "__main__":
    main()
