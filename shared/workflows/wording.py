"""Times, durations and hours as people read them. Instants are microseconds since 1970 UTC."""

from collections.abc import Iterable

from shared.domain.local_time import MINUTES_A_DAY, WeeklyHours, Window, local_time

SECOND_US = 1_000_000
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_NEIGHBOURS = {-1: ", the day before", 0: ", the same day", 1: ", that is tomorrow"}


def clock(instant_us: int, seen_from_us: int) -> str:
    """The time of day in UTC, with the date where it is not that of the other instant: `12:04:10`."""
    at, here = local_time(instant_us, "UTC"), local_time(seen_from_us, "UTC")
    return f"{at:%H:%M:%S}" if at.date() == here.date() else f"{at:%Y-%m-%d %H:%M:%S}"


def instant_in_words(instant_us: int) -> str:
    """Date and time in UTC: `2026-11-24 12:04:10 UTC`."""
    return f"{local_time(instant_us, 'UTC'):%Y-%m-%d %H:%M:%S} UTC"


def span_in_words(start_us: int, end_us: int) -> str:
    """From an instant to another, the date said once where it is the same."""
    start, end = local_time(start_us, "UTC"), local_time(end_us, "UTC")
    until = f"{end:%H:%M:%S}" if start.date() == end.date() else f"{end:%Y-%m-%d %H:%M:%S}"
    return f"{start:%Y-%m-%d %H:%M:%S} to {until} UTC"


def local_in_words(instant_us: int, time_zone: str) -> str:
    """Weekday and time on a store's wall: `Tue 18:04 (Europe/London)`; UTC where no zone is known."""
    local = local_time(instant_us, time_zone or "UTC")
    return f"{WEEKDAYS[local.weekday()]} {local:%H:%M} ({time_zone or 'UTC'})"


def date_in_words(instant_us: int, time_zone: str, *, seen_from_us: int) -> str:
    """Date and time on a store's wall, and which day that was as seen from another instant."""
    zone = time_zone or "UTC"
    local, here = local_time(instant_us, zone), local_time(seen_from_us, zone)
    day = _NEIGHBOURS.get((local.date() - here.date()).days, "")
    return f"{local:%Y-%m-%d %H:%M} ({zone}){day}"


def duration(span_us: int) -> str:
    """The two largest units that say something: `2 min 35 s`, `4 h`; below a second `0 s`."""
    rest = abs(span_us) // SECOND_US
    parts: list[str] = []
    for name, seconds in _UNITS:
        count, rest = divmod(rest, seconds)
        if count:
            parts.append(f"{count} {name}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"


def window_in_words(window: Window) -> str:
    """`22:00-07:00`."""
    return f"{_minute(window.from_minute)}-{_minute(window.to_minute)}"


def hours_in_words(hours: WeeklyHours) -> str:
    """`Mon-Fri 07:00-11:00, Sat 09:00-12:00`."""
    return ", ".join(f"{_days(item.days)} {window_in_words(item.window)}".strip() for item in hours.windows)


def metres(distance_m: float) -> str:
    """`12 m`, `3.4 km`."""
    return f"{distance_m:.0f} m" if distance_m < 1_000 else f"{distance_m / 1_000:,.1f} km"


def plural(count: int, noun: str) -> str:
    """`1 ping`, `2 pings`, `no pings`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}" if count else f"no {noun}s"


def _minute(minute: int) -> str:
    return "24:00" if minute == MINUTES_A_DAY else f"{minute // 60:02}:{minute % 60:02}"


def _days(days: Iterable[int]) -> str:
    """Runs of days with a dash; nothing for every day."""
    left = sorted(days)
    if len(left) == len(WEEKDAYS):
        return ""
    runs: list[list[int]] = []
    for day in left:
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ", ".join(_run([WEEKDAYS[day] for day in run]) for run in runs)


def _run(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]}-{names[-1]}"
