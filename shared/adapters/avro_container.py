"""The container of an Avro object file (Avro 1.11 specification, "Object Container Files"), read as a stream.

fastavro reads a block whole; Event Hubs Capture writes all events of a window, up to 500 MB, as one block. So the frame
around the records is read here, in pieces, whatever the block's size.
"""

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shared.errors import CaptureFileUnreadable

MAGIC = b"Obj\x01"
SYNC_BYTES = 16
PIECE_BYTES = 4 * 1024 * 1024
"""About how many bytes of a block are handed on at once."""
MOST_METADATA_BYTES = 1024 * 1024
MOST_VARINT_BYTES = 10


class ByteStream:
    """The bytes of a file as they come, with the position in it for whoever must say where it broke."""

    def __init__(self, name: str, pieces: Iterable[bytes]) -> None:
        self.name = name
        self.position = 0
        self._pieces = iter(pieces)
        self._held = memoryview(b"")

    def unreadable(self, what: str) -> CaptureFileUnreadable:
        """The error that says what is wrong, and where."""
        return CaptureFileUnreadable(f"{self.name}, byte {self.position:,}: {what}")

    def at_end(self) -> bool:
        """Whether the file ends here."""
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return True
            self._held = memoryview(piece)
        return False

    def some(self, most: int) -> memoryview:
        """The next bytes, at least one and at most so many. Raises CaptureFileUnreadable at the end of the file."""
        if self.at_end():
            raise self.unreadable("the file is cut short")
        taken, self._held = self._held[:most], self._held[most:]
        self.position += len(taken)
        return taken

    def exactly(self, count: int) -> bytes:
        """The next *count* bytes. Raises CaptureFileUnreadable if the file ends before."""
        parts: list[memoryview] = []
        while count:
            parts.append(self.some(count))
            count -= len(parts[-1])
        return b"".join(parts)

    def long(self) -> int:
        """An Avro long: zigzag, variable length."""
        value = 0
        for shift in range(0, 7 * MOST_VARINT_BYTES, 7):
            byte = self.some(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise self.unreadable("a number has more than 10 bytes; this is no Avro")


@dataclass(frozen=True, slots=True)
class Block:
    """A block: how many records it holds, and their bytes in pieces, uncompressed. Read them before the next block."""

    count: int
    pieces: Iterator[bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Container:
    """An open container: the writer's schema, and its blocks in order."""

    schema: object
    blocks: Iterator[Block]


def open_container(stream: ByteStream) -> Container:
    """Read the header. Raises CaptureFileUnreadable when it is none, and the blocks do when they break off."""
    if stream.at_end():
        raise stream.unreadable("the file has no bytes; the smallest capture file has 508")
    if stream.exactly(len(MAGIC)) != MAGIC:
        raise stream.unreadable("the file does not begin as Avro does (Obj, 1)")
    metadata = _read_metadata(stream)
    codec = metadata.get("avro.codec", b"null").decode(errors="replace")
    if codec not in ("null", "deflate"):
        raise stream.unreadable(f"codec {codec!r}; null and deflate can be read")
    try:
        schema = json.loads(metadata["avro.schema"])
    except (KeyError, ValueError) as error:
        raise stream.unreadable(f"the header holds no schema ({error!r})") from error
    return Container(schema, _read_blocks(stream, codec, stream.exactly(SYNC_BYTES)))


def _read_metadata(stream: ByteStream) -> dict[str, bytes]:
    metadata: dict[str, bytes] = {}
    while count := stream.long():
        if count < 0:
            count = -count
            stream.long()  # the size in bytes, for who wants to skip it
        for _ in range(count):
            key = _read_bytes(stream).decode(errors="replace")
            metadata[key] = _read_bytes(stream)
    return metadata


def _read_bytes(stream: ByteStream) -> bytes:
    length = stream.long()
    if not 0 <= length <= MOST_METADATA_BYTES:
        raise stream.unreadable(f"the header holds a text of {length} bytes; this is no capture file")
    return stream.exactly(length)


def _read_blocks(stream: ByteStream, codec: str, sync: bytes) -> Iterator[Block]:
    while not stream.at_end():
        count, size = stream.long(), stream.long()
        if count < 0 or size < 0:
            raise stream.unreadable(f"a block claims {count} records in {size} bytes")
        pieces = _pieces(stream, size)
        yield Block(count, pieces if codec == "null" else _inflated(stream, pieces))
        if stream.exactly(SYNC_BYTES) != sync:
            raise stream.unreadable("a block does not end with the file's sync marker")


def _pieces(stream: ByteStream, size: int) -> Iterator[memoryview]:
    while size:
        piece = stream.some(min(size, PIECE_BYTES))
        size -= len(piece)
        yield piece


def _inflated(stream: ByteStream, pieces: Iterator[memoryview]) -> Iterator[bytes]:
    """RFC 1951, as the codec says: without zlib's header; never more than PIECE_BYTES at once."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in pieces:
            yield inflater.decompress(piece, PIECE_BYTES)
            while inflater.unconsumed_tail:
                yield inflater.decompress(inflater.unconsumed_tail, PIECE_BYTES)
        yield inflater.flush()
    except zlib.error as error:
        raise stream.unreadable(f"a block cannot be inflated: {error}") from error
    if not inflater.eof:
        raise stream.unreadable("a block's compressed bytes break off")
