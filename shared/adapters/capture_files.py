"""Capture files in the bronze container: streamed, and handed on as frames of bounded size.

The format, by the service's own files of 2017 to 2022 and Microsoft's "Explore captured Avro files": an Avro container
of EventData records, codec null, all events of a window in one block. `EnqueuedTimeUtc` is text of the US culture
without zero padding, in whole seconds, UTC. The first years' schema has no null among the property values.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import polars as pl
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

from shared.adapters.avro_container import Block, ByteStream, open_container
from shared.adapters.azure_clients import is_transient
from shared.adapters.capture_records import RecordReader, Records, SchemaNotRead, record_reader
from shared.errors import CaptureFileUnreadable, LakeUnavailable
from shared.medallion.bronze import CAPTURED
from shared.medallion.tables import INSTANT

log = logging.getLogger(__name__)

FRAME_ROWS = 16_384
"""Rows of a frame: a ping may be near 67 stores, so what comes of a frame may be a million rows."""
_TIME = re.compile(rb"(\d\d?)/(\d\d?)/(\d{4}) (\d\d?):(\d\d):(\d\d) ([AP])M")


class CaptureContainer:
    """The container that Capture writes to."""

    def __init__(self, service: BlobServiceClient, container: str) -> None:
        self._container = service.get_container_client(container)

    def frames(self, path: str) -> Iterator[pl.DataFrame]:
        """The captured events of a file in order (shared.medallion.bronze.CAPTURED), FRAME_ROWS at a time.

        Raises CaptureFileUnreadable for a file that is not there, no capture file or cut short, and LakeUnavailable
        when the storage does not answer.
        """
        yield from read_frames(path, self._pieces(path))

    def _pieces(self, path: str) -> Iterator[bytes]:
        try:
            yield from self._container.download_blob(path).chunks()
        except ResourceNotFoundError as error:
            raise CaptureFileUnreadable(f"{path} is not there (any more)") from error
        except AzureError as error:
            if is_transient(error):
                raise LakeUnavailable(f"{path} could not be read: {error}") from error
            raise


def read_frames(name: str, pieces: Iterable[bytes], *, frame_rows: int = FRAME_ROWS) -> Iterator[pl.DataFrame]:
    """The events of a capture file that comes in pieces of any size. Raises CaptureFileUnreadable, saying where."""
    stream = ByteStream(name, pieces)
    container = open_container(stream)
    try:
        reader = record_reader(container.schema)
    except SchemaNotRead as error:
        raise CaptureFileUnreadable(f"{name} is Avro, but no capture file: {error}") from error
    for block in container.blocks:
        for records in _read_block(stream, block, reader):
            frame = _frame(name, records)
            yield from frame.iter_slices(frame_rows)


def _read_block(stream: ByteStream, block: Block, reader: RecordReader) -> Iterator[Records]:
    left, rest = block.count, b""
    for piece in block.pieces:
        rest += piece
        while left:
            records = reader.read(rest, left)
            if not records.used:
                break
            left, rest = left - len(records), rest[records.used :]
            yield records
        if rest and not left:
            raise stream.unreadable(f"there are bytes left over after a block's {block.count} records")
    if left:
        raise stream.unreadable(f"{left} of a block's {block.count} records cannot be read from its last bytes")


def _frame(name: str, records: Records) -> pl.DataFrame:
    instants = {text: _instant(name, text) for text in set(records.enqueued_time)}
    return pl.DataFrame(
        {
            "sequence_number": records.sequence_number,
            "offset": _texts(records.offset),
            "enqueued_at": pl.Series([instants[text] for text in records.enqueued_time], dtype=pl.Int64).cast(INSTANT),
            "partition_key": _texts(records.partition_key),
            "body": pl.Series(records.body, dtype=pl.Binary),
        },
        schema=CAPTURED,
    )


def _texts(values: Sequence[bytes | None]) -> pl.Series:
    try:
        return pl.Series(values, dtype=pl.Binary).cast(pl.String)
    except pl.exceptions.ComputeError:  # a byte that is no UTF-8, which no sender's SDK writes
        return pl.Series([value and value.decode(errors="replace") for value in values], dtype=pl.String)


def _instant(name: str, text: bytes) -> int:
    """`12/9/2022 4:51:25 PM` in microseconds since 1970 UTC."""
    match = _TIME.fullmatch(text)
    if match is not None:
        month, day, year, hour, minute, second = map(int, match.groups()[:6])
        try:
            if 1 <= hour <= 12:
                hour = hour % 12 + (12 if match[7] == b"P" else 0)
                instant = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
                return int(instant.timestamp()) * 1_000_000
        except ValueError:
            pass  # a date that the calendar lacks; said below
    raise CaptureFileUnreadable(
        f"{name}: EnqueuedTimeUtc is {text.decode(errors='replace')!r}; it must read like '12/9/2022 4:51:25 PM'"
    )
