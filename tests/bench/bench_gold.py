"""A gold build for one new capture file of each hub, over a history of 365 days and over one of 7.

    python -m tests.bench.bench_gold [days]

Two lakes on the local disk, of equal days: pings, pings near stores, and the decisions of visits. Their closed days are
one file a table and day, as compaction leaves them. The builds of the two take turns; the baseline is the short one.
"""

import statistics
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from shared.adapters.delta_tables import DeltaTables
from shared.adapters.lake_storage import LakeStorage
from shared.medallion.decisions import DECISIONS
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.pings import PINGS
from shared.medallion.tables import INSTANT, Table
from shared.workflows.build_gold import GoldBuilder
from tests.bench.report import record
from tests.fakes_lake import REMEMBERED, unique

HISTORY, SHORT, ROUNDS = 365, 7, 9
TODAY = date(2026, 11, 24)
PINGS_A_DAY, NEAR_A_DAY, VISITS_A_DAY = 20_000, 10_000, 2_000
DEVICES, STORES = 3_000, 300
MINUTE_US = 60_000_000


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Days:
    """Rows of silver tables, day by day: a day's whole file, or a file of its last minutes."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def pings(self, day: date, rows: int, minutes: tuple[int, int]) -> pl.DataFrame:
        return self._rows(PINGS, day, self._instants(day, rows, minutes), {"delay_s": 2.0, "is_duplicate": False})

    def near(self, day: date, rows: int, minutes: tuple[int, int]) -> pl.DataFrame:
        return self._rows(GPS_ENRICHED, day, self._instants(day, rows, minutes), {})

    def decisions(self, day: date, visits: int, minutes: tuple[int, int]) -> pl.DataFrame:
        """ENTER, DWELL after 5 minutes and EXIT after 20, for a promotion that is sent to 9 of 10."""
        entered = self._instants(day, visits, minutes)
        number = self._random.integers(0, 1 << 40, visits)
        device, store = self._random.integers(0, DEVICES, visits), self._random.integers(0, STORES, visits)
        parts = [
            self._rows(
                DECISIONS,
                day,
                entered + after * MINUTE_US,
                {
                    "device_key": _named("k1:", device),
                    "store_id": _named("s", store),
                    "decision_id": _named(transition, number),
                    "transition": transition,
                    "promotion_id": _named("p", store % 5),
                    "outcome": "sent" if transition == "ENTER" else "not_sent",
                    "reason": None if transition == "ENTER" else "wrong_trigger",
                    "entered_at": pl.Series(entered).cast(INSTANT),
                    "left_at": pl.Series(entered + 20 * MINUTE_US).cast(INSTANT) if transition == "EXIT" else None,
                    "entered_date": day,
                },
            )
            for transition, after in (("ENTER", 0), ("DWELL", 5), ("EXIT", 20))
        ]
        rows = pl.concat(parts)
        is_held_out = (pl.col("transition") == "ENTER") & (pl.col("device_key").hash() % 10 == 0)
        return rows.with_columns(
            outcome=pl.when(is_held_out).then(pl.lit("not_sent")).otherwise("outcome"),
            reason=pl.when(is_held_out).then(pl.lit("held_out")).otherwise("reason"),
        )

    def _instants(self, day: date, rows: int, minutes: tuple[int, int]) -> np.ndarray:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        first, last = (round(midnight.timestamp() * 1e6) + at * MINUTE_US for at in minutes)
        return np.sort(self._random.integers(first, last, rows)) // 1_000_000 * 1_000_000

    def _rows(self, table: Table, day: date, at_us: np.ndarray, more: dict[str, object]) -> pl.DataFrame:
        at = pl.Series(at_us).cast(INSTANT)
        number = np.arange(at_us.size)
        values: dict[str, object] = {
            "device_key": _named("k1:", self._random.integers(0, DEVICES, at_us.size)),
            "store_id": _named("s", self._random.integers(0, STORES, at_us.size)),
            "latitude": self._random.uniform(51.3, 51.7, at_us.size),
            "longitude": self._random.uniform(-0.4, 0.2, at_us.size),
            "location": _named("l", number % 20),
            "merchant": _named("m", number % 7),
            "distance_m": 20.0,
            "hub": "hub",
            "partition_id": "0",
            "sequence_number": number,
            "source_file": unique("file"),
            "capture_date": day,
            "event_date": day,
            **dict.fromkeys(("tracked_at", "enqueued_at", "decided_at"), at),
        } | more
        frame = pl.DataFrame({name: values[name] for name in table.schema if name in values}, strict=False)
        return frame.select(
            (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
            for name, dtype in table.schema.items()
        )


def _named(prefix: str, numbers: np.ndarray) -> pl.Series:
    return pl.Series(numbers).cast(pl.String).str.replace("^", prefix)


def add(tables: DeltaTables, table: Table, rows: pl.DataFrame) -> None:
    with tables.append_file(table, unique("file")) as file:
        file.add(rows)
        file.commit()


def add_history(tables: DeltaTables, days: int, source: Days) -> None:
    """Closed days, and today until noon."""
    for back in range(days, -1, -1):
        day, minutes = TODAY - timedelta(days=back), (0, 1_380 if back else 720)
        add(tables, PINGS, source.pings(day, PINGS_A_DAY, minutes))
        add(tables, GPS_ENRICHED, source.near(day, NEAR_A_DAY, minutes))
        add(tables, DECISIONS, source.decisions(day, VISITS_A_DAY, minutes))


def add_capture_files(tables: DeltaTables, source: Days, number: int) -> None:
    """One file of each hub: the last minute."""
    minutes = (720 + number, 721 + number)
    add(tables, PINGS, source.pings(TODAY, 500, minutes))
    add(tables, GPS_ENRICHED, source.near(TODAY, 250, minutes))
    add(tables, DECISIONS, source.decisions(TODAY, 50, minutes))


def main(history: int) -> None:
    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as folder:
        lakes = {
            days: DeltaTables(LakeStorage.in_folder(Path(folder) / str(days)), remembered=REMEMBERED)
            for days in (SHORT, history)
        }
        source = Days(7)
        for days, tables in lakes.items():
            add_history(tables, days, source)
            began = time.perf_counter()
            GoldBuilder(tables).build()
            say(f"{days} days: everything built in {time.perf_counter() - began:.1f} s")
        taken: dict[int, list[float]] = {days: [] for days in lakes}
        for number in range(ROUNDS):
            for days, tables in lakes.items():
                add_capture_files(tables, source, number)
                began = time.perf_counter()
                GoldBuilder(tables).build()
                taken[days].append(time.perf_counter() - began)
    short, long = (statistics.median(taken[days][1:]) for days in (SHORT, history))
    for days, seconds in taken.items():
        say(f"{days} days: {', '.join(f'{one:.2f}' for one in seconds)} s")
    say(f"one new capture file of each hub: {long:.2f} s over {history} days, {short:.2f} s over {SHORT}")
    say(f"ratio {long / short:.2f}; allowed 1.5")
    record(
        "gold_incremental", long, "s", short, f"one new capture file a hub over {history} days; baseline: over {SHORT}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else HISTORY)
