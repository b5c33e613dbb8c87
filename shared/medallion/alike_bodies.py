"""JSON bodies that are alike, read a column at a time.

The pings of a capture file come from a few apps, so nearly all bodies are one of a few flat JSON objects that differ in
their values only. So one body is taken apart, and the others are asked whether they are the same text around values
of the same kinds: texts of the same length, numbers of any. What is not said to be alike, this says nothing about: it
may be valid JSON all the same, and whoever asks must read it otherwise. What is alike has the values that a JSON parser
finds (RFC 8259). Of a number with a point, the digits make a whole number below 2^53, which a division by a power of
ten turns into the nearest double (Clinger, "How to read floating point numbers accurately", 1990).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.medallion.bronze import Bodies

Longs = NDArray[np.int64]
Flags = NDArray[np.bool_]
Letters = NDArray[np.uint8]

_MOST_MEMBERS = 32
_NUMBER_BYTES = 17
"""Behind the sign: 15 digits, the point and what follows; a number without an end in there is none of ours."""
_WORD_BYTES = 8
_POWERS = 10.0 ** np.arange(_NUMBER_BYTES)
_ZERO, _POINT, _MINUS, _QUOTE, _BACKSLASH, _SPACE = b'0.-"\\ '
_LETTERS = ord("~") - _SPACE
"""How far the last letter of ASCII is behind the first, the blank."""

_MEMBER = re.compile(
    rb'[ \t\n\r]*"(?P<name>[ !#-\[\]-~]*)"[ \t\n\r]*:[ \t\n\r]*'
    rb'(?:"(?P<text>[ !#-\[\]-~]*)"|(?P<number>-?(?:0|[1-9]\d*)(?:\.\d+)?)|(?P<word>true|false|null))'
    rb"[ \t\n\r]*(?P<end>[,}])",
    re.ASCII,
)


class Kind(Enum):
    """What varies between alike bodies."""

    TEXT = "text"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Value:
    """A value that varies: a text of so many bytes, or a number."""

    name: str
    kind: Kind
    bytes: int


type Constant = bool | None


@dataclass(frozen=True, slots=True)
class Shape:
    """A flat JSON object of which the values vary: literal text, a value, literal text and so on, at last literal text.

    `words` are the members that are true, false or null in all bodies of the shape.
    """

    literals: tuple[bytes, ...]
    values: tuple[Value, ...]
    words: dict[str, Constant]

    @classmethod
    def of(cls, body: bytes) -> "Shape | None":
        """The shape of a body; None for one that is no flat object, names a member twice, or has unusual letters."""
        if not body.startswith(b"{"):
            return None
        literals, values, words = list[bytes](), list[Value](), dict[str, Constant]()
        literal_start, at, end = 0, 1, b","
        while end == b",":
            member = _MEMBER.match(body, at)
            if member is None or len(values) + len(words) == _MOST_MEMBERS:
                return None
            name, at, end = member["name"].decode(), member.end(), member["end"]
            if name in words or any(name == value.name for value in values):
                return None
            if member["word"]:
                words[name] = {b"true": True, b"false": False}.get(member["word"])
                continue
            group: Literal["text", "number"] = "number" if member["text"] is None else "text"
            values.append(Value(name, Kind(group), len(member[group])))
            literals.append(body[literal_start : member.start(group)])
            literal_start = member.end(group)
        if body[at:].strip(b" \t\n\r"):
            return None
        return cls((*literals, body[literal_start:]), tuple(values), words)

    @property
    def most_bytes(self) -> int:
        """So many bytes behind its start, at most, are looked at to say whether a body is of the shape."""
        of_values = sum(1 + _NUMBER_BYTES if value.kind is Kind.NUMBER else value.bytes for value in self.values)
        return of_values + sum(map(len, self.literals)) + max(_NUMBER_BYTES, _WORD_BYTES)


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """The bodies of one shape, a row each, and their values by name: a text as its letters in columns, or a number."""

    row: Longs
    texts: dict[str, Letters]
    numbers: dict[str, NDArray[np.float64]]


def read_alike(bodies: Bodies, rows: Longs, shape: Shape) -> Alike:
    """Which of the bodies in these rows are of the shape, and their values."""
    rows = rows[bodies.start[rows] + shape.most_bytes <= len(bodies.buffer)]  # else a window would run over the end
    reader = _Reader(np.frombuffer(bodies.buffer, np.uint8), bodies.start[rows])
    texts: dict[str, Letters] = {}
    numbers: dict[str, NDArray[np.float64]] = {}
    for literal, value in zip(shape.literals, shape.values, strict=False):
        reader.literal(literal)
        if value.kind is Kind.TEXT:
            texts[value.name] = reader.text(value.bytes)
        else:
            numbers[value.name] = reader.number()
    reader.literal(shape.literals[-1])
    is_alike = reader.is_alike & (reader.at == bodies.start[rows] + bodies.length[rows])
    if is_alike.all():
        return Alike(rows, texts, numbers)
    return Alike(
        rows[is_alike],
        {name: letters[is_alike] for name, letters in texts.items()},
        {name: column[is_alike] for name, column in numbers.items()},
    )


class _Reader:
    """A position in each body, moved on over what all of them must have there; a body that has not is no more alike."""

    def __init__(self, data: Letters, start: Longs) -> None:
        self._data = data
        self._words = np.ndarray((max(data.size - _WORD_BYTES + 1, 0),), "<u8", data, 0, (1,))
        """The eight bytes from each byte on."""
        self.at = start
        self.is_alike: Flags = np.ones(start.size, np.bool_)

    def literal(self, text: bytes) -> None:
        """The same text in each body."""
        for offset, word, mask in _words_of(text):
            found = self._words[self.at + offset]
            self.is_alike &= (found if mask is None else found & mask) == word
        self.at = self.at + len(text)

    def text(self, count: int) -> Letters:
        """A text of so many bytes, ASCII without a quote, a backslash or what JSON does not allow in a text."""
        letters = self._windows(count)
        is_letter: Flags = (letters - np.uint8(_SPACE) <= _LETTERS) & (letters != _QUOTE) & (letters != _BACKSLASH)
        if not is_letter.all():
            self.is_alike &= is_letter.all(axis=1)
        self.at = self.at + count
        return letters

    def number(self) -> NDArray[np.float64]:
        """A JSON number without an exponent."""
        is_negative = self._data[self.at] == _MINUS
        self.at = self.at + is_negative
        letters = np.ascontiguousarray(self._windows(_NUMBER_BYTES).T)
        digits = letters - np.uint8(_ZERO)
        value, size = np.zeros(self.at.size, np.int64), np.zeros(self.at.size, np.uint8)
        decimals, is_going = np.zeros_like(size), np.ones(size.size, np.bool_)
        is_behind_point = np.zeros(size.size, np.bool_)
        for letter, digit in zip(letters, digits, strict=True):
            is_digit = (digit <= 9) & is_going
            is_point = (letter == _POINT) & is_going & ~is_behind_point
            is_going = is_digit | is_point
            if not is_going.any():
                break
            np.multiply(value, 10, out=value, where=is_digit)
            np.add(value, digit, out=value, where=is_digit)
            size += is_going
            decimals += is_digit & is_behind_point
            is_behind_point |= is_point
        whole = size - decimals - is_behind_point
        is_number = ~is_going & (whole > 0)
        is_number &= (decimals > 0) == is_behind_point
        is_number &= (digits[0] > 0) | (whole == 1)  # no zero before other digits
        is_number &= (value > 0) | ~is_negative | is_behind_point  # -0 is a whole number to some parsers: 0
        self.is_alike &= is_number
        self.at = self.at + size
        numbers = value / _POWERS[decimals]
        return np.negative(numbers, out=numbers, where=is_negative)

    def _windows(self, count: int) -> Letters:
        if not count:
            return np.empty((self.at.size, 0), np.uint8)
        windows: Letters = np.lib.stride_tricks.sliding_window_view(self._data, count)[self.at]
        return windows


def _words_of(text: bytes) -> Iterator[tuple[int, np.uint64, np.uint64 | None]]:
    """A text as words of eight bytes: where each begins, the word, and the mask of one that is not full."""
    if len(text) < _WORD_BYTES:
        mask = np.uint64((1 << (8 * len(text))) - 1)
        yield 0, np.uint64(int.from_bytes(text, "little")), mask
        return
    last = len(text) - _WORD_BYTES  # it overlaps the word before it
    for offset in [*range(0, last, _WORD_BYTES), last]:
        yield offset, np.uint64(int.from_bytes(text[offset : offset + _WORD_BYTES], "little")), None
