"""Positions whose latitude and longitude were probably swapped, although both are in range.

Where the file gives a store the time zone that is at its position, whoever wrote it meant that position: such a store
is never suspected. Columns are degrees WGS-84, NaN where a position is not known; `given` are time zones, "" for none.
"""

from collections.abc import Sequence

import numpy as np
import tzfpy
from numpy.typing import NDArray

EARTH_RADIUS_KM = 6371.0
REGION_KM = 1_000.0
"""Most stores of a retailer lie so near to the median position; if they do not, nothing is suspected."""
FAR_KM = 2_000.0
SAMPLE = 1_000
_AT_SEA = "Etc/"
"""How the zones of the high seas begin; coastal waters belong to the land's."""


def swapped_rows(latitude: NDArray[np.float64], longitude: NDArray[np.float64], given: Sequence[str]) -> list[int]:
    """The rows that lie far from where most stores are, and would be among them the other way round."""
    known = np.isfinite(latitude) & np.isfinite(longitude)
    if not known.any():
        return []
    middle = float(np.median(latitude[known])), float(np.median(longitude[known]))
    away_km = _distance_km(latitude, longitude, *middle)
    if np.count_nonzero(away_km <= REGION_KM) * 2 <= np.count_nonzero(known):
        return []
    far = np.flatnonzero((away_km > FAR_KM) & (np.abs(longitude) <= 90))
    suspected = far[_distance_km(longitude[far], latitude[far], *middle) <= REGION_KM]
    return [row for row in suspected.tolist() if not given[row] or given[row] != zone_at(latitude[row], longitude[row])]


def all_are_swapped(latitude: NDArray[np.float64], longitude: NDArray[np.float64], given: Sequence[str]) -> bool:
    """Whether most stores lie on the high seas, and would lie on land the other way round; judged by a sample."""
    known = np.flatnonzero(np.isfinite(latitude) & np.isfinite(longitude))
    rows = known[:: max(1, len(known) // SAMPLE)].tolist()
    suspected = sum(_is_swapped_to_sea(latitude[row], longitude[row], given[row]) for row in rows)
    return suspected * 2 > len(rows)


def zone_at(latitude: float, longitude: float) -> str:
    """The time zone at a position, "" if there is none."""
    return tzfpy.get_tz(longitude, latitude)


def _is_swapped_to_sea(latitude: float, longitude: float, given: str) -> bool:
    here = zone_at(latitude, longitude)
    if not here.startswith(_AT_SEA) or given == here or abs(longitude) > 90:
        return False
    return not zone_at(longitude, latitude).startswith(_AT_SEA)


def _distance_km(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], to_latitude: float, to_longitude: float
) -> NDArray[np.float64]:
    """Along a great circle of a sphere: near enough to tell continents apart. NaN stays NaN."""
    north, to_north = np.radians(latitude), np.radians(to_latitude)
    haversine = (
        np.sin((north - to_north) / 2) ** 2
        + np.cos(north) * np.cos(to_north) * np.sin(np.radians(longitude - to_longitude) / 2) ** 2
    )
    distance: NDArray[np.float64] = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(haversine, 1)))
    return distance
