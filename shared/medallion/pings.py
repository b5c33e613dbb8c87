"""silver.pings: one row an accepted ping."""

import numpy as np
import polars as pl

from shared.domain.pings import PingBatch
from shared.medallion.bronze import CapturePath, provenance
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.hash_slots import HashSlots
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

_FIRST_SLOTS = 1 << 16


class Repeats:
    """Finds the pings of one capture file that say again what an earlier one of it said, frame after frame.

    It keeps 64 bits a ping: of the million pings of a large file, two different ones are taken for the same with a
    chance of 3e-8.
    """

    def __init__(self) -> None:
        self._seen = HashSlots(_FIRST_SLOTS)
        self._count = 0

    def flag(self, pings: pl.DataFrame) -> pl.Series:
        """Whether each row was said before, in an earlier frame or further up in this one."""
        said = pl.struct(pl.col("device_key").hash(), "tracked_at", "latitude", "longitude")
        hashes = pings.select(said.hash()).to_series()
        self._make_room(len(hashes))
        _, is_new = self._seen.place(hashes.to_numpy())
        self._count += int(np.count_nonzero(is_new))
        return (pl.Series(~is_new) | ~hashes.is_first_distinct()).alias("is_duplicate")

    def _make_room(self, more: int) -> None:
        seen, slots = self._seen, self._seen.hashes.size
        while (self._count + more) * 2 > slots:
            slots *= 2
        if slots > seen.hashes.size:
            self._seen = HashSlots(slots)
            self._seen.place(seen.hashes[seen.hashes != 0])


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
