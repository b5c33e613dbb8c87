"""Capture files in the bronze container: streamed, and handed on as frames of bounded size.

The format, by the service's own files of 2017 to 2022 and Microsoft's "Explore captured Avro files": an Avro container
of EventData records, codec null, all events of a window in one block. `EnqueuedTimeUtc` is text of the US culture
without zero padding, in whole seconds, UTC. The first years' schema has no null among the property values.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import polars as pl
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

from shared.adapters.avro_container import Block, ByteStream, open_container
from shared.adapters.azure_clients import is_transient
from shared.adapters.capture_records import RecordReader, Records, SchemaNotRead, TimeNotRead, record_reader
from shared.errors import CaptureFileUnreadable, LakeUnavailable
from shared.medallion.bronze import CAPTURED, Captured, CapturePath
from shared.medallion.captures import CaptureProperties
from shared.medallion.tables import INSTANT

log = logging.getLogger(__name__)

FRAME_ROWS = 16_384
"""Rows of a frame: a ping may be near 67 stores, so what comes of a frame may be a million rows."""


class CaptureContainer:
    """The container that Capture writes to."""

    def __init__(self, service: BlobServiceClient, container: str) -> None:
        self._container = service.get_container_client(container)

    def frames(self, path: str) -> Iterator[Captured]:
        """The captured events of a file in order, FRAME_ROWS at a time.

        Raises CaptureFileUnreadable for a file that is not there, no capture file or cut short, and LakeUnavailable
        when the storage does not answer.
        """
        yield from read_frames(path, self._pieces(path))

    def properties(self, path: str) -> CaptureProperties:
        """How large the file is, and when it was last modified.

        Raises CaptureFileUnreadable for a file that is not there, LakeUnavailable when the storage does not answer.
        """
        with _faults(path):
            blob = self._container.get_blob_client(path).get_blob_properties()
        return CaptureProperties(blob.size, blob.last_modified)

    def sizes(self, hub: str) -> dict[CapturePath, int]:
        """The capture files of a hub, in whatever order, with their sizes in bytes.

        Raises CaptureFileUnreadable for an Avro file of the hub that has no capture file's name, and LakeUnavailable
        when the storage does not answer.
        """
        try:
            return {
                CapturePath.parse(blob.name): blob.size
                for blob in self._container.list_blobs()
                if f"/{hub}/" in blob.name and blob.name.endswith(".avro")  # storage with folders lists those as well
            }
        except ResourceNotFoundError:
            return {}  # nothing was captured yet
        except AzureError as error:
            if is_transient(error):
                raise LakeUnavailable(f"the capture files of {hub} could not be listed: {error}") from error
            raise

    def _pieces(self, path: str) -> Iterator[bytes]:
        with _faults(path):
            yield from self._container.download_blob(path).chunks()


@contextmanager
def _faults(path: str) -> Iterator[None]:
    """Say in our words what kept the storage from giving the file."""
    try:
        yield
    except ResourceNotFoundError as error:
        raise CaptureFileUnreadable(f"{path} is not there (any more)") from error
    except AzureError as error:
        if is_transient(error):
            raise LakeUnavailable(f"{path} could not be read: {error}") from error
        raise


def read_frames(name: str, pieces: Iterable[bytes], *, frame_rows: int = FRAME_ROWS) -> Iterator[Captured]:
    """The events of a capture file that comes in pieces of any size. Raises CaptureFileUnreadable, saying where."""
    stream = ByteStream(name, pieces)
    container = open_container(stream)
    try:
        reader = record_reader(container.schema)
    except SchemaNotRead as error:
        raise CaptureFileUnreadable(f"{name} is Avro, but no capture file: {error}") from error
    try:
        for block in container.blocks:
            for records in _read_block(stream, block, reader):
                yield from _captured(records).slices(frame_rows)
    except TimeNotRead as error:
        raise stream.unreadable(str(error)) from error


def _captured(records: Records) -> Captured:
    columns = {
        "sequence_number": records.sequence_number,
        "enqueued_at": pl.Series(records.enqueued_at_us).cast(INSTANT),
    }
    return Captured(pl.DataFrame(columns, schema=CAPTURED), records.bodies)


def _read_block(stream: ByteStream, block: Block, reader: RecordReader) -> Iterator[Records]:
    left, rest = block.count, b""
    for piece in block.pieces:
        rest = b"".join((rest, piece))
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
