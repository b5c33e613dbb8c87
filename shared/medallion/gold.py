"""What a derived table is: its rows, computed from other tables, and how a change of those becomes a change of it.

There are two ways. `Periods` of the table are computed again and replaced (`GoldTable`); a total is moved by what came
and went (`RunningSum`). Each is computed by a pure function of frames, so that a build of all of history and many small
builds end in the same rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import polars as pl

from shared.medallion.periods import Grain
from shared.medallion.tables import Table

NO_EVENT = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What a computation may know besides its rows; it never asks a clock."""

    min_devices: int = 1
    """Rows about fewer have null measures, and what lies in them counts nowhere else; 1: nothing is withheld."""
    attribution_days: int = 7
    """How long after its assignment a device's new visit counts for a promotion."""
    newest: datetime = NO_EVENT
    """The latest enqueued instant in silver.pings when the build began; NO_EVENT while there is none."""


class Trigger(StrEnum):
    """Which changes of a source call for computing again."""

    ANY = "any"
    LATE = "late"
    """Those of periods that had ended `LATE_AFTER` before the newest event: what came in time is looked at by `Due`."""
    NONE = "none"


LATE_AFTER = timedelta(hours=4)
NO_TIME = timedelta(0)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A table that another is computed from, and its instant (or date) that says which period a row belongs to."""

    table: Table
    instant: str
    before: timedelta = NO_TIME
    """How long before a period its rows still matter to the period."""
    after: timedelta | Callable[[BuildContext], timedelta] = NO_TIME
    """How long after a period its rows still matter to the period; it may depend on the settings."""
    trigger: Trigger = Trigger.ANY

    def reach_after(self, context: BuildContext) -> timedelta:
        """`after` under these settings."""
        return self.after if isinstance(self.after, timedelta) else self.after(context)


@dataclass(frozen=True, slots=True, eq=False)
class Due:
    """Rows of the table itself that may have to be computed again since time has passed, whatever their sources say.

    They are looked at in each build that has seen newer events than the one before.
    """

    where: str
    """SQL that chooses the files which may hold such rows, by the log's statistics."""
    is_due: Callable[[BuildContext], pl.Expr]


@dataclass(frozen=True, slots=True, eq=False)
class GoldTable:
    """A table that is computed by periods: `build` takes the context and the rows of each source that matter to them.

    Rows of one period depend on nothing else. `period` is the column of the table that says which period a row is of.
    With `grain` None the whole table is one period. `build` may compute rows of other periods too; they are dropped.
    """

    table: Table
    grain: Grain | None
    sources: tuple[Source, ...]
    build: Callable[..., pl.LazyFrame]
    period: str = "event_date"
    due: Due | None = None
    remembers: bool = False
    """Whether rows depend on the table's own rows of earlier periods: `build` gets those of all other periods as its
    last frame, and a change has every later period computed again. So only what is first need be kept of the past."""


@dataclass(frozen=True, slots=True, eq=False)
class RunningSum:
    """Sums over all rows of a source, by `keys`; moved by the rows that came and went, not added up anew."""

    table: Table
    source: Source
    keys: tuple[str, ...]
    measures: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """The rows of a table that came and went between two of its versions."""

    came: pl.DataFrame
    went: pl.DataFrame


type Derived = GoldTable | RunningSum


def by_hour(instant: str) -> tuple[pl.Expr, pl.Expr]:
    """The keys of an hourly table of no store: event_date (UTC) and hour, its start."""
    hour = Grain.HOUR.start_of(pl.col(instant))
    return hour.dt.date().alias("event_date"), hour.alias("hour")
