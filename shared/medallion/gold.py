"""What a gold table is: its rows by period, computed from other tables, so that a changed period can be done again."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from shared.medallion.periods import Grain
from shared.medallion.tables import Table


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A table that a gold table is computed from, and its instant that says which period a row belongs to."""

    table: Table
    instant: str


@dataclass(frozen=True, slots=True, eq=False)
class GoldTable:
    """A gold table and how it is computed: `build` takes the rows of each source in the periods wanted.

    Rows of one period depend on the source rows of that period only. With `grain` None the whole table is one period.
    """

    table: Table
    grain: Grain | None
    sources: tuple[Source, ...]
    build: Callable[..., pl.LazyFrame]


def by_hour(instant: str) -> tuple[pl.Expr, pl.Expr]:
    """The keys of an hourly table: event_date (UTC in this version) and hour, its start."""
    hour = Grain.HOUR.start_of(pl.col(instant))
    return hour.dt.date().alias("event_date"), hour.alias("hour")
