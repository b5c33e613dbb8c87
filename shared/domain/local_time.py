"""Local time: what the clock on a store's wall shows, by the IANA time zone database.

Windows compare wall-clock times, so an hour that a clock change repeats counts twice, and one that it skips never.
"""

from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTES_A_DAY = 24 * 60
ALL_DAYS = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class Window:
    """From a minute of the day until just before another; the end may lie on the next day. Minute 1440 is 24:00."""

    from_minute: int
    to_minute: int

    def __post_init__(self) -> None:
        if not (0 <= self.from_minute < MINUTES_A_DAY and 0 <= self.to_minute <= MINUTES_A_DAY):
            raise ValueError(f"{self} is no window of a day; valid minutes are 0 to {MINUTES_A_DAY}")
        if self.from_minute == self.to_minute:
            raise ValueError(f"{self} is empty; a whole day is 0 to {MINUTES_A_DAY}")

    @property
    def spans_midnight(self) -> bool:
        """Whether it ends on the day after the one on which it began."""
        return self.to_minute < self.from_minute

    def contains(self, minute: int) -> bool:
        """Whether that minute of a day is in the window, whichever day it began on."""
        if self.spans_midnight:
            return minute >= self.from_minute or minute < self.to_minute
        return self.from_minute <= minute < self.to_minute


@dataclass(frozen=True, slots=True)
class DayWindow:
    """A window that begins on certain days of the week (0 is Monday)."""

    days: frozenset[int]
    window: Window

    def contains(self, local: datetime) -> bool:
        """Whether the local time is in a window that began on one of the days."""
        minute = minute_of_day(local)
        if not self.window.contains(minute):
            return False
        began_yesterday = self.window.spans_midnight and minute < self.window.to_minute
        return (local.weekday() - began_yesterday) % 7 in self.days


@dataclass(frozen=True, slots=True)
class WeeklyHours:
    """When in the week something is on: in any of the windows."""

    windows: tuple[DayWindow, ...]

    def contains(self, local: datetime) -> bool:
        """Whether the local time is in one of the windows."""
        return any(window.contains(local) for window in self.windows)


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The zone of that IANA name. Raises zoneinfo.ZoneInfoNotFoundError."""
    return ZoneInfo(name)


def local_time(instant_us: int, time_zone: str) -> datetime:
    """What the clock shows there at that instant (microseconds since 1970 UTC)."""
    return datetime.fromtimestamp(instant_us // 1_000_000, zone(time_zone))


def minute_of_day(local: datetime) -> int:
    """The minute that the clock shows, 0 to 1439."""
    return local.hour * 60 + local.minute


def local_date(instant_us: int, time_zone: str) -> date:
    """Which day it is there at that instant."""
    return local_time(instant_us, time_zone).date()
