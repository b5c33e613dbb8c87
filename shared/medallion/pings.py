"""silver.pings: one row an accepted ping."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.domain.pings import PingBatch
from shared.medallion.bronze import CapturePath, provenance
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.tables import INSTANT, silver_table

PINGS = silver_table(
    "pings",
    {
        "device_key": pl.String(),
        "latitude": pl.Float64(),
        "longitude": pl.Float64(),
        "tracked_at": INSTANT,
        "accuracy_m": pl.Float64(),
        "delay_s": pl.Float64(),
        "is_duplicate": pl.Boolean(),
    },
)
"""`delay_s` is enqueued minus tracked; `is_duplicate`: same device, time and position again within the capture file."""

SAME_PING = ("device_key", "tracked_at", "latitude", "longitude")


class Repeats:
    """Finds the pings of one capture file that say again what an earlier one of it said, frame after frame.

    It keeps 64 bits a ping: of the million pings of a large file, two different ones are taken for the same with a
    chance of 3e-8.
    """

    def __init__(self) -> None:
        self._seen: list[NDArray[np.uint64]] = []
        """Sorted hashes; each array is more than twice as long as the next, so there are few to look into."""

    def flag(self, pings: pl.DataFrame) -> pl.Series:
        """Whether each row was said before, in an earlier frame or further up in this one."""
        hashes = pings.select(pl.struct(SAME_PING).hash()).to_series()
        order = hashes.arg_sort().to_numpy()
        in_order = hashes.to_numpy()[order]
        said_before = np.empty(order.size, dtype=np.bool_)
        said_before[order] = self._has(in_order)
        self._remember(in_order)
        return (pl.Series("is_duplicate", said_before) | ~hashes.is_first_distinct()).alias("is_duplicate")

    def _has(self, in_order: NDArray[np.uint64]) -> NDArray[np.bool_]:
        found = np.zeros(in_order.size, dtype=np.bool_)
        for seen in self._seen:
            at = np.searchsorted(seen, in_order)
            at[at == seen.size] = 0
            found |= seen[at] == in_order
        return found

    def _remember(self, in_order: NDArray[np.uint64]) -> None:
        if not in_order.size:
            return
        while self._seen and self._seen[-1].size <= 2 * in_order.size:
            in_order = np.sort(np.concatenate((self._seen.pop(), in_order)))
        self._seen.append(in_order)


def refine_pings(
    captured: pl.DataFrame, batch: PingBatch, file: CapturePath, keys: DeviceKeys, repeats: Repeats
) -> pl.DataFrame:
    """The accepted pings of a captured frame, in its order; *batch* was decoded from the frame's bodies."""
    events = captured[batch.row]
    enqueued_at_us = events["enqueued_at"].to_physical().to_numpy()
    pings = pl.concat(
        [
            pl.DataFrame(
                {
                    "device_key": keys.key(batch.device_id, enqueued_at_us),
                    "latitude": batch.latitude,
                    "longitude": batch.longitude,
                    "tracked_at": pl.Series(batch.tracked_at_us, dtype=pl.Int64).cast(INSTANT),
                    "accuracy_m": pl.Series(batch.accuracy_m, dtype=pl.Float64).fill_nan(None),
                    "delay_s": (enqueued_at_us - batch.tracked_at_us) / 1_000_000,
                }
            ),
            provenance(events, file),
        ],
        how="horizontal",
    )
    return PINGS.conform(pings.with_columns(repeats.flag(pings)))
