"""Which partition a partition key belongs to: the hash that the Event Hubs SDKs and the service share.

Bob Jenkins' lookup3 (`hashlittle2` with both initial values 0, http://burtleburtle.net/bob/c/lookup3.c, public domain);
the two 32-bit results are combined by xor and cut to a signed 16-bit number.
"""

_MASK = 0xFFFFFFFF
_INITIAL = 0xDEADBEEF
_MIX = (4, 6, 8, 16, 19, 4)
_FINAL = (14, 11, 25, 16, 4, 14, 24)


def partition_for_key(key: str, partition_count: int) -> int:
    """The index of the partition that events with this key go to.

    Two traps, both in Python's SDK (its buffered producer chooses the partition itself): for a negative hash it takes
    the floored remainder where the other SDKs truncate, so it disagrees about a quarter of all keys; and it hashes code
    points where the others hash UTF-8, so it disagrees about keys beyond ASCII.
    """
    return abs(key_hash(key)) % partition_count


def key_hash(key: str) -> int:
    """The signed 16-bit hash of a partition key."""
    first, second = _lookup3(key.encode())
    folded = (first ^ second) & 0xFFFF
    return folded - 0x10000 if folded & 0x8000 else folded


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _MASK


def _lookup3(data: bytes) -> tuple[int, int]:
    a = b = c = (_INITIAL + len(data)) & _MASK
    # The last block (1 to 12 bytes) is mixed by the final rounds; no bytes at all are not mixed.
    last = max(0, (len(data) - 1) // 12 * 12)
    for start in range(0, last, 12):
        a, b, c = _add(data[start : start + 12], a, b, c)
        a, b, c = _mix(a, b, c)
    if data:
        a, b, c = _add(data[last:].ljust(12, b"\0"), a, b, c)
        b, c = _finish(a, b, c)
    return c, b


def _add(block: bytes, a: int, b: int, c: int) -> tuple[int, int, int]:
    return (
        a + int.from_bytes(block[0:4], "little") & _MASK,
        b + int.from_bytes(block[4:8], "little") & _MASK,
        c + int.from_bytes(block[8:12], "little") & _MASK,
    )


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in _MIX:
        a = (a - c & _MASK) ^ _rotate(c, bits)
        c = c + b & _MASK
        a, b, c = b, c, a
    return a, b, c


def _finish(a: int, b: int, c: int) -> tuple[int, int]:
    for bits in _FINAL:
        c = (c ^ b) - _rotate(b, bits) & _MASK
        a, b, c = b, c, a
    # Seven steps turn the three words by one: c of the next step is the word that was changed two steps ago.
    return a, b
