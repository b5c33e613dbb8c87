"""CloudEvents 1.0 of one type, decoded from captured bodies: values, or rejected rows with what was wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import polars as pl

from shared.domain.events import microseconds
from shared.domain.pings import Reason, RejectedPing
from shared.medallion.tables import INSTANT

MOST_DETAIL = 200


@dataclass(frozen=True, slots=True, eq=False)
class Decoded[T]:
    """The events that were understood, with their rows in the frame, and the rejected ones."""

    rows: list[int]
    events: list[T]
    rejected: list[RejectedPing]


def decode[T](bodies: Sequence[bytes | None], decoder: msgspec.json.Decoder[T]) -> Decoded[T]:
    """Decode each body strictly; what is not understood is rejected, with the path and what would be valid."""
    rows: list[int] = []
    events: list[T] = []
    rejected: list[RejectedPing] = []
    for row, body in enumerate(bodies):
        if body is None:
            rejected.append(RejectedPing(row, Reason.NOT_UNDERSTOOD, "the event has no body"))
            continue
        try:
            event = decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            rejected.append(RejectedPing(row, Reason.NOT_UNDERSTOOD, _clipped(str(error))))
        else:
            rows.append(row)
            events.append(event)
    return Decoded(rows, events, rejected)


def _clipped(text: str) -> str:
    """The beginning and the end: msgspec quotes the value, however long, and says where it stood."""
    return text if len(text) <= MOST_DETAIL else f"{text[: MOST_DETAIL - 53]} … {text[-50:]}"


def columns(values: Sequence[msgspec.Struct], dtypes: Mapping[str, pl.DataType]) -> dict[str, pl.Series]:
    """The named attributes of the values as typed columns; datetimes become microseconds UTC."""
    return {name: _column(name, [getattr(value, name) for value in values], dtype) for name, dtype in dtypes.items()}


def _column(name: str, values: Sequence[object], dtype: pl.DataType) -> pl.Series:
    if dtype == INSTANT:
        values = [microseconds(value) if isinstance(value, datetime) else None for value in values]
        return pl.Series(name, values, dtype=pl.Int64).cast(dtype)
    return pl.Series(name, values, dtype=dtype)
