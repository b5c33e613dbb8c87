"""Stores as columns: row i of every column is store i."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon


@dataclass(frozen=True, slots=True, eq=False)
class StoreTable:
    """The places of business of one reference version, one row a store; positions in degrees WGS-84."""

    store_id: tuple[str, ...]
    name: tuple[str, ...]
    merchant: tuple[str, ...]
    service_type: tuple[str, ...]
    location: tuple[str, ...]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    radius_m: NDArray[np.float64]
    loitering_delay_s: NDArray[np.float64]
    time_zone: tuple[str, ...]
    """IANA names; "" where none is known."""
    polygons: Mapping[int, Polygon | MultiPolygon] = field(default_factory=dict)
    """The geofences that are no circles, by row: degrees (longitude, latitude), edges straight in them (RFC 7946).

    There, latitude and longitude are a point of the polygon, and `radius_m` reaches from it to the farthest edge.
    """

    def __len__(self) -> int:
        return len(self.store_id)
