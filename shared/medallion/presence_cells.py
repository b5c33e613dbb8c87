"""Presence cells: the smallest groups that gold may tell something about, and the rows in those that it tells.

A cell is a store in an hour, UTC, of one of its dates (where the zone is off by half an hour, an hour lies in two). Its
devices are the distinct ones among its pings and the visits that began in it. Rows of a cell of fewer than
GOLD_MIN_DEVICES devices count nowhere: not in the day's total, and not in whether somebody came again; so no total,
complement or earlier version can give them away.
"""

from dataclasses import dataclass

import polars as pl

from shared.medallion.gold import BuildContext
from shared.medallion.periods import Grain

CELL = ("event_date", "hour", "store_id")


@dataclass(frozen=True, slots=True, eq=False)
class Presences:
    """Rows of silver.gps_enriched and silver.visits, each with the `hour` of its cell."""

    pings: pl.LazyFrame
    visits: pl.LazyFrame

    @classmethod
    def of(cls, enriched: pl.LazyFrame, visits: pl.LazyFrame) -> "Presences":
        """A ping lies in the hour of its tracked_at, a visit in that of its entered_at."""
        hour = Grain.HOUR.start_of
        return cls(
            enriched.with_columns(hour=hour(pl.col("tracked_at"))),
            visits.with_columns(hour=hour(pl.col("entered_at"))),
        )

    def devices(self, *keys: str) -> pl.LazyFrame:
        """How many distinct devices there are, by *keys*."""
        return _count_devices([self.pings, self.visits], keys)

    def shown(self, context: BuildContext) -> "Presences":
        """The rows that gold may count."""
        if context.min_devices == 1:
            return self
        cells = _large(context, self.devices(*CELL))
        return Presences(_within(cells, self.pings), _within(cells, self.visits))


def known_visits(context: BuildContext, visits: pl.LazyFrame) -> pl.LazyFrame:
    """The visits that a later one may be called a return from, each with the `hour` of its cell.

    Those of cells that visits alone make large enough: the pings of four weeks need not be read to know it, and such a
    cell is a shown one.
    """
    visits = visits.with_columns(hour=Grain.HOUR.start_of(pl.col("entered_at")))
    if context.min_devices == 1:
        return visits
    return _within(_large(context, _count_devices([visits], CELL)), visits)


def _large(context: BuildContext, cells: pl.LazyFrame) -> pl.LazyFrame:
    return cells.filter(pl.col("devices") >= context.min_devices)


def _count_devices(parts: list[pl.LazyFrame], keys: tuple[str, ...]) -> pl.LazyFrame:
    rows = pl.concat([part.select(*keys, "device_key") for part in parts])
    return rows.unique().group_by(keys).agg(devices=pl.len().cast(pl.Int64))


def _within(cells: pl.LazyFrame, rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.join(cells, on=CELL, how="semi", nulls_equal=True)
