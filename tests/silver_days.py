"""Rows of silver as days of a city's stores leave them: for benchmarks and for builds that are compared."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from shared.medallion.captures import CAPTURES
from shared.medallion.decisions import DECISIONS
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.pings import PINGS
from shared.medallion.receipts import RECEIPTS
from shared.medallion.tables import INSTANT, Table
from tests.fakes_lake import unique

MINUTE_US = 60_000_000


class Days:
    """Rows of silver tables of some minutes of a day, as a capture file of these minutes would give them."""

    def __init__(self, seed: int, devices: int, stores: int) -> None:
        self._random = np.random.default_rng(seed)
        self._devices, self._stores = devices, stores

    def pings(self, day: date, rows: int, minutes: tuple[int, int]) -> pl.DataFrame:
        return self._rows(PINGS, day, self._instants(day, rows, minutes), {"delay_s": 2.0, "is_duplicate": False})

    def near(self, day: date, rows: int, minutes: tuple[int, int]) -> pl.DataFrame:
        return self._rows(GPS_ENRICHED, day, self._instants(day, rows, minutes), {})

    def decisions(self, day: date, visits: int, minutes: tuple[int, int]) -> pl.DataFrame:
        """ENTER, DWELL after 5 minutes and EXIT after 20, for a promotion that is sent to 9 of 10."""
        entered = self._instants(day, visits, minutes)
        number = self._random.integers(0, 1 << 40, visits)
        device, store = self._random.integers(0, self._devices, visits), self._random.integers(0, self._stores, visits)
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

    def receipts(self, decisions: pl.DataFrame) -> pl.DataFrame:
        """What became of the offers among these decisions, some of it said twice."""
        offered = decisions.filter(pl.col("outcome") == "sent").with_columns(
            receipt_id=pl.lit("r") + pl.col("decision_id"),
            offer_id=pl.lit("o") + pl.col("decision_id"),
            receipt_at=pl.col("decided_at") + pl.duration(seconds=2),
            offered_at="decided_at",
            outcome=pl.when(pl.col("device_key").hash() % 4 == 0)
            .then(pl.lit("expired"))
            .otherwise(pl.lit("delivered")),
            attempts=pl.lit(1, pl.Int64),
            status=pl.lit(200, pl.Int64),
        )
        return pl.concat([offered, offered.head(3)]).match_to_schema(RECEIPTS.schema, extra_columns="ignore")

    def captures(self, day: date, minutes: tuple[int, int]) -> pl.DataFrame:
        """The ledger's row of one capture file."""
        (at_us,) = self._instants(day, 1, minutes)
        at = pl.Series([at_us]).cast(INSTANT)
        times = dict.fromkeys(("window_start", "captured_at", "first_enqueued_at", "last_enqueued_at"), at)
        refined = {"refined_at": at + timedelta(seconds=3), "bytes": 1000, "events": 10}
        return self._rows(CAPTURES, day, np.array([at_us]), {**times, **refined})

    def _instants(self, day: date, rows: int, minutes: tuple[int, int]) -> np.ndarray:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        first, last = (round(midnight.timestamp() * 1e6) + at * MINUTE_US for at in minutes)
        return np.sort(self._random.integers(first, last, rows)) // 1_000_000 * 1_000_000

    def _rows(self, table: Table, day: date, at_us: np.ndarray, more: dict[str, object]) -> pl.DataFrame:
        at = pl.Series(at_us).cast(INSTANT)
        number = np.arange(at_us.size)
        values: dict[str, object] = {
            "device_key": _named("k1:", self._random.integers(0, self._devices, at_us.size)),
            "store_id": _named("s", self._random.integers(0, self._stores, at_us.size)),
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
