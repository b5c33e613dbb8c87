"""Stores as columns: row i of every column is store i."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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

    def __len__(self) -> int:
        return len(self.store_id)
