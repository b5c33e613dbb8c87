"""Decoding of pings: what is accepted, what is rejected and why, and that no bytes whatever break it."""

import base64
import json
import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.pings import MAX_DETAIL_CHARACTERS, NAMES, PingBatch, Reason, decode_pings, fields_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ENQUEUED = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def us(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)


ENQUEUED_US = us(ENQUEUED)


def decode(*bodies: bytes | None) -> PingBatch:
    return decode_pings(bodies, np.full(len(bodies), ENQUEUED_US))


def body(**changes: object) -> bytes:
    """A ping without fault but for the changes; a change to `...` takes the field away."""
    fields = {"device_id": "d-1", "latitude": 51.5, "longitude": -0.1} | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def accepted(of: bytes) -> dict[str, object]:
    """The one ping of a batch of one body; None where it does not say its accuracy."""
    batch = decode(of)
    assert batch.rejected == []
    assert batch.row.tolist() == [0]
    return {
        "device_id": batch.device_id[0],
        "latitude": float(batch.latitude[0]),
        "longitude": float(batch.longitude[0]),
        "tracked_at_us": int(batch.tracked_at_us[0]),
        "accuracy_m": None if math.isnan(batch.accuracy_m[0]) else float(batch.accuracy_m[0]),
        "consent": int(batch.consent[0]),
        "ping_id": batch.ping_id[0],
    }


def reason_of(of: bytes | None) -> tuple[Reason, str]:
    batch = decode(of)
    assert len(batch) == 0
    (rejected,) = batch.rejected
    return rejected.reason, rejected.detail


def rows_of(batch: PingBatch) -> list[tuple]:
    """A batch as one row a ping and one a rejected one, comparable: NaN becomes None."""
    pings = zip(
        batch.row.tolist(),
        batch.device_id,
        batch.latitude.tolist(),
        batch.longitude.tolist(),
        batch.tracked_at_us.tolist(),
        [None if math.isnan(accuracy_m) else accuracy_m for accuracy_m in batch.accuracy_m.tolist()],
        batch.consent.tolist(),
        batch.ping_id,
        strict=True,
    )
    return [*pings, *((ping.row, ping.reason, ping.detail) for ping in batch.rejected)]


def envelope(**changes: object) -> bytes:
    """A CloudEvents envelope about a ping, with the changes; a change to `...` takes the member away."""
    members = {"specversion": "1.0", "id": "e-1", "source": "/phones", "type": "ping"} | changes
    return json.dumps({name: value for name, value in members.items() if value is not ...}).encode()


# What is accepted


def test_a_ping_with_all_its_fields_is_decoded():
    said = {"tracked_at": "2026-03-01T11:59:58.25Z", "accuracy_m": 12.5, "ping_id": "p-1", "consent": True}
    assert accepted(body(latitude=51, longitude=2, **said)) == {
        "device_id": "d-1",
        "latitude": 51.0,
        "longitude": 2.0,
        "tracked_at_us": us(datetime(2026, 3, 1, 11, 59, 58, 250_000, tzinfo=UTC)),
        "accuracy_m": 12.5,
        "consent": 1,
        "ping_id": "p-1",
    }


def test_what_a_ping_does_not_say_is_unknown_and_it_was_tracked_when_it_was_enqueued():
    ping = accepted(body(accuracy_m=None, consent=None))
    assert (ping["accuracy_m"], ping["consent"], ping["ping_id"]) == (None, -1, None)
    assert ping["tracked_at_us"] == ENQUEUED_US


@pytest.mark.parametrize(("field", "name"), [(field, name) for field, names in NAMES.items() for name in names])
def test_every_name_of_a_field_means_that_field(field, name):
    values = {
        "device_id": "x",
        "latitude": 1.25,
        "longitude": 2.25,
        "tracked_at": 1772366390,
        "accuracy_m": 3.0,
        "ping_id": "y",
        "consent": True,
    }
    ping = {key: value for key, value in values.items() if key != field} | {name: values[field]}
    assert rows_of(decode(json.dumps(ping).encode())) == rows_of(decode(json.dumps(values).encode()))


def test_of_several_names_of_a_field_the_first_of_the_table_counts():
    assert accepted(body(appid="a", tid="b"))["device_id"] == "d-1"
    assert accepted(body(device_id=..., tid="b", appid="a"))["device_id"] == "a"
    assert accepted(body(device_id=None, tid="b", appid="a"))["device_id"] == "a"


def test_names_that_mean_nothing_here_are_ignored():
    assert accepted(body(battery=0.5, activity=["walking"], big=10**400)) == accepted(body())


def test_of_a_repeated_name_the_last_counts():
    assert accepted(b'{"device_id":"d","latitude":1,"longitude":2,"latitude":3}')["latitude"] == 3.0
    assert accepted(b'{"device_id":"d","lat":1,"lon":2,"lat":3}')["latitude"] == 3.0


def test_a_byte_order_mark_and_white_space_are_skipped():
    assert accepted(b"\xef\xbb\xbf" + body()) == accepted(b" \r\n" + body() + b"\n") == accepted(body())


def test_the_text_of_the_proof_of_concept_is_a_ping():
    ping = accepted(b"latitude:51.1, longitude:0.1,appid:abcde-j12345-e12345-f12345")
    assert (ping["device_id"], ping["latitude"], ping["longitude"]) == ("abcde-j12345-e12345-f12345", 51.1, 0.1)


def test_text_may_carry_every_field():
    text = "lat:.5,lon:-1e1,device_id:a,tracked_at:2026-03-01T12:00:01+01:00,accuracy:5,ping_id:7,consent:True,z"
    ping = accepted(text.encode())
    assert (ping["latitude"], ping["longitude"], ping["accuracy_m"]) == (0.5, -10.0, 5.0)
    assert (ping["ping_id"], ping["consent"]) == ("7", 1)
    assert ping["tracked_at_us"] == ENQUEUED_US - 3_599_000_000


def test_a_location_of_owntracks_is_a_ping():
    message = b'{"_type":"location","lat":51.5,"lon":-0.1,"tst":1772366390,"acc":12,"tid":"ab","batt":87,"vel":4}'
    ping = accepted(message)
    assert (ping["device_id"], ping["latitude"], ping["longitude"], ping["accuracy_m"]) == ("ab", 51.5, -0.1, 12.0)
    assert ping["tracked_at_us"] == 1_772_366_390_000_000


PLAIN = {"device_id": "d-1", "latitude": 51.5, "longitude": -0.1}


@pytest.mark.parametrize(
    "data",
    [
        {"data": PLAIN},
        {"data": json.dumps(PLAIN)},
        {"data": "latitude:51.5, longitude:-0.1,appid:d-1"},
        {"data": {"_type": "location", "lat": 51.5, "lon": -0.1, "tid": "d-1"}},
        {"data_base64": base64.b64encode(json.dumps(PLAIN).encode()).decode()},
        {"data_base64": base64.b64encode(b"latitude:51.5, longitude:-0.1,appid:d-1").decode(), "data": None},
    ],
)
def test_a_cloud_event_may_carry_a_ping_in_any_form(data):
    assert accepted(envelope(**data)) == accepted(body(ping_id="e-1"))


def test_what_the_data_does_not_say_the_envelope_of_the_cloud_event_does():
    said = accepted(envelope(data={"lat": 51.5, "lon": -0.1}, subject="d-2", time="2026-03-01T11:59:00Z"))
    assert (said["device_id"], said["ping_id"], said["tracked_at_us"]) == ("d-2", "e-1", ENQUEUED_US - 60_000_000)


def test_what_the_data_says_the_envelope_of_the_cloud_event_does_not_change():
    data = PLAIN | {"appid": "d-1", "tst": 1772366399, "ping_id": "p-1"}
    said = accepted(envelope(data=data, subject="d-2", time="no time at all"))
    assert (said["device_id"], said["ping_id"], said["tracked_at_us"]) == ("d-1", "p-1", ENQUEUED_US - 1_000_000)


@pytest.mark.parametrize(
    "tracked_at",
    [
        "2026-03-01T11:59:58.5Z",
        "2026-03-01t11:59:58.500z",
        "2026-03-01 11:59:58.500000+00:00",
        "2026-03-01T17:29:58.500000000+05:30",
        "2026-02-28T22:59:58.5-13:00",
        1772366398.5,
        1772366398500,
        1772366398500.0,
    ],
)
@pytest.mark.parametrize("name", ["tracked_at", "timestamp"])
def test_an_instant_may_be_written_in_many_ways(name, tracked_at):
    assert accepted(body(**{name: tracked_at}))["tracked_at_us"] == ENQUEUED_US - 1_500_000


@settings(deadline=None, max_examples=200)
@given(
    st.datetimes(
        ENQUEUED.replace(tzinfo=None) - timedelta(days=6), ENQUEUED.replace(tzinfo=None), timezones=st.just(UTC)
    ),
    st.integers(-1439, 1439),
)
def test_an_instant_is_kept_to_the_microsecond_in_any_zone(instant, minutes):
    written = instant.astimezone(timezone(timedelta(minutes=minutes))).isoformat()
    assert accepted(body(tracked_at=written))["tracked_at_us"] == us(instant)


# The limits


@pytest.mark.parametrize(
    "changes",
    [
        {"latitude": 90, "longitude": 180},
        {"latitude": -90.0, "longitude": -180.0},
        {"latitude": 0, "longitude": 1e-300},
        {"device_id": "x" * 128},
        {"device_id": "🚌" * 128},
        {"ping_id": "p" * 128},
        {"accuracy_m": 0},
        {"accuracy_m": 1e300},
        {"tracked_at": us(ENQUEUED + timedelta(minutes=5)) / 1e6},
        {"tracked_at": us(ENQUEUED - timedelta(days=7)) / 1e6},
        {"note": "x" * (4096 - len(body(note="")))},
    ],
)
def test_a_value_at_its_limit_is_accepted(changes):
    accepted(body(**changes))


DEEP = b"[" * 100_000
HOSTILE: list[tuple[bytes | None, Reason]] = [
    (None, Reason.NOT_UNDERSTOOD),
    (b"", Reason.NOT_UNDERSTOOD),
    (b" \n\t", Reason.NOT_UNDERSTOOD),
    (b"\x00", Reason.NOT_UNDERSTOOD),
    (b"\xef\xbb\xbf", Reason.NOT_UNDERSTOOD),
    (b"null", Reason.NOT_UNDERSTOOD),
    (b"true", Reason.NOT_UNDERSTOOD),
    (b"17", Reason.NOT_UNDERSTOOD),
    (b'"latitude:51.1"', Reason.NOT_UNDERSTOOD),
    (b"[]", Reason.NOT_UNDERSTOOD),
    (b"[" + body() + b"]", Reason.NOT_UNDERSTOOD),
    (b"GET / HTTP/1.1", Reason.NOT_UNDERSTOOD),
    (b"<ping lat='1' lon='2'/>", Reason.NOT_UNDERSTOOD),
    (body()[:-1], Reason.NOT_UNDERSTOOD),
    (body() + b"}", Reason.NOT_UNDERSTOOD),
    (body() + b"\x00", Reason.NOT_UNDERSTOOD),
    (body() + b"\n" + body(), Reason.NOT_UNDERSTOOD),
    (body().replace(b'"', b"'"), Reason.NOT_UNDERSTOOD),
    (body().replace(b"}", b",}"), Reason.NOT_UNDERSTOOD),
    (body().replace(b"51.5", b"051.5"), Reason.NOT_UNDERSTOOD),
    (body().replace(b"51.5", b"NaN"), Reason.NOT_UNDERSTOOD),
    (body().replace(b"51.5", b"-Infinity"), Reason.NOT_UNDERSTOOD),
    (body().replace(b"d-1", b"\\ud800"), Reason.NOT_UNDERSTOOD),
    (body().replace(b"d-1", b"\\udc00\\ud800"), Reason.NOT_UNDERSTOOD),
    (body().replace(b"d-1", b"a\nb"), Reason.NOT_UNDERSTOOD),
    (b"[" * 3_000, Reason.NOT_UNDERSTOOD),
    (b'{"a":' * 800, Reason.NOT_UNDERSTOOD),
    (body(x=json.loads("[" * 900 + "]" * 900)), Reason.NOT_UNDERSTOOD),
    (body(_type="lwt"), Reason.NOT_UNDERSTOOD),
    (envelope(specversion="0.3", data=PLAIN), Reason.NOT_UNDERSTOOD),
    (envelope(specversion=None, data=PLAIN), Reason.NOT_UNDERSTOOD),
    (envelope(data=PLAIN, data_base64="e30="), Reason.NOT_UNDERSTOOD),
    (envelope(data=[PLAIN]), Reason.NOT_UNDERSTOOD),
    (envelope(data=0), Reason.NOT_UNDERSTOOD),
    (envelope(data_base64=7), Reason.NOT_UNDERSTOOD),
    (envelope(data_base64="e30"), Reason.NOT_UNDERSTOOD),
    (envelope(data_base64="ü"), Reason.NOT_UNDERSTOOD),
    (envelope(data_base64="e!30="), Reason.NOT_UNDERSTOOD),
    (envelope(data="hello"), Reason.NOT_UNDERSTOOD),
    (DEEP, Reason.TOO_LARGE),
    (b'{"a":' * 100_000, Reason.TOO_LARGE),
    (body(note="x" * (4097 - len(body(note="")))), Reason.TOO_LARGE),
    (b"\xff" * 4097, Reason.TOO_LARGE),
    (b"\xff\xfe{\x00}\x00", Reason.NOT_UTF8),
    (body().decode().encode("utf-16"), Reason.NOT_UTF8),
    (body().replace(b"d-1", b"\xff"), Reason.NOT_UTF8),
    (body().replace(b"d-1", b"\xed\xa0\x80"), Reason.NOT_UTF8),
    (body().replace(b"d-1", b"\xc0\x80"), Reason.NOT_UTF8),
    (body(x="y").replace(b"y", b"\xfe"), Reason.NOT_UTF8),
    (envelope(data_base64="/w=="), Reason.NOT_UTF8),
    (b"{}", Reason.MISSING_FIELD),
    (body(latitude=...), Reason.MISSING_FIELD),
    (body(longitude=None), Reason.MISSING_FIELD),
    (body(device_id=..., latitude="x"), Reason.MISSING_FIELD),
    (b"latitude:51.1, longitude:0.1", Reason.MISSING_FIELD),
    (b"latitude, longitude:0.1,appid:a", Reason.MISSING_FIELD),
    (b"appid:a,longitude:0.1,Latitude:51.1", Reason.MISSING_FIELD),
    (envelope(), Reason.MISSING_FIELD),
    (envelope(data={}), Reason.MISSING_FIELD),
    (envelope(data={"latitude": 1, "longitude": 2}), Reason.MISSING_FIELD),
    (body(latitude="51.5"), Reason.BAD_TYPE),
    (body(latitude=True), Reason.BAD_TYPE),
    (body(latitude=[51.5]), Reason.BAD_TYPE),
    (body(longitude={"value": 1}, latitude=99), Reason.BAD_TYPE),
    (body(device_id=4716), Reason.BAD_TYPE),
    (body(device_id=["d"]), Reason.BAD_TYPE),
    (body(consent=1), Reason.BAD_TYPE),
    (body(consent="yes"), Reason.BAD_TYPE),
    (body(accuracy_m="5"), Reason.BAD_TYPE),
    (body(accuracy_m=False), Reason.BAD_TYPE),
    (body(ping_id=17), Reason.BAD_TYPE),
    (body(tracked_at="2026-03-01T12:00:00"), Reason.BAD_TYPE),
    (body(tracked_at="2026-03-01"), Reason.BAD_TYPE),
    (body(tracked_at="2026-02-30T12:00:00Z"), Reason.BAD_TYPE),
    (body(tracked_at="2026-02-28T23:59:60Z"), Reason.BAD_TYPE),
    (body(tracked_at="1772366398"), Reason.BAD_TYPE),
    (body(tracked_at=""), Reason.BAD_TYPE),
    (body(tracked_at=True), Reason.BAD_TYPE),
    (b"latitude:north, longitude:0.1,appid:a", Reason.BAD_TYPE),
    (b"latitude:nan, longitude:0.1,appid:a", Reason.BAD_TYPE),
    (b"latitude:1_0, longitude:0.1,appid:a", Reason.BAD_TYPE),
    (b"latitude:, longitude:0.1,appid:a", Reason.BAD_TYPE),
    ("latitude:\u0665, longitude:0.1,appid:a".encode(), Reason.BAD_TYPE),
    (envelope(data={"lat": 1, "lon": 2}, subject=7), Reason.BAD_TYPE),
    (body(latitude=90.00000001), Reason.OUT_OF_RANGE),
    (body(latitude=-91), Reason.OUT_OF_RANGE),
    (body(longitude=180.5), Reason.OUT_OF_RANGE),
    (body(longitude=-1e300), Reason.OUT_OF_RANGE),
    (body().replace(b"51.5", b"1e999"), Reason.OUT_OF_RANGE),
    (body().replace(b"51.5", b"9" * 400), Reason.OUT_OF_RANGE),
    (body().replace(b"51.5", b"-" + b"9" * 3_900), Reason.OUT_OF_RANGE),
    (b"latitude:1e999, longitude:0.1,appid:a", Reason.OUT_OF_RANGE),
    (body(device_id=""), Reason.OUT_OF_RANGE),
    (body(device_id="x" * 129), Reason.OUT_OF_RANGE),
    (b"latitude:1, longitude:0.1,appid:", Reason.OUT_OF_RANGE),
    (body(ping_id=""), Reason.OUT_OF_RANGE),
    (body(ping_id="p" * 129), Reason.OUT_OF_RANGE),
    (body(accuracy_m=-1), Reason.OUT_OF_RANGE),
    (body(accuracy_m=7).replace(b"7", b"1e999"), Reason.OUT_OF_RANGE),
    (body(latitude=0, longitude=0, accuracy_m=-1), Reason.OUT_OF_RANGE),
    (body(latitude=0, longitude=0), Reason.NULL_ISLAND),
    (body(latitude=-0.0, longitude=0.0, tracked_at=0), Reason.NULL_ISLAND),
    (b"latitude:0, longitude:0,appid:a", Reason.NULL_ISLAND),
    (body(tracked_at=us(ENQUEUED + timedelta(minutes=5)) / 1e6 + 1), Reason.FROM_THE_FUTURE),
    (body(tracked_at="9999-12-31T23:59:59-23:59"), Reason.FROM_THE_FUTURE),
    (body(tracked_at=1772366398500000), Reason.FROM_THE_FUTURE),
    (body(tracked_at=99_999_999_999), Reason.FROM_THE_FUTURE),
    (body(tracked_at=10**400), Reason.FROM_THE_FUTURE),
    (body(tracked_at=7).replace(b"7", b"1e999"), Reason.FROM_THE_FUTURE),
    (body(tracked_at=us(ENQUEUED - timedelta(days=7)) / 1e6 - 1), Reason.TOO_LATE),
    (body(tracked_at=0), Reason.TOO_LATE),
    (body(tracked_at=100_000_000_000), Reason.TOO_LATE),
    (body(tracked_at=-1e300), Reason.TOO_LATE),
    (body(tracked_at="0001-01-01T00:00:00+23:59"), Reason.TOO_LATE),
]


@pytest.mark.parametrize(("hostile", "reason"), HOSTILE, ids=[repr(hostile)[:50] for hostile, _ in HOSTILE])
def test_a_hostile_body_is_rejected_for_the_first_reason_that_applies(hostile, reason):
    assert reason_of(hostile)[0] is reason


def test_the_table_of_hostile_bodies_has_every_reason():
    assert {reason for _, reason in HOSTILE} == set(Reason)


def test_the_same_fault_has_the_same_reason_under_every_name_and_in_every_envelope():
    assert reason_of(body(latitude="x")) == reason_of(body(latitude=..., lat="x"))
    assert reason_of(body(latitude=95)) == reason_of(envelope(data=PLAIN | {"latitude": 95.0}))
    assert reason_of(body(latitude=95, device_id=..., appid="a")) == reason_of(b"latitude:95,longitude:-0.1,appid:a")


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        (body(latitude=95), "latitude is 95.0; valid are -90 to 90"),
        (body(longitude="west"), "longitude must be a number, not 'west'"),
        (body(device_id=...), "device_id is missing"),
        (body(device_id=""), "device_id is ''; valid are 1 to 128 characters"),
        (body(accuracy_m=-1), "accuracy_m is -1.0; valid are 0 m and more"),
        (
            body(tracked_at="2026-03-08T12:00:00Z"),
            "tracked_at is 2026-03-08T12:00:00+00:00; over 5 min after it was enqueued",
        ),
        (body(note="x" * 5_000), "the body has 5069 bytes; at most 4096"),
        (body(_type="lwt"), "_type is 'lwt'; of OwnTracks' only 'location' is a ping"),
        (b"\xff", "byte 0 of the body is 0xff: invalid start byte"),
    ],
)
def test_the_detail_names_the_field_and_the_value(fault, detail):
    assert reason_of(fault)[1] == detail


# Whatever the bytes

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
VALUES = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8) | JSON
ALL_NAMES = st.sampled_from(
    [name for names in NAMES.values() for name in names] + ["_type", "specversion", "data", "x"]
)
PLAUSIBLE = st.fixed_dictionaries(
    {"device_id": st.text(min_size=1, max_size=9), "latitude": st.floats(-91, 91), "longitude": st.floats(-181, 181)},
    optional={
        "tracked_at": st.floats(1.7723e9, 1.7724e9) | st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
        "accuracy_m": st.floats(-1, 100),
        "ping_id": st.text(max_size=9),
        "consent": st.booleans(),
    },
)
MEMBERS = st.dictionaries(ALL_NAMES, VALUES)
OBJECTS = PLAUSIBLE | MEMBERS | st.builds(lambda ping, more: ping | more, PLAUSIBLE, MEMBERS)
ENVELOPES = st.builds(lambda data, more: {"specversion": "1.0", "data": data} | more, OBJECTS | JSON, MEMBERS)
BODIES = (
    st.none()
    | st.binary()
    | st.text().map(str.encode)
    | (JSON | OBJECTS | ENVELOPES).map(lambda value: json.dumps(value).encode())
    | st.lists(st.tuples(ALL_NAMES, st.text() | st.floats().map(str)), min_size=1).map(
        lambda pairs: ",".join(f"{name}:{value}" for name, value in pairs).encode()
    )
)


@settings(deadline=None, max_examples=400)
@given(BODIES)
def test_any_bytes_are_one_valid_ping_or_one_reason(some_body):
    batch = decode(some_body)
    assert len(batch) + len(batch.rejected) == 1
    for rejected in batch.rejected:
        assert 0 < len(rejected.detail) <= MAX_DETAIL_CHARACTERS
        assert rejected.detail.isprintable()
    for device_id, ping_id in zip(batch.device_id, batch.ping_id, strict=True):
        assert 1 <= len(device_id) <= 128
        assert ping_id is None or 1 <= len(ping_id) <= 128
        assert (device_id + (ping_id or "")).encode()
    assert np.all(np.abs(batch.latitude) <= 90)
    assert np.all(np.abs(batch.longitude) <= 180)
    assert np.all((batch.latitude != 0) | (batch.longitude != 0))
    assert np.all((batch.accuracy_m >= 0) | np.isnan(batch.accuracy_m))
    assert np.all(batch.tracked_at_us - ENQUEUED_US <= 300_000_000)
    assert np.all(batch.tracked_at_us - ENQUEUED_US >= -7 * 86_400_000_000)


@settings(deadline=None, max_examples=120)
@given(st.lists(st.tuples(BODIES, st.integers(0, 10**9)), max_size=12))
def test_a_body_is_decoded_alike_alone_and_in_any_batch(events):
    bodies = [some_body for some_body, _ in events]
    enqueued_at_us = np.array([ENQUEUED_US + second * 1_000_000 for _, second in events], np.int64)
    together = decode_pings(bodies, enqueued_at_us)
    alone = [
        (at, *rest)
        for at in range(len(bodies))
        for _, *rest in rows_of(decode_pings(bodies[at : at + 1], enqueued_at_us[at : at + 1]))
    ]
    assert sorted(rows_of(together), key=lambda row: row[0]) == alone
    assert together.row.tolist() == sorted(together.row.tolist())
    assert [ping.row for ping in together.rejected] == sorted(ping.row for ping in together.rejected)


@settings(deadline=None, max_examples=120)
@given(OBJECTS)
def test_a_body_of_the_common_shape_is_decoded_like_every_other(fields):
    common, with_a_strange_name = json.dumps(fields).encode(), json.dumps(fields | {"strange": 0}).encode()
    assert rows_of(decode(common)) == rows_of(decode(with_a_strange_name))


def test_no_bodies_are_an_empty_batch():
    batch = decode()
    assert (len(batch), batch.rejected, batch.row.dtype, batch.latitude.dtype) == (0, [], np.int64, np.float64)
    assert (batch.tracked_at_us.dtype, batch.consent.dtype, batch.accuracy_m.dtype) == (np.int64, np.int8, np.float64)


def test_a_batch_keeps_the_order_of_its_pings_and_the_rows_of_the_rejected():
    batch = decode(body(device_id="a"), b"?", body(device_id="b"), body(latitude=99), body(device_id="c"))
    assert (batch.device_id, batch.row.tolist()) == (["a", "b", "c"], [0, 2, 4])
    assert [(ping.row, ping.reason) for ping in batch.rejected] == [
        (1, Reason.NOT_UNDERSTOOD),
        (3, Reason.OUT_OF_RANGE),
    ]


def test_the_fields_of_a_body_are_told_whether_valid_or_not():
    assert fields_of(b"lat:99,lon:0,appid:a,tst:5") == {
        "device_id": "a",
        "latitude": 99.0,
        "longitude": 0.0,
        "tracked_at": 5_000_000,
    }
    assert fields_of(body(consent=False)) == PLAIN | {"consent": False}
    assert fields_of(b"hello") is None
