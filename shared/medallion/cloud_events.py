"""CloudEvents 1.0, decoded from captured bodies: values, or rejected rows with what was wrong."""

from collections.abc import Iterable, Mapping, Sequence
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


class _Typed(msgspec.Struct, gc=False):
    """The one field that says how to read the others."""

    type: str


_TYPED = msgspec.json.Decoder(_Typed)


def decode[T](
    bodies: Sequence[bytes | None], decoder: msgspec.json.Decoder[T], chosen: Iterable[int] | None = None
) -> Decoded[T]:
    """Decode each body (of the *chosen* rows) strictly; what is not understood is rejected, saying where and why."""
    rows: list[int] = []
    events: list[T] = []
    rejected: list[RejectedPing] = []
    for row in range(len(bodies)) if chosen is None else chosen:
        body = bodies[row]
        if body is None:
            rejected.append(_not_understood(row, "the event has no body"))
            continue
        try:
            event = decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            rejected.append(_not_understood(row, str(error)))
        else:
            rows.append(row)
            events.append(event)
    return Decoded(rows, events, rejected)


def rows_by_type(
    bodies: Sequence[bytes | None], types: Sequence[str]
) -> tuple[dict[str, list[int]], list[RejectedPing]]:
    """The rows of each type of event on a hub that carries several, and what is of none of them, rejected."""
    typed = decode(bodies, _TYPED)
    rows: dict[str, list[int]] = {name: [] for name in types}
    rejected = typed.rejected
    for row, event in zip(typed.rows, typed.events, strict=True):
        if event.type in rows:
            rows[event.type].append(row)
        else:
            valid = ", ".join(types)
            rejected.append(_not_understood(row, f"type is none of {valid}: {event.type!r}"))
    return rows, rejected


def _not_understood(row: int, detail: str) -> RejectedPing:
    return RejectedPing(row, Reason.NOT_UNDERSTOOD, _clipped(detail))


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
