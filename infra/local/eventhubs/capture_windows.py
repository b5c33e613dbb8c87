"""When a capture window closes, which events it holds and what its file is called: pure decisions over a log.

A window of a partition begins where the one before it ended. It closes when its interval is over (it holds what was
enqueued before that instant) or when its records reach the size limit (with the event that reaches it), whichever comes
first. Both are read from the log, not from when somebody looked, so windows that are closed late (after an outage of
the storage, after a restart) are the same that would have been closed in time.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from infra.local.eventhubs.config import CaptureConfig
from infra.local.eventhubs.log import PartitionLog


@dataclass(frozen=True, slots=True)
class Progress:
    """How far Capture has come in a partition.

    The next window begins at `window_start_ms` with the event `next_sequence_number`, whose record is at `next_offset`;
    `newest_name_s` is the second that the newest file is named by (-1: there is none).
    """

    next_sequence_number: int
    next_offset: int
    window_start_ms: int
    newest_name_s: int = -1


@dataclass(frozen=True, slots=True)
class Window:
    """A closed window: the events from `first` to before `end`, and where the next one begins."""

    start_ms: int
    first: int
    end: int
    end_offset: int
    next_start_ms: int
    has_file: bool

    def after(self, newest_name_s: int) -> Progress:
        """The progress when this window is done."""
        return Progress(self.end, self.end_offset, self.next_start_ms, newest_name_s)


def start_of_capture(log: PartitionLog, now_ms: int) -> Progress:
    """Capture begins with the events that arrive after it was enabled."""
    return Progress(log.next_sequence_number, log.next_offset, now_ms)


def due_window(
    log: PartitionLog, progress: Progress, config: CaptureConfig, now_ms: int, *, flush: bool
) -> Window | None:
    """The oldest window that is over; with `flush`, the open one when no other is. None when all are open."""
    progress = _without_lost(log, progress)
    over_ms = progress.window_start_ms + config.interval_ms
    by_size = _end_by_size(log, progress, config)
    by_time = _end_by_time(log, progress, over_ms) if now_ms >= over_ms else None
    if by_size is not None and (by_time is None or by_size <= by_time):
        (newest,) = log.read(by_size - 1, max_events=1, max_bytes=1)
        return _window(log, progress, by_size, max(newest.enqueued_ms, progress.window_start_ms), config)
    if by_time is not None:
        if by_time == progress.next_sequence_number and now_ms >= over_ms + config.interval_ms:
            return _pass_empty_windows(log, progress, config, now_ms)
        return _window(log, progress, by_time, over_ms, config)
    if flush:
        return _window(log, progress, log.next_sequence_number, now_ms, config)
    return None


def _without_lost(log: PartitionLog, progress: Progress) -> Progress:
    """Retention may have taken events that were not captured."""
    first = log.first_sequence_number
    if progress.next_sequence_number >= first:
        return progress
    return replace(progress, next_sequence_number=first, next_offset=log.offset_of(first))


def _end_by_size(log: PartitionLog, progress: Progress, config: CaptureConfig) -> int | None:
    limit = progress.next_offset + config.size_limit_bytes
    return log.position_after_offset(limit, inclusive=True) if log.next_offset >= limit else None


def _end_by_time(log: PartitionLog, progress: Progress, over_ms: int) -> int:
    return max(progress.next_sequence_number, log.position_after_time(over_ms, inclusive=True))


def _pass_empty_windows(log: PartitionLog, progress: Progress, config: CaptureConfig, now_ms: int) -> Window:
    """Several windows went by without an event (the process was down): they get no file, and the next one is sought."""
    first = progress.next_sequence_number
    waiting = log.read(first, max_events=1, max_bytes=1)
    until_ms = min(now_ms, waiting[0].enqueued_ms) if waiting else now_ms
    passed_ms = (until_ms - progress.window_start_ms) // config.interval_ms * config.interval_ms
    return Window(
        progress.window_start_ms,
        first,
        first,
        progress.next_offset,
        next_start_ms=progress.window_start_ms + passed_ms,
        has_file=False,
    )


def _window(log: PartitionLog, progress: Progress, end: int, next_start_ms: int, config: CaptureConfig) -> Window:
    first = progress.next_sequence_number
    return Window(
        progress.window_start_ms,
        first,
        end,
        log.offset_of(end),
        next_start_ms,
        has_file=end > first or not config.skip_empty,
    )


def name_second(window: Window, progress: Progress) -> int:
    """The second that the window's file is named by: its start, or the next one that no file has."""
    return max(window.start_ms // 1000, progress.newest_name_s + 1)


def blob_name(name_format: str, *, namespace: str, hub: str, partition_id: str, second: int) -> str:
    """The name of a capture file for a window that started at a second since 1970 UTC."""
    at = datetime.fromtimestamp(second, UTC)
    return (
        name_format.format(
            Namespace=namespace,
            EventHub=hub,
            PartitionId=partition_id,
            Year=f"{at.year:04d}",
            Month=f"{at.month:02d}",
            Day=f"{at.day:02d}",
            Hour=f"{at.hour:02d}",
            Minute=f"{at.minute:02d}",
            Second=f"{at.second:02d}",
        )
        + ".avro"
    )
