"""What a device sends: pings, decoded from the bodies of a batch of events, or rejected with a reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Reason(StrEnum):
    """Why a body is no ping: the closed list."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_UNDERSTOOD = "not_understood"
    MISSING_FIELD = "missing_field"
    BAD_TYPE = "bad_type"
    OUT_OF_RANGE = "out_of_range"
    NULL_ISLAND = "null_island"
    FROM_THE_FUTURE = "from_the_future"
    TOO_LATE = "too_late"


@dataclass(frozen=True, slots=True)
class RejectedPing:
    """An event whose body cannot be used: its row in the batch, one reason of the closed list, and the detail in words."""

    row: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class PingBatch:
    """The accepted pings of a batch as columns (row i of every column is one ping), and the rejected ones.

    `row` is the ping's row in the batch that was decoded. `accuracy_m` is NaN where the device did not say.
    `consent` is 1, 0, or -1 where the ping does not say.
    """

    row: NDArray[np.int64]
    device_id: list[str]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    tracked_at_us: NDArray[np.int64]
    accuracy_m: NDArray[np.float64]
    consent: NDArray[np.int8]
    ping_id: list[str | None]
    rejected: list[RejectedPing]

    def __len__(self) -> int:
        return len(self.device_id)


def decode_pings(bodies: Sequence[bytes | None], enqueued_at_us: NDArray[np.int64]) -> PingBatch:
    raise NotImplementedError
