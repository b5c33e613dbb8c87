"""Capture files as the service writes them: an Avro object container of one block, byte for byte.

The layout was read from real files of 2017, 2020 and 2022: codec `null`, the metadata in the order codec, schema, the
schema as one line of text in a fixed order, all events in one block, and a block of no events when there are none (508
bytes in all). `fastavro.writer` makes a valid file that differs (it writes the schema's text anew, and no empty block),
so the container is written here and fastavro encodes the records.
"""

import io
import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO, TypedDict

import fastavro

_SCHEMA_TEXT = (
    '{"type":"record","name":"EventData","namespace":"Microsoft.ServiceBus.Messaging","fields":['
    '{"name":"SequenceNumber","type":"long"},{"name":"Offset","type":"string"},'
    '{"name":"EnqueuedTimeUtc","type":"string"},'
    '{"name":"SystemProperties","type":{"type":"map","values":["long","double","string","bytes"]}},'
    '{"name":"Properties","type":{"type":"map","values":["long","double","string","bytes","null"]}},'
    '{"name":"Body","type":["null","bytes"]}]}'
)
_SCHEMA = fastavro.parse_schema(json.loads(_SCHEMA_TEXT))
_MAGIC = b"Obj\x01"
_SYNC_BYTES = 16
_LONGEST_LONG = 10
_IN_MEMORY_BYTES = 4 * 1024 * 1024

type SystemValue = int | float | str | bytes
type PropertyValue = int | float | str | bytes | None


class CaptureRecord(TypedDict):
    """One event as a capture file holds it; EnqueuedTimeUtc is US-culture text in whole seconds."""

    SequenceNumber: int
    Offset: str
    EnqueuedTimeUtc: str
    SystemProperties: dict[str, SystemValue]
    Properties: dict[str, PropertyValue]
    Body: bytes | None


class CaptureFileWriter(AbstractContextManager["CaptureFileWriter"]):
    """Builds one capture file: `add` its records, then `finish`; leaving the context frees it.

    Its bytes lie in memory up to 4 MiB and in a temporary file beyond, so a large window costs no more memory than a
    small one. The block's count and size stand before the records and are known after them: room is left in front.
    """

    def __init__(self, sync_marker: bytes) -> None:
        if len(sync_marker) != _SYNC_BYTES:
            raise ValueError(f"a sync marker has {_SYNC_BYTES} bytes, not {len(sync_marker)}")
        self._sync_marker = sync_marker
        self._header = _container_header(sync_marker)
        self._room = len(self._header) + 2 * _LONGEST_LONG
        self._file: IO[bytes] = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 (closed by __exit__)
        self._file.seek(self._room)
        self._count = 0

    def add(self, records: Iterable[CaptureRecord]) -> None:
        """Append records to the block."""
        encoded = io.BytesIO()
        for record in records:
            fastavro.schemaless_writer(encoded, _SCHEMA, record)
            self._count += 1
        self._file.write(encoded.getbuffer())

    def finish(self) -> tuple[IO[bytes], int]:
        """The file, positioned at its first byte, and the number of bytes from there to its end."""
        end = self._file.tell()
        self._file.write(self._sync_marker)
        front = self._header + _avro_long(self._count) + _avro_long(end - self._room)
        start = self._room - len(front)
        self._file.seek(start)
        self._file.write(front)
        self._file.seek(start)
        return self._file, end + _SYNC_BYTES - start

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()


def _container_header(sync_marker: bytes) -> bytes:
    metadata: dict[str, bytes] = {"avro.codec": b"null", "avro.schema": _SCHEMA_TEXT.encode()}
    pairs = b"".join(_avro_bytes(key.encode()) + _avro_bytes(value) for key, value in metadata.items())
    return _MAGIC + _avro_long(len(metadata)) + pairs + _avro_long(0) + sync_marker


def _avro_long(value: int) -> bytes:
    return _avro("long", value)


def _avro_bytes(value: bytes) -> bytes:
    return _avro("bytes", value)


def _avro(schema: str, value: int | bytes) -> bytes:
    """A bare value in Avro's binary encoding."""
    encoded = io.BytesIO()
    fastavro.schemaless_writer(encoded, schema, value)
    return encoded.getvalue()
