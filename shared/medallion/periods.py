"""Periods: which hours or days of a gold table are to be computed again."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise

import polars as pl

from shared.medallion.tables import INSTANT

MOST_SPANS = 16
"""Periods that lie apart are joined down to this many spans: a condition of more would cost more than it saves."""

EARLIEST_EVENT = timedelta(days=9)
"""How long before its capture date an event may have happened: 7 days late, a day for the window's start, and one for
the store's zone, where the date is a store's."""
LATEST_EVENT = timedelta(days=3)
"""How long after the start of its capture date: the day itself, a day for 5 minutes of a fast clock and the window's
length, and one for the store's zone."""

END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)

Span = tuple[datetime, datetime]
"""From an instant to another, the end exclusive."""


class Grain(StrEnum):
    """How long the periods of a table are."""

    HOUR = "1h"
    DAY = "1d"

    @property
    def length(self) -> timedelta:
        return timedelta(hours=1) if self is Grain.HOUR else timedelta(days=1)

    def floor(self, instant: datetime) -> datetime:
        """The start of the period that an instant (UTC) lies in."""
        of_hour = instant.replace(minute=0, second=0, microsecond=0)
        return of_hour if self is Grain.HOUR else of_hour.replace(hour=0)

    def start_of(self, instant: pl.Expr) -> pl.Expr:
        """The start of the period that an instant lies in, UTC; a date is the instant at which it begins there."""
        return instant.cast(INSTANT).dt.truncate(self.value)


@dataclass(frozen=True, slots=True)
class Periods:
    """Spans of whole periods: in order, disjoint, not adjacent; at most MOST_SPANS of them."""

    spans: tuple[Span, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.spans)

    @classmethod
    def of(cls, grain: Grain, starts: Iterable[datetime]) -> "Periods":
        """The periods that start at the given instants."""
        return cls(_joined((start, start + grain.length) for start in starts))

    @classmethod
    def of_captures(cls, capture_dates: Iterable[date]) -> "Periods":
        """Whole days: every one that an event captured on these dates may have happened on."""
        days = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in capture_dates)
        return cls(_joined((day - EARLIEST_EVENT, day + LATEST_EVENT) for day in days))

    @classmethod
    def of_dates(cls, dates: Iterable[date]) -> "Periods":
        """These days, UTC."""
        return cls.of(Grain.DAY, (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in dates))

    def widened(self, grain: Grain, before: timedelta, after: timedelta) -> "Periods":
        """Whole periods that reach so much farther."""
        return Periods(
            _joined(
                (grain.floor(start - before), grain.floor(end + after - _INSTANT) + grain.length)
                for start, end in self.spans
            )
        )

    def and_later(self) -> "Periods":
        """These periods and all time after them."""
        return Periods(((self.spans[0][0], END_OF_TIME),)) if self.spans else self

    def ended(self, grain: Grain, at: datetime) -> "Periods":
        """Those periods that have ended by then."""
        latest = grain.floor(at)
        return Periods(tuple((start, min(end, latest)) for start, end in self.spans if start < latest))

    def __or__(self, other: "Periods") -> "Periods":
        return Periods(_joined((*self.spans, *other.spans)))

    def hold(self, instant: pl.Expr) -> pl.Expr:
        """Whether an instant, or the start of a date, lies in one of the periods."""
        at = instant.cast(INSTANT)
        return pl.any_horizontal(pl.lit(value=False), *((at >= start) & (at < end) for start, end in self.spans))

    def meet(self, first: pl.Expr, last: pl.Expr) -> pl.Expr:
        """Whether anything from one instant to another, both included, may lie in one of the periods."""
        return pl.any_horizontal(pl.lit(value=False), *((first < end) & (last >= start) for start, end in self.spans))

    @property
    def earliest_capture(self) -> date:
        """The first capture date that may hold an event of these periods; raises ValueError when there is none."""
        if not self.spans:
            raise ValueError("no period has no first capture date")
        return (self.spans[0][0] - timedelta(days=2)).date()  # one for a fast clock, one for the store's zone


_INSTANT = timedelta(microseconds=1)


def _joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Overlapping and adjacent spans as one; then those with the shortest gaps, until few enough are left."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    if len(joined) <= MOST_SPANS:
        return tuple(joined)
    gaps = sorted(range(1, len(joined)), key=lambda row: joined[row][0] - joined[row - 1][1], reverse=True)
    cuts = [0, *sorted(gaps[: MOST_SPANS - 1]), len(joined)]
    return tuple((joined[first][0], joined[after - 1][1]) for first, after in pairwise(cuts))
