"""Capture: windows by time and by size, names, records; each event in exactly one file whatever happens."""

import asyncio
import io
import logging
import shutil
import struct
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.eventhubs.capture import Capture, CapturedHub
from infra.local.eventhubs.capture_records import capture_record, us_culture_time
from infra.local.eventhubs.capture_windows import Progress, Window, blob_name, due_window, start_of_capture
from infra.local.eventhubs.codec import Encoded, Symbol, Timestamp, ULong
from infra.local.eventhubs.config import DEFAULT_NAME_FORMAT, CaptureConfig
from infra.local.eventhubs.log import PartitionLog, StoredEvent
from infra.local.eventhubs.messages import (
    APPLICATION_PROPERTIES,
    DATA,
    MESSAGE_ANNOTATIONS,
    PROPERTIES,
    SEQUENCE,
    VALUE,
    section,
)
from shared.errors import ConfigurationError, LakeUnavailable

NOON_MS = int(datetime(2026, 3, 9, 12, 0, 0, tzinfo=UTC).timestamp()) * 1000
CONFIG = CaptureConfig(
    interval_ms=60_000, size_limit_bytes=10**9, skip_empty=True, container="bronze", name_format=DEFAULT_NAME_FORMAT
)


class Clock:
    def __init__(self) -> None:
        self.now = NOON_MS

    def __call__(self) -> int:
        return self.now


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="log")
def _log(tmp_path: Path, clock: Clock) -> Iterator[PartitionLog]:
    log = PartitionLog(tmp_path, now_ms=clock)
    yield log
    log.close()


def data(body: bytes) -> bytes:
    return section(DATA, body)


def closed_windows(log: PartitionLog, config: CaptureConfig, progress: Progress, now_ms: int) -> list[Window]:
    windows = []
    while window := due_window(log, progress, config, now_ms, flush=False):
        windows.append(window)
        progress = window.after(progress.newest_name_s)
    return windows


# ------------------------------------------------------------------------------------------------------------- windows


def test_a_window_is_over_after_its_interval_and_holds_what_was_enqueued_in_it(log: PartitionLog, clock: Clock) -> None:
    progress = start_of_capture(log, clock.now)
    for second in (0, 30, 59, 60, 61):
        clock.now = NOON_MS + second * 1000
        log.append([(data(b"x"), None)])
    assert due_window(log, progress, CONFIG, NOON_MS + 59_999, flush=False) is None
    (window,) = closed_windows(log, CONFIG, progress, NOON_MS + 61_000)
    assert (window.start_ms, window.first, window.end, window.next_start_ms) == (NOON_MS, 0, 3, NOON_MS + 60_000)


def test_a_window_is_over_when_its_records_reach_the_size_limit(log: PartitionLog, clock: Clock) -> None:
    progress = start_of_capture(log, clock.now)
    for _ in range(10):
        clock.now += 1000
        log.append([(data(b"x" * 65), None)])  # a record of 100 bytes
    windows = closed_windows(log, replace(CONFIG, size_limit_bytes=250), progress, clock.now)
    assert [(window.first, window.end) for window in windows] == [(0, 3), (3, 6), (6, 9)]
    assert [window.start_ms for window in windows] == [NOON_MS, NOON_MS + 3000, NOON_MS + 6000]


def test_what_is_reached_first_closes_the_window(log: PartitionLog, clock: Clock) -> None:
    progress = start_of_capture(log, clock.now)
    log.append([(data(b"x" * 65), None)] * 2)
    clock.now = NOON_MS + 61_000
    log.append([(data(b"x" * 65), None)] * 4)
    windows = closed_windows(log, replace(CONFIG, size_limit_bytes=300), progress, clock.now)
    assert [(window.first, window.end) for window in windows] == [(0, 2), (2, 5)]


def test_windows_that_are_closed_late_are_those_that_would_have_been_closed_in_time(
    log: PartitionLog, clock: Clock
) -> None:
    config = replace(CONFIG, interval_ms=10_000, size_limit_bytes=400)
    progress = in_time = start_of_capture(log, clock.now)
    windows = []
    for step in range(300):
        clock.now += 1000
        log.append([(data(b"x" * (step % 7)), None)] * (step % 3))
        windows += (new := closed_windows(log, config, in_time, clock.now))
        in_time = new[-1].after(-1) if new else in_time
    assert len(windows) > 20
    assert closed_windows(log, config, progress, clock.now) == windows


def test_an_empty_window_has_a_file_unless_empty_ones_are_skipped(log: PartitionLog) -> None:
    progress = start_of_capture(log, NOON_MS)
    for skip_empty in (True, False):
        (window,) = closed_windows(log, replace(CONFIG, skip_empty=skip_empty), progress, NOON_MS + 60_000)
        assert (window.first, window.end, window.has_file) == (0, 0, not skip_empty)


def test_empty_windows_that_went_by_while_nothing_ran_have_no_files(log: PartitionLog, clock: Clock) -> None:
    config = replace(CONFIG, skip_empty=False)
    progress = start_of_capture(log, clock.now)
    clock.now = NOON_MS + 3_630_000
    log.append([(data(b"x"), None)])
    windows = closed_windows(log, config, progress, NOON_MS + 3_660_000)
    assert [(window.has_file, window.start_ms) for window in windows] == [(False, NOON_MS), (True, NOON_MS + 3_600_000)]


def test_a_flush_closes_the_open_window_with_all_that_is_there(log: PartitionLog, clock: Clock) -> None:
    progress = start_of_capture(log, clock.now)
    log.append([(data(b"x"), None)] * 3)
    window = due_window(log, progress, CONFIG, NOON_MS + 5_000, flush=True)
    assert window is not None
    assert (window.first, window.end, window.next_start_ms) == (0, 3, NOON_MS + 5_000)


def test_capture_begins_with_what_arrives_after_it_was_enabled(log: PartitionLog, clock: Clock) -> None:
    log.append([(data(b"before"), None)])
    progress = start_of_capture(log, clock.now)
    log.append([(data(b"after"), None)])
    window = due_window(log, progress, CONFIG, clock.now, flush=True)
    assert window is not None
    assert (window.first, window.end) == (1, 2)


def test_what_retention_took_is_passed_over(tmp_path: Path, clock: Clock) -> None:
    log = PartitionLog(tmp_path, now_ms=clock)
    progress = start_of_capture(log, clock.now)
    log.append([(data(b"x" * 65), None)] * 9)
    clock.now += 7_200_000
    log.retain(retention_ms=3_600_000)
    log.append([(data(b"x" * 65), None)] * 2)
    windows = closed_windows(log, replace(CONFIG, size_limit_bytes=1000), progress, clock.now + 60_000)
    assert [(window.first, window.end) for window in windows if window.has_file] == [(9, 11)]


def test_a_file_is_named_by_the_start_of_its_window_in_utc() -> None:
    name = blob_name(
        DEFAULT_NAME_FORMAT, namespace="emulatorns1", hub="dev-readfrom", partition_id="3", second=NOON_MS // 1000 + 7
    )
    assert name == "emulatorns1/dev-readfrom/3/2026/03/09/12/00/07.avro"


# ------------------------------------------------------------------------------------------------------------- records


def record_of(*sections: bytes, key: str | None = None) -> Mapping[str, Any]:
    return capture_record(StoredEvent(5, 230, NOON_MS + 123, key, b"".join(sections)))


def test_a_record_says_what_the_services_files_say_of_an_event() -> None:
    assert record_of(data(b'{"device_id":"a"}'), key="a") == {
        "SequenceNumber": 5,
        "Offset": "230",
        "EnqueuedTimeUtc": "3/9/2026 12:00:00 PM",
        "SystemProperties": {"x-opt-partition-key": "a", "x-opt-enqueued-time": NOON_MS + 123},
        "Properties": {},
        "Body": b'{"device_id":"a"}',
    }


@pytest.mark.parametrize(
    ("at", "text"),
    [
        ((2022, 12, 9, 16, 51, 25), "12/9/2022 4:51:25 PM"),
        ((2020, 6, 25, 0, 7, 9), "6/25/2020 12:07:09 AM"),
        ((2026, 1, 2, 12, 0, 0), "1/2/2026 12:00:00 PM"),
        ((2026, 11, 30, 9, 59, 59), "11/30/2026 9:59:59 AM"),
    ],
)
def test_enqueued_time_is_us_culture_text_without_padding(at: tuple[int, ...], text: str) -> None:
    assert us_culture_time(int(datetime(*at, tzinfo=UTC).timestamp())) == text  # type: ignore[misc]


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 4_102_444_800))
def test_enqueued_time_is_read_back_to_the_second(seconds: int) -> None:
    read = datetime.strptime(us_culture_time(seconds), "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=UTC)
    assert read.timestamp() == seconds


def test_properties_have_the_types_that_avro_has() -> None:
    properties = {
        "long": 7,
        "negative": -(2**63),
        "too long": ULong(2**64 - 1),
        "double": Encoded(b"\x82" + struct.pack(">d", 0.5)),
        "text": "ü",
        "binary": b"\xff",
        "null": None,
        "bool": True,
        "time": Timestamp(NOON_MS),
        "uuid": UUID(int=1),
    }
    record = record_of(section(APPLICATION_PROPERTIES, properties), data(b""))
    assert record["Properties"] == {
        "long": 7,
        "negative": -(2**63),
        "too long": "18446744073709551615",
        "double": 0.5,
        "text": "ü",
        "binary": b"\xff",
        "null": None,
        "bool": "True",
        "time": NOON_MS,
        "uuid": "00000000-0000-0000-0000-000000000001",
    }
    assert [type(value) for value in record["Properties"].values()][:4] == [int, int, str, float]


def test_the_producers_own_annotations_are_system_properties() -> None:
    annotations = {Symbol("x-opt-mine"): 3, Symbol("nothing"): None, Symbol("list"): [1, {"a": b"b"}]}
    record = record_of(section(MESSAGE_ANNOTATIONS, annotations), data(b"x"))
    assert record["SystemProperties"] == {
        "x-opt-enqueued-time": NOON_MS + 123,
        "x-opt-mine": 3,
        "list": '[1,{"a":"Yg=="}]',
    }


@pytest.mark.parametrize(
    ("sections", "body"),
    [
        ([data(b"one"), data(b"two")], b"onetwo"),
        ([data(b"")], b""),
        ([section(VALUE, "text ü")], "text ü".encode()),
        ([section(VALUE, b"\x00\xff")], b"\x00\xff"),
        ([section(VALUE, None)], None),
        ([section(VALUE, {"a": [1, True, None]})], b'{"a":[1,true,null]}'),
        ([section(SEQUENCE, [1, "a"])], b'[1,"a"]'),
        ([section(SEQUENCE, [1]), section(SEQUENCE, [2])], b"[[1],[2]]"),
        ([section(PROPERTIES, ["message-id"])], None),
    ],
)
def test_the_body_is_the_data_and_other_bodies_are_text(sections: list[bytes], body: bytes | None) -> None:
    assert record_of(*sections)["Body"] == body


def test_a_message_that_is_no_amqp_is_captured_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    assert record_of(b"no AMQP at all")["Body"] == b"no AMQP at all"
    assert "event 5 is captured as it is" in caplog.text


# --------------------------------------------------------------------------------------------- exactly once, whatever


@dataclass
class Container:
    """A container in memory, that may be away for a number of calls and takes note of what is on disk at each call."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    away_for: int = 0
    calls: int = 0
    watch: Callable[[Mapping[str, bytes]], None] = lambda blobs: None

    async def prepare(self) -> None:
        self._call()

    async def put(self, name: str, stream: IO[bytes], length: int, sync_marker: bytes) -> bool:
        self._call()
        content = stream.read()
        assert len(content) == length
        if name in self.blobs:
            return self.blobs[name].endswith(sync_marker)
        self.blobs[name] = content
        self._call()  # an answer may be lost after the blob was stored
        return True

    def _call(self) -> None:
        self.calls += 1
        self.watch(dict(self.blobs))
        if self.away_for:
            self.away_for -= 1
            raise LakeUnavailable(f"connection refused, call {self.calls}")

    def numbers(self) -> list[int]:
        """The sequence numbers in all files, in the order of the files' names."""
        return [
            record["SequenceNumber"]  # type: ignore[index, call-overload]
            for name in sorted(self.blobs)
            for record in fastavro.reader(io.BytesIO(self.blobs[name]))
        ]


def run[T](
    log: PartitionLog, config: CaptureConfig, container: Container, work: Callable[[Capture], Coroutine[Any, Any, T]]
) -> T:
    """Do something while Capture of the one partition runs."""

    async def both() -> T:
        capture = Capture("ns", [CapturedHub("hub", config, (log,), container)])
        running = asyncio.create_task(capture.run())
        try:
            return await asyncio.wait_for(work(capture), 20)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    return asyncio.run(both())


async def flush(capture: Capture) -> int:
    return (await capture.flush(["hub"]))["hub"]["0"]


@contextmanager
def directory() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


def test_a_flush_answers_when_all_that_is_there_is_in_a_file(tmp_path: Path) -> None:
    log, container = PartitionLog(tmp_path), Container()

    async def work(capture: Capture) -> int:
        log.append([(data(b"a"), "key"), (data(b"b"), None)])
        return await flush(capture)

    assert run(log, CONFIG, container, work) == 1
    (content,) = container.blobs.values()
    assert [record["Body"] for record in fastavro.reader(io.BytesIO(content))] == [b"a", b"b"]  # type: ignore[index, call-overload]


def test_windows_of_one_second_have_files_of_their_own(tmp_path: Path) -> None:
    log, container = PartitionLog(tmp_path), Container()

    async def work(capture: Capture) -> None:
        for _ in range(5):
            log.append([(data(b"x"), None)])
            await flush(capture)

    run(log, CONFIG, container, work)
    assert len(container.blobs) == 5
    assert container.numbers() == [0, 1, 2, 3, 4]


def test_a_full_window_is_captured_without_waiting_for_its_interval(tmp_path: Path) -> None:
    log, container = PartitionLog(tmp_path), Container()

    async def work(capture: Capture) -> None:
        await asyncio.sleep(0)  # let it go to sleep first
        log.append([(data(b"x" * 65), None)] * 25)
        capture.appended("hub", 0)
        while capture.hubs["hub"][0].backlog > 5:
            await asyncio.sleep(0.001)

    run(log, replace(CONFIG, size_limit_bytes=1000), container, work)
    assert container.numbers() == list(range(20))


def test_while_the_storage_is_away_nothing_is_lost_and_one_line_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, container = PartitionLog(tmp_path), Container(away_for=3)

    async def work(capture: Capture) -> None:
        log.append([(data(b"x" * 65), None)] * 25)
        await flush(capture)
        assert capture.outage.reason is None

    with caplog.at_level(logging.WARNING):
        run(log, replace(CONFIG, size_limit_bytes=1000), container, work)
    assert container.numbers() == list(range(25))
    assert [record.getMessage()[:45] for record in caplog.records] == [
        "capture files wait, the storage does not take",
        "the storage takes capture files again, after ",
    ]


def test_a_file_of_somebody_else_is_never_overwritten(tmp_path: Path) -> None:
    log = PartitionLog(tmp_path)
    now = time.time_ns() // 1_000_000_000
    theirs = {
        blob_name(DEFAULT_NAME_FORMAT, namespace="ns", hub="hub", partition_id="0", second=second): b"theirs"
        for second in range(now - 1, now + 10)
    }
    container = Container(dict(theirs))

    async def work(capture: Capture) -> None:
        log.append([(data(b"x"), None)])
        await flush(capture)

    run(log, CONFIG, container, work)
    assert theirs.items() <= container.blobs.items()
    container.blobs = dict(container.blobs.items() - theirs.items())
    assert container.numbers() == [0]


def test_more_captured_than_the_log_holds_is_refused(tmp_path: Path) -> None:
    log = PartitionLog(tmp_path)
    log.append([(data(b"x"), None)])
    run(log, CONFIG, Container(), flush)
    log.close()
    for path in [*tmp_path.glob("*.log"), *tmp_path.glob("*.index")]:
        path.unlink()
    with pytest.raises(ConfigurationError, match="event 0 was captured, but the log ends with -1"):
        Capture("ns", [CapturedHub("hub", CONFIG, (PartitionLog(tmp_path),), Container())])


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(100, 2000))
def test_killed_at_any_moment_every_event_is_in_exactly_one_file(batches: Sequence[int], size_limit: int) -> None:
    config = replace(CONFIG, size_limit_bytes=size_limit)
    with directory() as path:
        moments: list[tuple[Path, dict[str, bytes]]] = []
        log = PartitionLog(path / "first")

        def remember(blobs: Mapping[str, bytes]) -> None:
            """What a process killed now would leave: the directory and the container."""
            copy = path / str(len(moments))
            shutil.copytree(path / "first", copy)
            moments.append((copy, dict(blobs)))

        async def work(capture: Capture) -> None:
            for count in batches:
                log.append([(data(b"x" * 10), None)] * count)
                capture.appended("hub", 0)
                await flush(capture)

        container = Container(watch=remember)
        run(log, config, container, work)
        remember(container.blobs)
        assert container.numbers() == list(range(sum(batches)))
        for killed, blobs in moments:
            again = PartitionLog(killed)
            after = Container(dict(blobs))
            run(again, config, after, flush)
            assert after.numbers() == list(range(again.next_sequence_number))
            assert blobs.items() <= after.blobs.items()
            again.close()
        log.close()
