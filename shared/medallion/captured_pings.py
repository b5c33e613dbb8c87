"""The pings of captured events, decoded a column at a time where bodies are alike, and as the functions do elsewhere.

`shared.domain.pings.decode_pings` says what a ping is; this only says the same faster. A body goes to it unless it has
the shape of many others and passes every check, so each rejection, with its reason and words, is its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.domain.pings import (
    MAX_BODY_BYTES,
    MAX_ID_CHARACTERS,
    NAMES,
    REQUIRED,
    PingBatch,
    RejectedPing,
    are_acceptable,
    decode_pings,
    instants_of_numbers,
)
from shared.domain.rfc3339 import NO_INSTANT, instants_of_letters
from shared.medallion.alike_bodies import Alike, Kind, Letters, Shape, read_alike
from shared.medallion.bronze import Bodies, Captured

LEAST_ALIKE = 64
"""To look for bodies like another costs as much as to decode so many."""
MOST_SHAPES = 8
FEW = 16
MOST_MISSES = 2
"""So many shapes may be those of less than one body in FEW: then the bodies are all different, and not tried on."""

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPings:
    """The accepted pings of captured events as columns, and the rejected ones; as in PingBatch."""

    row: Longs
    device_id: pl.Series
    latitude: Floats
    longitude: Floats
    tracked_at_us: Longs
    accuracy_m: Floats
    rejected: list[RejectedPing]

    @classmethod
    def of(cls, batch: PingBatch) -> "DecodedPings":
        """What silver needs of a batch."""
        ids = pl.Series("device_id", batch.device_id, dtype=pl.String)
        return cls(
            batch.row, ids, batch.latitude, batch.longitude, batch.tracked_at_us, batch.accuracy_m, batch.rejected
        )


def decode_captured(captured: Captured) -> DecodedPings:
    """What `decode_pings` says of the bodies of captured events."""
    bodies, enqueued_at_us = captured.bodies, captured.enqueued_at_us
    found = list(_alike_pings(bodies, enqueued_at_us))
    if len(found) == 1 and found[0].row.size == len(bodies):
        return found[0]
    is_left = np.ones(len(bodies), np.bool_)
    for part in found:
        is_left[part.row] = False
    rows = np.flatnonzero(is_left)
    left = Bodies(bodies.buffer, bodies.start[rows], bodies.length[rows])
    others = DecodedPings.of(decode_pings(left.to_list(), enqueued_at_us[rows]))
    return _in_order([*found, _at_rows(others, rows)])


def _at_rows(decoded: DecodedPings, rows: Longs) -> DecodedPings:
    """The same, decoded from these rows of the captured events."""
    rejected = [RejectedPing(int(rows[item.row]), item.reason, item.detail) for item in decoded.rejected]
    return DecodedPings(
        rows[decoded.row],
        decoded.device_id,
        decoded.latitude,
        decoded.longitude,
        decoded.tracked_at_us,
        decoded.accuracy_m,
        rejected,
    )


def _in_order(parts: list[DecodedPings]) -> DecodedPings:
    row = np.concatenate([part.row for part in parts])
    order = np.argsort(row)
    return DecodedPings(
        row[order],
        pl.concat([part.device_id for part in parts]).gather(order),
        np.concatenate([part.latitude for part in parts])[order],
        np.concatenate([part.longitude for part in parts])[order],
        np.concatenate([part.tracked_at_us for part in parts])[order],
        np.concatenate([part.accuracy_m for part in parts])[order],
        [item for part in parts for item in part.rejected],
    )


def _alike_pings(bodies: Bodies, enqueued_at_us: Longs) -> Iterator[DecodedPings]:
    """The pings of bodies of the same shape, shape by shape."""
    rows = np.flatnonzero((bodies.length > 0) & (bodies.length <= MAX_BODY_BYTES))
    misses = 0
    for _ in range(MOST_SHAPES):
        if rows.size < LEAST_ALIKE or misses == MOST_MISSES:
            return
        shape = Shape.of(bodies[int(rows[0])] or b"")
        fields = None if shape is None else _fields_of(shape)
        if shape is None or fields is None:
            rows = rows[1:]
            misses += 1
            continue
        alike = read_alike(bodies, rows, shape)
        yield _pings(alike, fields, enqueued_at_us)
        if alike.row.size == rows.size:
            return
        misses += alike.row.size * FEW < rows.size
        rows = np.setdiff1d(rows[1:], alike.row, assume_unique=True)


def _fields_of(shape: Shape) -> dict[str, str] | None:
    """Under which name a shape has each field of a ping; None when its bodies are no plain pings."""
    said = {value.name: value.kind for value in shape.values}
    fields: dict[str, str] = {}
    for field, names in NAMES.items():
        found = [name for name in names if name in said or shape.words.get(name) is not None]
        if found:
            fields[field] = found[0]  # of several the one named first counts
    of_kind = {field: said.get(name) for field, name in fields.items()}
    is_plain = (
        not {"_type", "specversion"} & {*said, *shape.words}
        and all(field in fields for field in REQUIRED)
        and of_kind.pop("device_id") is Kind.TEXT
        and of_kind.pop("tracked_at", Kind.TEXT) is not None
        and of_kind.pop("ping_id", Kind.TEXT) is Kind.TEXT
        and of_kind.pop("consent", None) is None
        and all(kind is Kind.NUMBER for kind in of_kind.values())
    )
    ids = [fields[field] for field in ("device_id", "ping_id") if field in fields]
    has_ids = all(1 <= value.bytes <= MAX_ID_CHARACTERS for value in shape.values if value.name in ids)
    return fields if is_plain and has_ids else None


def _pings(alike: Alike, fields: dict[str, str], enqueued_at_us: Longs) -> DecodedPings:
    """The pings of alike bodies that pass every check."""
    enqueued_at_us = enqueued_at_us[alike.row]
    latitude, longitude = alike.numbers[fields["latitude"]], alike.numbers[fields["longitude"]]
    accuracy_m = alike.numbers.get(fields.get("accuracy_m", ""), np.full(latitude.size, np.nan))
    tracked_at_us = _tracked_at_us(alike, fields.get("tracked_at"), enqueued_at_us)
    is_told = tracked_at_us != NO_INSTANT
    ahead_us = np.where(is_told, tracked_at_us, 0) - enqueued_at_us
    is_ping = is_told & are_acceptable(latitude, longitude, accuracy_m, ahead_us)
    device_id = _texts(alike.texts[fields["device_id"]])
    if is_ping.all():
        return DecodedPings(alike.row, device_id, latitude, longitude, tracked_at_us, accuracy_m, [])
    return DecodedPings(
        alike.row[is_ping],
        device_id.filter(is_ping),
        latitude[is_ping],
        longitude[is_ping],
        tracked_at_us[is_ping],
        accuracy_m[is_ping],
        [],
    )


def _tracked_at_us(alike: Alike, name: str | None, enqueued_at_us: Longs) -> Longs:
    """When each ping was tracked; NO_INSTANT for a text that is no instant, or none of the usual forms."""
    if name is None:
        return enqueued_at_us
    if name in alike.numbers:
        return instants_of_numbers(alike.numbers[name])
    return instants_of_letters(alike.texts[name])


def _texts(letters: Letters) -> pl.Series:
    """Texts of one length from their letters, without an object for each."""
    if not len(letters):
        return pl.Series("device_id", dtype=pl.String)
    return pl.Series("device_id", letters).arr.to_list().cast(pl.Binary).cast(pl.String)
