"""Capture: the events of a hub, window by window, as Avro files in a container, each event in exactly one of them.

What has been captured stands in a small file beside the partition's log (`capture.json`), replaced as a whole. Before a
file is uploaded, the intent is written there: which events, which name, which sync marker. A process that is killed at
any moment finds the intent when it starts again and does the very same thing; that the upload was already done shows in
the blob's sync marker. Only then the progress is written. While the storage is away the events stay in the log, and
their windows are closed and uploaded in order when it is back.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import IO, Protocol

import msgspec

from infra.local.eventhubs.avro_container import CaptureFileWriter
from infra.local.eventhubs.capture_records import capture_record
from infra.local.eventhubs.capture_windows import (
    Progress,
    Window,
    blob_name,
    due_window,
    name_second,
    start_of_capture,
)
from infra.local.eventhubs.config import CaptureConfig
from infra.local.eventhubs.log import PartitionLog, replace_file
from shared.errors import ConfigurationError, LakeUnavailable

log = logging.getLogger(__name__)

_CHUNK_EVENTS = 100
_CHUNK_BYTES = 256 * 1024
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0
_LOOK_AGAIN_S = 1.0
_UPLOADS_AT_ONCE = 2


class Destination(Protocol):
    """A container for capture files."""

    async def prepare(self) -> None:
        """Make sure that the container is there. Raises LakeUnavailable."""

    async def put(self, name: str, stream: IO[bytes], length: int, sync_marker: bytes) -> bool:
        """Store a file. True when it is there (now, or since an earlier try); False when the name is another file's.

        Raises LakeUnavailable.
        """


@dataclass(frozen=True, slots=True)
class Intent:
    """A file that is to be written: the window's events, the second in its name, its sync marker."""

    window: Window
    name_second: int
    sync_marker: bytes


@dataclass(frozen=True, slots=True)
class Cursor:
    """What `capture.json` holds."""

    progress: Progress
    intent: Intent | None = None


class Outage:
    """Whether the storage is away: logged when it begins and when it is over, not at each try."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._since = 0.0

    def noticed(self, error: Exception) -> None:
        if self.reason is None:
            self._since = time.monotonic()
            log.warning("capture files wait, the storage does not take them: %s", error)
        self.reason = str(error)

    def over(self) -> None:
        if self.reason is not None:
            log.warning("the storage takes capture files again, after %.0f s", time.monotonic() - self._since)
        self.reason = None


class PartitionCapture:
    """Captures one partition: `run` it as a task, and call `appended` after each append to its log."""

    def __init__(
        self,
        events: PartitionLog,
        config: CaptureConfig,
        name_of: Callable[[int], str],
        destination: Destination,
        *,
        outage: Outage,
        uploads: asyncio.Semaphore,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`name_of` gives a file's name for the second that it is named by.

        Raises ConfigurationError when more was captured than the log holds.
        """
        self._log = events
        self._config = config
        self._name_of = name_of
        self._destination = destination
        self._outage = outage
        self._uploads = uploads
        self._now_ms = now_ms
        self._wake = asyncio.Event()
        self._waiting: list[asyncio.Future[int]] = []
        self._path = events.directory / "capture.json"
        self._cursor = self._load()

    def _load(self) -> Cursor:
        if not self._path.exists():
            cursor = Cursor(start_of_capture(self._log, self._now_ms()))
            replace_file(self._path, msgspec.json.encode(cursor))
            return cursor
        cursor = msgspec.json.decode(self._path.read_bytes(), type=Cursor)
        if cursor.progress.next_sequence_number > self._log.next_sequence_number:
            raise ConfigurationError(
                f"{self._path} says that event {cursor.progress.next_sequence_number - 1} was captured, but the log "
                f"ends with {self._log.next_sequence_number - 1}: files were lost; remove the data directory"
            )
        return cursor

    @property
    def next_sequence_number(self) -> int:
        """The first event that is not in a file yet; retention by size must keep it."""
        return self._cursor.progress.next_sequence_number

    @property
    def backlog(self) -> int:
        """How many events are in the log and not in a file."""
        return self._log.next_sequence_number - max(self.next_sequence_number, self._log.first_sequence_number)

    def appended(self) -> None:
        """The log has grown: wake up when that fills the window."""
        if self._log.next_offset - self._cursor.progress.next_offset >= self._config.size_limit_bytes:
            self._wake.set()

    async def flush(self) -> int:
        """Close the window now, wait until its file is stored, and return the last sequence number that is captured."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wake.set()
        return await done

    async def run(self) -> None:
        """Close and store window after window, until cancelled."""
        if self._cursor.intent is not None:
            log.info("finishing %s, which was begun before", self._name_of(self._cursor.intent.name_second))
            await self._carry_out(self._cursor.intent)
        while True:
            self._wake.clear()
            if window := self._due(flush=False):
                await self._close(window)
            elif self._waiting:
                await self._flush()
            else:
                await self._wait()

    def _due(self, *, flush: bool) -> Window | None:
        return due_window(self._log, self._cursor.progress, self._config, self._now_ms(), flush=flush)

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if window := self._due(flush=True):
            await self._close(window)
        for done in waiting:
            if not done.done():
                done.set_result(self.next_sequence_number - 1)

    async def _wait(self) -> None:
        """Until the window is over, the log grew enough or a flush was asked for; a clock that was set is seen soon."""
        over_ms = self._cursor.progress.window_start_ms + self._config.interval_ms
        seconds = min(max(over_ms - self._now_ms(), 0) / 1000, _LOOK_AGAIN_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _close(self, window: Window) -> None:
        progress = self._cursor.progress
        if not window.has_file:
            await self._save(Cursor(window.after(progress.newest_name_s)))
            return
        intent = Intent(window, name_second(window, progress), os.urandom(16))
        await self._save(Cursor(progress, intent))
        await self._carry_out(intent)

    async def _carry_out(self, intent: Intent) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with self._uploads:
                    stored = await self._upload(intent)
            except (LakeUnavailable, OSError) as error:  # OSError: no room for the temporary file
                self._outage.noticed(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                continue
            self._outage.over()
            if stored:
                break
            log.warning(
                "%s is there already and not ours; the file gets another name", self._name_of(intent.name_second)
            )
            intent = replace(intent, name_second=intent.name_second + 1)
            await self._save(Cursor(self._cursor.progress, intent))
        await self._save(Cursor(intent.window.after(intent.name_second)))

    async def _upload(self, intent: Intent) -> bool:
        await self._destination.prepare()
        name = self._name_of(intent.name_second)
        with CaptureFileWriter(intent.sync_marker) as writer:
            await self._add_events(writer, intent.window)
            stream, length = writer.finish()
            stored = await self._destination.put(name, stream, length, intent.sync_marker)
        if stored:
            log.info("captured %s: %d events, %d bytes", name, intent.window.end - intent.window.first, length)
        return stored

    async def _add_events(self, writer: CaptureFileWriter, window: Window) -> None:
        """A chunk at a time, since the broker serves its clients from the same event loop."""
        number = window.first
        while number < window.end:
            chunk = self._log.read(number, max_events=_CHUNK_EVENTS, max_bytes=_CHUNK_BYTES)
            writer.add(capture_record(event) for event in chunk if event.sequence_number < window.end)
            number = chunk[-1].sequence_number + 1 if chunk else window.end
            await asyncio.sleep(0)

    async def _save(self, cursor: Cursor) -> None:
        while True:
            try:
                replace_file(self._path, msgspec.json.encode(cursor))
                break
            except OSError as error:  # the disk is full; what is in the log and in the container stays as it is
                self._outage.noticed(error)
                await asyncio.sleep(_LONGEST_PAUSE_S)
        self._cursor = cursor


@dataclass(frozen=True, slots=True)
class CapturedHub:
    """A hub to capture."""

    name: str
    config: CaptureConfig
    partitions: tuple[PartitionLog, ...]
    destination: Destination


class Capture:
    """Captures all hubs that have Capture enabled: `run` it as a task."""

    def __init__(self, namespace: str, hubs: Iterable[CapturedHub]) -> None:
        """Raises ConfigurationError when more was captured than a log holds."""
        self.outage = Outage()
        uploads = asyncio.Semaphore(_UPLOADS_AT_ONCE)
        self.hubs: Mapping[str, tuple[PartitionCapture, ...]] = {
            hub.name: tuple(
                PartitionCapture(
                    events,
                    hub.config,
                    _naming(namespace, hub, partition_id),
                    hub.destination,
                    outage=self.outage,
                    uploads=uploads,
                )
                for partition_id, events in enumerate(hub.partitions)
            )
            for hub in hubs
        }

    async def run(self) -> None:
        """Capture until cancelled. Raises LogCorrupt (in a group) when a log is damaged."""
        async with asyncio.TaskGroup() as tasks:
            for partitions in self.hubs.values():
                for partition in partitions:
                    tasks.create_task(partition.run())

    def appended(self, hub: str, partition_id: int) -> None:
        """A partition's log has grown."""
        if partitions := self.hubs.get(hub):
            partitions[partition_id].appended()

    async def flush(self, hubs: Iterable[str]) -> dict[str, dict[str, int]]:
        """Close the windows of these hubs now; when all is stored, the last captured number by hub and partition."""
        asked = [(hub, partition_id) for hub in hubs for partition_id in range(len(self.hubs[hub]))]
        captured = await asyncio.gather(*(self.hubs[hub][partition_id].flush() for hub, partition_id in asked))
        result: dict[str, dict[str, int]] = {}
        for (hub, partition_id), through in zip(asked, captured, strict=True):
            result.setdefault(hub, {})[str(partition_id)] = through
        return result


def _naming(namespace: str, hub: CapturedHub, partition_id: int) -> Callable[[int], str]:
    return lambda second: blob_name(
        hub.config.name_format, namespace=namespace, hub=hub.name, partition_id=str(partition_id), second=second
    )
