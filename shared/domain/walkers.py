"""Walkers: where people are who stroll between neighbouring stores at walking speed and pause at each."""

import numpy as np
from numpy.typing import NDArray

from shared.domain.stores import StoreTable

SPEED_M_S = 1.4
PAUSE_S = 60.0
"""Mean of the pauses at stores, which last from 5 s to 5 min."""
POOL = 500
"""A walk stays among this many stores around one of them."""
NEIGHBOURS = 8
"""The next store is one of so many that are nearest."""
_DEGREE_M = 111_195.0
"""Metres in a degree of latitude on a sphere of the earth's mean radius: good to 0.5 %, which is enough to walk by."""

type Floats = NDArray[np.float64]
type Rows = NDArray[np.int64]


def stroll(
    walker: Rows, at_s: Floats, walkers: int, stores: StoreTable, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Latitude and longitude of *walker* (0 up to *walkers*) at the seconds *at_s* after the start, row by row.

    Each begins outside a geofence and so near to it that it enters while the simulation lasts. There must be stores.
    """
    seconds = float(at_s.max())
    time_s, latitude, longitude = _itineraries(walkers, seconds, stores, rng)
    # The waypoints of all walkers in one sorted array: the time is counted on from walker to walker.
    day = float(time_s.max()) + 1.0
    flat_s = (time_s + np.arange(walkers)[:, np.newaxis] * day).reshape(-1)
    before = np.searchsorted(flat_s, at_s + walker * day, side="right") - 1
    start_s, end_s = time_s.reshape(-1)[before], time_s.reshape(-1)[before + 1]
    share = (at_s - start_s) / np.maximum(end_s - start_s, 1e-9)
    lat, lon = latitude.reshape(-1), longitude.reshape(-1)
    return (
        lat[before] + share * (lat[before + 1] - lat[before]),
        _turn(lon[before] + share * _turn(lon[before + 1] - lon[before])),
    )


def around(latitude: Floats, longitude: Floats, distance_m: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A position that far away, in any direction."""
    bearing = rng.uniform(0.0, 2 * np.pi, len(distance_m))
    return moved(latitude, longitude, distance_m * np.cos(bearing), distance_m * np.sin(bearing))


def moved(latitude: Floats, longitude: Floats, north_m: Floats, east_m: Floats) -> tuple[Floats, Floats]:
    """The position so many metres to the north and to the east."""
    there = np.clip(latitude + north_m / _DEGREE_M, -90.0, 90.0)
    return there, _turn(longitude + east_m / (_DEGREE_M * _shrink(there)))


def _itineraries(
    walkers: int, seconds: float, stores: StoreTable, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Waypoints, a row a walker: the time at each and its position; the last time is after the end."""
    pool = _neighbourhood(stores, rng)
    latitude, longitude, radius_m = stores.latitude[pool], stores.longitude[pool], stores.radius_m[pool]
    neighbours = _nearest(latitude, longitude)
    speed = np.clip(rng.normal(SPEED_M_S, 0.2, walkers), 0.8, 2.0)
    target = rng.integers(0, len(pool), walkers)
    outside_m = 0.8 * speed * min(seconds, 120.0) * rng.random(walkers)
    now_s = np.zeros(walkers)
    here = around(latitude[target], longitude[target], radius_m[target] + outside_m, rng)
    waypoints = [(now_s, *here)]
    while float(now_s.min()) <= seconds:
        there = around(latitude[target], longitude[target], 0.5 * radius_m[target] * rng.random(walkers), rng)
        now_s = now_s + _distance_m(*here, *there) / speed
        waypoints.append((now_s, *there))
        now_s = now_s + np.clip(rng.exponential(PAUSE_S, walkers), 5.0, 300.0)
        waypoints.append((now_s, *there))
        here = there
        target = neighbours[target, rng.integers(0, neighbours.shape[1], walkers)]
    time_s, lat, lon = (np.stack(column, axis=1) for column in zip(*waypoints, strict=True))
    return time_s, lat, lon


def _neighbourhood(stores: StoreTable, rng: np.random.Generator) -> Rows:
    """The rows of the stores nearest to one of them."""
    middle = rng.integers(0, len(stores))
    latitude, longitude = stores.latitude, stores.longitude
    distance_m = _distance_m(latitude, longitude, latitude[middle], longitude[middle])
    return np.argsort(distance_m, kind="stable")[:POOL]


def _nearest(latitude: Floats, longitude: Floats) -> Rows:
    """For each place the rows of the places nearest to it; a place that stands alone is its own neighbour."""
    distance_m = _distance_m(latitude[:, np.newaxis], longitude[:, np.newaxis], latitude, longitude)
    if len(latitude) > 1:
        np.fill_diagonal(distance_m, np.inf)
    return np.argsort(distance_m, axis=1, kind="stable")[:, : min(NEIGHBOURS, max(1, len(latitude) - 1))]


def _distance_m(latitude: Floats, longitude: Floats, other_latitude: Floats, other_longitude: Floats) -> Floats:
    """About how far it is; good enough to say how long a walk takes."""
    north = other_latitude - latitude
    east = _turn(other_longitude - longitude) * _shrink((latitude + other_latitude) / 2)
    return np.hypot(north, east) * _DEGREE_M


def _shrink(latitude: Floats) -> Floats:
    """How much shorter a degree of longitude is there than at the equator; not zero at the poles."""
    return np.maximum(np.cos(np.radians(latitude)), 1e-6)


def _turn(longitude: Floats) -> Floats:
    """The same longitude from -180 up to 180."""
    return (longitude + 180.0) % 360.0 - 180.0
