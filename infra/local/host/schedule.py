"""NCRONTAB schedules of timer triggers: six fields `{second} {minute} {hour} {day} {month} {day of week}`, in UTC.

Five fields mean second 0. Where both the day and the day of week are given, both must match (NCrontab's rule; Unix cron
takes either). Source: atifaziz/NCrontab, which the host uses.
"""

import re
from datetime import datetime, timedelta

from cronsim import CronSim, CronSimError

_TIME_SPAN = re.compile(r"(\d+\.)?\d{1,2}:\d{2}(:\d{2})?")
# Unix cron knows these, NCRONTAB does not: L, W, # and Sunday as 7.
_FOREIGN = re.compile(r"[#LW]|^7$|-7$")
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 (a place to start parsing from; no instant)


class Schedule:
    """A parsed NCRONTAB expression; raises ValueError that says what is wrong with it."""

    def __init__(self, expression: str) -> None:
        self.expression = expression.strip()
        if _TIME_SPAN.fullmatch(self.expression):
            raise ValueError(
                f"schedule {expression!r} is a time span, which only App Service plans know; write six NCRONTAB fields"
            )
        fields = self.expression.split()
        if len(fields) not in (5, 6):
            raise ValueError(
                f"schedule {expression!r} has {len(fields)} fields; "
                "NCRONTAB has six: second minute hour day month weekday"
            )
        day, _, weekday = fields[-3:]
        names_gone = re.sub(r"[A-Za-z]{3,}", "", f"{day} {weekday}").upper().split()
        if any(_FOREIGN.search(part) for part in names_gone):
            raise ValueError(f"schedule {expression!r} uses L, W, # or weekday 7, which NCRONTAB does not know")
        self._fields = " ".join(fields)
        self.next_after(_EPOCH)

    def next_after(self, instant: datetime) -> datetime:
        """The first time of the schedule that is later than `instant`, in the zone of `instant`."""
        try:
            times = CronSim(self._fields, instant)
            times.day_and = True
            return next(times)
        except (CronSimError, StopIteration) as error:
            raise ValueError(f"schedule {self.expression!r}: {error or 'it never comes'}") from error

    def interval_after(self, instant: datetime) -> timedelta:
        """The time between the next two runs."""
        first = self.next_after(instant)
        return self.next_after(first) - first
