"""Exact proximity: which stores' geofences a position lies in, by WGS-84 geodesic distance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
