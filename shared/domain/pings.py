"""What a device sends: pings, decoded from the bodies of a batch of events, or rejected with a reason.

A body is UTF-8 (a byte order mark is skipped) in one of three forms:

* a JSON object with a ping's fields under any of their `NAMES`, so OwnTracks' `_type: location` as well. Other names
  are ignored, null is absent, of a repeated name the last counts. Types are strict: "51.5" is no latitude;
* text of `name:value` pairs between commas, as in 2021's proof of concept: `latitude:51.1, longitude:0.1,appid:x`;
* one of these two in a CloudEvents 1.0 envelope in structured mode, as `data` (object or string) or `data_base64`. What
  the data does not say, the envelope does: `subject` the device id, `time` the instant, `id` the ping id.

`tracked_at` is RFC 3339 with an offset (no leap seconds), or a number since 1970 UTC: seconds below 1e11, milliseconds
from there on. Without it the ping was tracked when it was enqueued. A negative accuracy is out of range, for with it
iOS says that the position itself is invalid.

The checks run in the order of `Reason`, each over all fields before the next begins; the first that fails is the
reason.
"""

import binascii
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import compress
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.domain.rfc3339 import NO_INSTANT, instants_us

MAX_BODY_BYTES = 4096
MAX_ID_CHARACTERS = 128
MAX_AHEAD_US = 5 * 60 * 1_000_000
"""How much later than enqueued a ping may claim to be: the clocks of phones are set wrong now and then."""
MAX_LATE_US = 7 * 86_400 * 1_000_000
MILLISECONDS_FROM = 1e11
"""A larger number is milliseconds: as seconds it would be the year 5138, and as milliseconds this one is 1973."""
MAX_BRACKETS = 64
"""More opening brackets are not parsed: no ping nests, and how deep a parser can go depends on Python's version."""
MAX_DETAIL_CHARACTERS = 80

NAMES: Mapping[str, tuple[str, ...]] = {
    "device_id": ("device_id", "deviceId", "device", "appid", "appId", "app_id", "tid"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lng", "lon", "long"),
    "tracked_at": ("tracked_at", "trackedAt", "timestamp", "time", "ts", "tst"),
    "accuracy_m": ("accuracy_m", "accuracy", "horizontalAccuracy", "horizontal_accuracy", "acc"),
    "ping_id": ("ping_id", "pingId", "_id"),
    "consent": ("consent",),
}
"""Every name under which a field is accepted; where a body has several of a field, the one named first here counts."""

REQUIRED = ("device_id", "latitude", "longitude")


class Reason(StrEnum):
    """Why a body is no ping: the closed list, in the order of the checks."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_UNDERSTOOD = "not_understood"
    MISSING_FIELD = "missing_field"
    BAD_TYPE = "bad_type"
    OUT_OF_RANGE = "out_of_range"
    NULL_ISLAND = "null_island"
    FROM_THE_FUTURE = "from_the_future"
    TOO_LATE = "too_late"


@dataclass(frozen=True, slots=True)
class RejectedPing:
    """An event whose body cannot be used: its row in the batch, the reason, and the detail in at most 80 characters."""

    row: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class PingBatch:
    """The accepted pings of a batch as columns (row i of every column is one ping), and the rejected ones.

    `row` is the ping's row in the batch that was decoded. `accuracy_m` is NaN where the device did not say.
    `consent` is 1, 0, or -1 where the ping does not say.
    """

    row: NDArray[np.int64]
    device_id: list[str]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    tracked_at_us: NDArray[np.int64]
    accuracy_m: NDArray[np.float64]
    consent: NDArray[np.int8]
    ping_id: list[str | None]
    rejected: list[RejectedPing]

    def __len__(self) -> int:
        return len(self.device_id)


def decode_pings(bodies: Sequence[bytes | None], enqueued_at_us: NDArray[np.int64]) -> PingBatch:
    """Decode the bodies of a batch; event i was enqueued at `enqueued_at_us[i]`, cut to whole seconds.

    Never raises, whatever the bytes. What becomes of a body depends on nothing but the body and its enqueued time.
    """
    reports, faults = _read_all(bodies)
    rows = _rows_without(len(bodies), faults)
    tracked_at_us = _tracked_at_us(reports, enqueued_at_us[rows])
    is_told = tracked_at_us != NO_INSTANT
    if not is_told.all():
        faults |= {row: _fault_of(bodies[row]) for row in rows[~is_told].tolist()}
        rows, tracked_at_us = rows[is_told], tracked_at_us[is_told]
        reports = list(compress(reports, is_told.tolist()))
    batch = _columns(rows, reports, tracked_at_us)
    unfit = _unfit(batch, reports, enqueued_at_us[rows])
    if not (faults or unfit):
        return batch
    faults |= {int(rows[at]): fault for at, fault in unfit.items()}
    return _without(batch, unfit, [_rejected(row, faults[row]) for row in sorted(faults)])


def fields_of(body: bytes) -> dict[str, Any] | None:
    """What a body says of a ping, by field, `tracked_at` in microseconds since 1970 UTC; None for what is no ping.

    No value is judged, and no time: that is the affair of `decode_pings`. Absent fields are left out.
    """
    reports, faults = _read_all([body])
    if faults:
        return None
    fields = {name: value for name, value in msgspec.structs.asdict(reports[0]).items() if value is not None}
    if "tracked_at" in fields:
        instant = _instant(fields["tracked_at"])
        if instant is None:
            return None
        fields["tracked_at"] = _instant_us(instant)
    return fields


class _Report(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A ping with fields of the right types. Nearly all bodies are of this very shape, and decoded to it at once.

    Only `tracked_at` may still be no instant when it is a text: texts are parsed for a whole batch together.
    """

    device_id: str
    latitude: float
    longitude: float
    tracked_at: str | int | float | None = None
    accuracy_m: float | None = None
    ping_id: str | None = None
    consent: bool | None = None


class _Fault(NamedTuple):
    reason: Reason
    detail: str


type _Fields = dict[str, object]

_decode_report = msgspec.json.Decoder(_Report).decode
# Without the hook 1e999 is an error of the parser; with it, it is a number that is out of range.
_decode_object = msgspec.json.Decoder(dict[str, object], float_hook=float).decode


def _read_all(bodies: Sequence[bytes | None]) -> tuple[list[_Report], dict[int, _Fault]]:
    """The reports in order, and by row the faults of the bodies that give none."""
    reports: list[_Report] = []
    faults: dict[int, _Fault] = {}
    unread = iter(_readable(bodies))
    while len(reports) + len(faults) < len(bodies):
        try:
            reports.extend(map(_decode_report, unread))  # a body that fails leaves in the list what was read before it
        except ValueError:  # another form, other names, or a fault: find out which
            row = len(reports) + len(faults)
            report = _read_otherwise(bodies[row])
            if isinstance(report, _Fault):
                faults[row] = report
            else:
                reports.append(report)
    return reports, faults


def _readable(bodies: Sequence[bytes | None]) -> Sequence[bytes]:
    """The bodies, with nothing in the place of those that must not be parsed."""
    try:
        if max(map(len, bodies), default=0) <= MAX_BODY_BYTES:  # type: ignore[arg-type]
            return cast("Sequence[bytes]", bodies)
    except TypeError:
        pass  # a body of null has no length
    return [b"" if body is None or len(body) > MAX_BODY_BYTES else body for body in bodies]


def _read_otherwise(body: bytes | None) -> _Report | _Fault:
    """What a body says that is not of the common shape."""
    if body is None:
        return _Fault(Reason.NOT_UNDERSTOOD, "the event has no body")
    if len(body) > MAX_BODY_BYTES:
        return _Fault(Reason.TOO_LARGE, f"the body has {len(body)} bytes; at most {MAX_BODY_BYTES}")
    return _read_any_form(body)


def _fault_of(body: bytes | None) -> _Fault:
    """Of a body of the common shape, but for its `tracked_at`."""
    fault = _read_otherwise(body)
    assert isinstance(fault, _Fault), "both ways take the same texts for instants"
    return fault


def _rows_without(count: int, faults: Mapping[int, _Fault]) -> NDArray[np.int64]:
    rows = np.arange(count, dtype=np.int64)
    return np.delete(rows, list(faults)) if faults else rows


def _read_any_form(body: bytes) -> _Report | _Fault:
    fields = _fields_of_bytes(body)
    return fields if isinstance(fields, _Fault) else _report(fields)


def _fields_of_bytes(body: bytes) -> _Fields | _Fault:
    try:
        return _fields_of_text(body.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        return _Fault(Reason.NOT_UTF8, f"byte {error.start} of the body is {body[error.start]:#04x}: {error.reason}")


def _fields_of_text(text: str) -> _Fields | _Fault:
    if not text.lstrip().startswith("{"):
        return _fields_of_pairs(text)
    if text.count("{") + text.count("[") > MAX_BRACKETS:
        return _Fault(Reason.NOT_UNDERSTOOD, f"the body has more than {MAX_BRACKETS} opening brackets")
    try:
        return _fields_of_object(_decode_object(text))
    except ValueError as error:
        return _Fault(Reason.NOT_UNDERSTOOD, str(error))


def _fields_of_object(found: _Fields) -> _Fields | _Fault:
    if "specversion" in found:
        return _fields_of_cloud_event(found)
    if found.get("_type", "location") != "location":
        return _Fault(Reason.NOT_UNDERSTOOD, f"_type is {found['_type']!r}; of OwnTracks' only 'location' is a ping")
    return _by_field(found)


def _fields_of_cloud_event(envelope: _Fields) -> _Fields | _Fault:
    if envelope["specversion"] != "1.0":
        return _Fault(Reason.NOT_UNDERSTOOD, f"specversion is {envelope['specversion']!r}; valid is '1.0'")
    fields = _fields_of_data(envelope.get("data"), envelope.get("data_base64"))
    if isinstance(fields, _Fault):
        return fields
    said = {"device_id": envelope.get("subject"), "tracked_at": envelope.get("time"), "ping_id": envelope.get("id")}
    return {name: value for name, value in said.items() if value is not None} | fields


def _fields_of_data(data: object, base64: object) -> _Fields | _Fault:
    if data is not None and base64 is not None:
        return _Fault(Reason.NOT_UNDERSTOOD, "the CloudEvent has both data and data_base64")
    if isinstance(base64, str):
        try:
            return _fields_of_bytes(binascii.a2b_base64(base64, strict_mode=True))
        except ValueError as error:
            return _Fault(Reason.NOT_UNDERSTOOD, f"data_base64 is {base64!r}: {error}")
    if isinstance(data, dict):
        return _fields_of_object(data)
    if isinstance(data, str):
        return _fields_of_text(data)
    if data is None and base64 is None:
        return _Fault(Reason.MISSING_FIELD, "the CloudEvent has neither data nor data_base64")
    wrong = base64 if data is None else data
    return _Fault(Reason.NOT_UNDERSTOOD, f"the CloudEvent's data is neither an object nor a string: {wrong!r}")


def _fields_of_pairs(text: str) -> _Fields | _Fault:
    pairs = (part.partition(":") for part in text.split(","))
    fields = _by_field({name.strip(): value.strip() for name, colon, value in pairs if colon})
    if not fields:
        return _Fault(Reason.NOT_UNDERSTOOD, f"neither a JSON object nor name:value pairs: {text!r}")
    return {name: _value_of_text(name, str(value)) for name, value in fields.items()}


_PLACES = {name: (field, rank) for field, names in NAMES.items() for rank, name in enumerate(names)}


def _by_field(found: Mapping[str, object]) -> _Fields:
    """The values of the ping's fields, whatever they are called; absent ones are left out."""
    fields: _Fields = {}
    ranks: dict[str, int] = {}
    for name, value in found.items():
        field, rank = _PLACES.get(name, ("", 0))
        if field and value is not None and rank < ranks.get(field, len(_PLACES)):
            fields[field], ranks[field] = value, rank
    return fields


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def _value_of_text(field: str, text: str) -> object:
    """Text has no types: a number or a truth value where the field is one, else the text itself."""
    if field == "consent":
        return {"true": True, "false": False}.get(text.lower(), text)
    is_number = _TYPES[field][0] is not _text and _NUMBER.fullmatch(text)
    return float(text) if is_number else text


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf if value > 0 else -math.inf


def _instant_said(value: object) -> str | float | None:
    """A number, or a text that is an instant, as it was said."""
    return value if isinstance(value, str) and _instant(value) is not None else _number(value)


def _instant(value: object) -> datetime | float | None:
    if not isinstance(value, str):
        return _number(value)
    try:
        instant = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return None
    return instant if instant.tzinfo else None


_TYPES: Mapping[str, tuple[Callable[[object], object], str]] = {
    "device_id": (_text, "a string"),
    "latitude": (_number, "a number"),
    "longitude": (_number, "a number"),
    "tracked_at": (_instant_said, "RFC 3339 with an offset, or a number"),
    "accuracy_m": (_number, "a number"),
    "ping_id": (_text, "a string"),
    "consent": (_flag, "true or false"),
}


def _report(fields: _Fields) -> _Report | _Fault:
    for name in REQUIRED:
        if name not in fields:
            return _Fault(Reason.MISSING_FIELD, f"{name} is missing")
    values = {name: _TYPES[name][0](value) for name, value in fields.items()}
    for name, value in values.items():
        if value is None:
            return _Fault(Reason.BAD_TYPE, f"{name} must be {_TYPES[name][1]}, not {fields[name]!r}")
    return _Report(**values)  # type: ignore[arg-type]


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONSENT = {None: -1, False: 0, True: 1}


def _instant_us(instant: datetime | float) -> int:
    """Microseconds since 1970 UTC; a number too large for any calendar stays in the future, or in the past."""
    if isinstance(instant, datetime):
        since = instant - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    unit = 1_000_000 if abs(instant) < MILLISECONDS_FROM else 1_000
    return round(max(-1e15, min(instant, 1e15)) * unit)


def instants_of_numbers(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """What `tracked_at` means as a number, in microseconds since 1970 UTC."""
    unit = np.where(np.abs(numbers) < MILLISECONDS_FROM, 1_000_000, 1_000)
    instants: NDArray[np.int64] = np.rint(np.clip(numbers, -1e15, 1e15) * unit).astype(np.int64)
    return instants


def _tracked_at_us(reports: Sequence[_Report], enqueued_at_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """When each ping was tracked, in microseconds since 1970 UTC; NO_INSTANT for a text that is no instant."""
    said = [report.tracked_at for report in reports]
    try:
        instants = instants_us(cast("list[str]", said))
    except TypeError:  # numbers and nulls are no texts
        instants = instants_us([instant if isinstance(instant, str) else "" for instant in said])
        is_silent = np.array([instant is None for instant in said], np.bool_)
        instants[is_silent] = enqueued_at_us[is_silent]
    for at in np.flatnonzero(instants == NO_INSTANT).tolist():
        if (instant := _instant(said[at])) is not None:
            instants[at] = _instant_us(instant)
    return instants


def _columns(rows: NDArray[np.int64], reports: Sequence[_Report], tracked_at_us: NDArray[np.int64]) -> PingBatch:
    return PingBatch(
        row=rows,
        device_id=[report.device_id for report in reports],
        latitude=np.array([report.latitude for report in reports], np.float64),
        longitude=np.array([report.longitude for report in reports], np.float64),
        tracked_at_us=tracked_at_us,
        accuracy_m=_accuracies([report.accuracy_m for report in reports]),
        consent=_consents([report.consent for report in reports]),
        ping_id=[report.ping_id for report in reports],
        rejected=[],
    )


def _accuracies(said: list[float | None]) -> NDArray[np.float64]:
    if said.count(None) == len(said):  # many phones say none; to turn each None into NaN takes a third of decoding
        return np.full(len(said), np.nan)
    return np.array(said, np.float64)  # None becomes NaN


def _consents(said: list[bool | None]) -> NDArray[np.int8]:
    if said.count(None) == len(said):  # nearly no ping says; a look into the table costs five times as much
        return np.full(len(said), _CONSENT[None], np.int8)
    return np.array([_CONSENT[consent] for consent in said], np.int8)


def _unfit(batch: PingBatch, reports: Sequence[_Report], enqueued_at_us: NDArray[np.int64]) -> dict[int, _Fault]:
    """The first check that fails, by the ping's row in `batch`."""
    faults: dict[int, _Fault] = {}
    for reason, field, fails, valid in _checks(batch, enqueued_at_us):
        for at in np.flatnonzero(fails).tolist():
            faults.setdefault(at, _Fault(reason, f"{field} is {_shown(reports[at], field)}; {valid}"))
    return faults


type Check = tuple[Reason, str, NDArray[np.bool_], str]
"""A check over a whole batch: its reason, the field, where it fails, and what would be valid."""


def _checks(batch: PingBatch, enqueued_at_us: NDArray[np.int64]) -> Iterator[Check]:
    """All checks, in order."""
    characters = f"valid are 1 to {MAX_ID_CHARACTERS} characters"
    yield Reason.OUT_OF_RANGE, "device_id", _is_no_id(batch.device_id), characters
    yield from _range_checks(batch.latitude, batch.longitude, batch.accuracy_m)
    yield Reason.OUT_OF_RANGE, "ping_id", _is_no_id(batch.ping_id), characters
    yield from _sense_checks(batch.latitude, batch.longitude, batch.tracked_at_us - enqueued_at_us)


def _range_checks(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], accuracy_m: NDArray[np.float64]
) -> Iterator[Check]:
    yield Reason.OUT_OF_RANGE, "latitude", np.abs(latitude) > 90, "valid are -90 to 90"
    yield Reason.OUT_OF_RANGE, "longitude", np.abs(longitude) > 180, "valid are -180 to 180"
    yield Reason.OUT_OF_RANGE, "accuracy_m", (accuracy_m < 0) | np.isinf(accuracy_m), "valid are 0 m and more"


def _sense_checks(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], ahead_us: NDArray[np.int64]
) -> Iterator[Check]:
    null_island = (latitude == 0) & (longitude == 0)
    yield Reason.NULL_ISLAND, "latitude", null_island, "with longitude 0 a position that was never set"
    yield Reason.FROM_THE_FUTURE, "tracked_at", ahead_us > MAX_AHEAD_US, "over 5 min after it was enqueued"
    yield Reason.TOO_LATE, "tracked_at", ahead_us < -MAX_LATE_US, "over 7 days before it was enqueued"


def are_acceptable(
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
    accuracy_m: NDArray[np.float64],
    ahead_us: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which pings pass all checks but those of their ids; *ahead_us* is how much later than enqueued they claim."""
    passes = np.ones(latitude.size, np.bool_)
    for _, _, fails, _ in (
        *_range_checks(latitude, longitude, accuracy_m),
        *_sense_checks(latitude, longitude, ahead_us),
    ):
        passes &= ~fails
    return passes


def _is_no_id(texts: list[str] | list[str | None]) -> NDArray[np.bool_]:
    if texts and texts[0] is None and texts.count(None) == len(texts):  # null is no id that is wrong
        return np.zeros(len(texts), np.bool_)
    try:
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))  # type: ignore[arg-type]
    except TypeError:  # some are null
        lengths = np.array([1 if text is None else len(text) for text in texts], np.int64)
    return (lengths < 1) | (lengths > MAX_ID_CHARACTERS)


def _shown(report: _Report, field: str) -> str:
    """The value in words, short enough to leave room for what would be valid."""
    value = getattr(report, field)
    instant = _instant(value) if field == "tracked_at" else None
    return instant.isoformat() if isinstance(instant, datetime) else _clipped(repr(value), MAX_DETAIL_CHARACTERS // 2)


def _clipped(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _rejected(row: int, fault: _Fault) -> RejectedPing:
    return RejectedPing(row, fault.reason, _clipped(fault.detail, MAX_DETAIL_CHARACTERS))


def _without(batch: PingBatch, unfit: Mapping[int, _Fault], rejected: list[RejectedPing]) -> PingBatch:
    kept = _rows_without(len(batch), unfit)
    return PingBatch(
        row=batch.row[kept],
        device_id=[batch.device_id[at] for at in kept.tolist()],
        latitude=batch.latitude[kept],
        longitude=batch.longitude[kept],
        tracked_at_us=batch.tracked_at_us[kept],
        accuracy_m=batch.accuracy_m[kept],
        consent=batch.consent[kept],
        ping_id=[batch.ping_id[at] for at in kept.tolist()],
        rejected=rejected,
    )
