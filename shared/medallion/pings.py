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
        self._seen: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)

    def flag(self, pings: pl.DataFrame) -> pl.Series:
        """Whether each row was said before, in an earlier frame or further up in this one."""
        hashes = pings.select(pl.struct(SAME_PING).hash()).to_series()
        values = np.sort(hashes.to_numpy())
        said_before = pl.Series(self._in_seen(hashes.to_numpy()), dtype=pl.Boolean)
        self._seen = np.sort(np.concatenate((self._seen, values)))
        return (said_before | ~hashes.is_first_distinct()).alias("is_duplicate")

    def _in_seen(self, values: NDArray[np.uint64]) -> NDArray[np.bool_]:
        if not self._seen.size:
            return np.zeros(values.size, dtype=np.bool_)
        at = np.minimum(np.searchsorted(self._seen, values), self._seen.size - 1)
        found: NDArray[np.bool_] = self._seen[at] == values
        return found


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
