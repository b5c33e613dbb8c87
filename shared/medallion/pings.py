"""silver.pings: one row an accepted ping."""

import numpy as np
import polars as pl

from shared.medallion.bronze import Captured, CapturePath, provenance
from shared.medallion.captured_pings import DecodedPings
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.hash_slots import Hashes, HashSlots
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

_FIRST_SLOTS = 1 << 21
"""Room for a million pings; memory is taken for the slots that are used."""
_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)
"""2^64 / golden ratio: a product with it spreads every bit upwards (Knuth)."""
_HALF = np.uint64(32)


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
        hashes = _hashes(pings)
        self._make_room(len(hashes))
        _, is_new = self._seen.place(hashes)
        self._count += int(np.count_nonzero(is_new))
        return (pl.Series(~is_new) | ~pl.Series(hashes).is_first_distinct()).alias("is_duplicate")

    def _make_room(self, more: int) -> None:
        seen, slots = self._seen, self._seen.hashes.size
        while (self._count + more) * 2 > slots:
            slots *= 2
        if slots > seen.hashes.size:
            self._seen = HashSlots(slots)
            self._seen.place(seen.hashes[seen.hashes != 0])


def _hashes(pings: pl.DataFrame) -> Hashes:
    """64 bits of what each ping says; 0.0 and -0.0 are one place."""
    hashes = pings["device_key"].hash().to_numpy().copy()
    tracked_at = pings["tracked_at"].to_physical().to_numpy()
    for said in (tracked_at, pings["latitude"].to_numpy() + 0.0, pings["longitude"].to_numpy() + 0.0):
        hashes ^= said.view(np.uint64)
        hashes *= _MIX
        hashes ^= hashes >> _HALF
    return hashes


def refine_pings(
    captured: Captured, decoded: DecodedPings, file: CapturePath, keys: DeviceKeys, repeats: Repeats
) -> pl.DataFrame:
    """The accepted pings of captured events, in their order; *decoded* came from their bodies."""
    events = captured.events[decoded.row]
    enqueued_at_us = events["enqueued_at"].to_physical().to_numpy()
    pings = pl.concat(
        [
            pl.DataFrame(
                {
                    "device_key": keys.key(decoded.device_id, enqueued_at_us),
                    "latitude": decoded.latitude,
                    "longitude": decoded.longitude,
                    "tracked_at": pl.Series(decoded.tracked_at_us, dtype=pl.Int64).cast(INSTANT),
                    "accuracy_m": pl.Series(decoded.accuracy_m, dtype=pl.Float64).fill_nan(None),
                    "delay_s": (enqueued_at_us - decoded.tracked_at_us) / 1_000_000,
                }
            ),
            provenance(events, file),
        ],
        how="horizontal",
    )
    return PINGS.conform(pings.with_columns(repeats.flag(pings)))
