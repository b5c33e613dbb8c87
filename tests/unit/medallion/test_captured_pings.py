"""Whatever the bodies are, those of a capture file say what `decode_pings` says they do: pings, reasons and words."""

import json
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.pings import NAMES, decode_pings
from shared.medallion import captured_pings
from shared.medallion.alike_bodies import Kind, Shape, Value, read_alike
from shared.medallion.bronze import Bodies
from shared.medallion.captured_pings import LEAST_ALIKE, decode_captured
from tests.fakes_lake import NOON, captured

NUMBERS = [
    *(
        "51.5",
        "-0.1",
        "0.000001",
        "90.000001",
        "-180",
        "180.0",
        "12",
        "0",
        "-0",
        "0.0",
        "-0.0",
        "00.1",
        "01",
        "1.",
        "-",
    ),
    *("+1", ".5", "--1", "1.2.3", "1e1", "1E-2", "1e999", "NaN", "null", "true", '"51.5"', "5 ", " 5"),
    *("1795780800", "1795780800000", "1795780800.25", "123456789012345", "1234567890123456"),
    *("9007199254740993", "9.007199254740993", "12345678901234567", "0.12345678901234567"),
]
TEXTS = [
    *("phone-1", "phone-22", "", "é", "\\u00e9", 'a\\"b', "a\\\\b", "a,b", "}{", "x" * 128, "x" * 129, "\t", "\x7f"),
    *("2026-03-29T12:00:00Z", "2026-03-29T12:00:00.123Z", "2026-03-29T12:00:00+01:00", "2026-02-30T12:00:00Z"),
    *("2026-03-29t12:00:00z", "2026-03-20T12:00:00Z", "2026-03-29T12:30:00Z", "location", "1.0"),
]
VALID = {
    "device_id": ['"phone-1"', '"phone-22"'],
    "latitude": ["51.5", "-0.000001", "0.0", "51.507351123456"],
    "longitude": ["-0.1", "179", "0.0"],
    "tracked_at": ['"2026-03-29T12:00:00Z"', '"2026-03-29T12:00:00.123+01:00"', "1774785600", "1774785600000.5"],
    "accuracy_m": ["4.5", "12", "null"],
    "ping_id": ['"p1"', f'"{"x" * 129}"'],
    "consent": ["true", "false", "null"],
}
IGNORED = ['"_type":"location"', '"_type":"waypoint"', '"specversion":"1.0"', '"battery":87', '"note":"a"', '"on":true']

values = st.sampled_from([*NUMBERS, *map('"{}"'.format, TEXTS), "{}", "[1]", "false"])
letters = st.sampled_from('"\\{},:.-0159eE+ \n\x00\x7f') | st.characters(codec="utf-8")


@st.composite
def members(draw):
    """The members of a ping's object: each by one of its names, now and then by two, and others beside them."""
    fields = [*NAMES] if draw(st.booleans()) else draw(st.lists(st.sampled_from([*NAMES]), min_size=3, max_size=5))
    named = [(draw(st.sampled_from(NAMES[field])), draw(st.sampled_from(VALID[field]))) for field in fields]
    return [*(f'"{name}":{value}' for name, value in named), *draw(st.lists(st.sampled_from(IGNORED), max_size=1))]


@st.composite
def alike(draw):
    """Many times the same body, and others that differ from it in a value, or in a letter."""
    usual = draw(members())
    space = draw(st.sampled_from(["", "", " ", "\n"]))
    bodies = ["{" + f",{space}".join(usual) + "}"] * LEAST_ALIKE
    for at, value in draw(st.lists(st.tuples(st.integers(0, len(usual) - 1), values), max_size=6)):
        name, _, _ = usual[at].partition(":")
        bodies.append("{" + f",{space}".join([*usual[:at], f"{name}:{value}", *usual[at + 1 :]]) + "}")
    for at, letter, taken in draw(st.lists(st.tuples(st.integers(0, 200), letters, st.integers(0, 1)), max_size=6)):
        bodies.append(bodies[0][:at] + letter + bodies[0][at + taken :])
    return [body.encode() for body in bodies]


bodies_of_some_shapes = st.lists(
    st.one_of(alike(), st.lists(st.none() | st.binary(max_size=12), min_size=1, max_size=3)), min_size=1, max_size=3
)


def said_of(captured_events):
    found = decode_captured(captured_events)
    columns = (found.row, found.latitude, found.longitude, found.accuracy_m, found.tracked_at_us)
    return [column.tobytes() for column in columns], found.device_id.to_list(), found.rejected


def said_by_decode_pings(captured_events):
    found = decode_pings(captured_events.bodies.to_list(), captured_events.enqueued_at_us)
    columns = (found.row, found.latitude, found.longitude, found.accuracy_m, found.tracked_at_us)
    return [column.tobytes() for column in columns], found.device_id, found.rejected


@given(bodies_of_some_shapes, st.integers(0, 5), st.booleans(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=400)
def test_bodies_that_are_alike_say_what_each_of_them_says(shapes, cut, is_shuffled, random):
    bodies = [body for shape in shapes for body in shape]
    if is_shuffled:
        random.shuffle(bodies)
    events = captured(bodies, [NOON + timedelta(seconds=row % 3) for row in range(len(bodies))])
    events = next(events.slices(max(len(bodies) - cut, 1)))  # others lie behind the last one, or nothing
    assert said_of(events) == said_by_decode_pings(events)


USUAL = '{"device_id":"phone-1","latitude":51.5,"longitude":-0.1,"tracked_at":"2026-03-29T12:00:00Z"}'


def assert_said_alike(bodies):
    events = captured([body.encode() for body in bodies])
    assert said_of(events) == said_by_decode_pings(events)


def test_a_number_in_any_form_is_the_parser_s_or_goes_to_the_parser():
    assert_said_alike([USUAL] * LEAST_ALIKE + [USUAL.replace("51.5", number) for number in NUMBERS])


def test_a_text_of_the_same_length_is_the_parser_s_or_goes_to_the_parser():
    texts = ['phone"1', "phone\\1", "phone\\n", "phone\x001", "phone\x7f", "phone\n1", "phoneé", "phone 1", "~!@#$^&"]
    assert_said_alike([USUAL] * LEAST_ALIKE + [USUAL.replace("phone-1", text) for text in texts])


@pytest.mark.parametrize(
    "more",
    [
        '"lat":51.6',
        '"lat":null',
        '"accuracy_m":true',
        '"accuracy_m":"5"',
        '"acc":-5',
        '"consent":"true"',
        '"ping_id":5',
        '"_type":"lwt"',
        '"specversion":"1.0"',
        '"latitude":51.6',
        '"battery":5',
    ],
)
def test_bodies_of_any_one_shape_say_what_each_of_them_says(more):
    assert_said_alike([f"{USUAL[:-1]},{more}}}"] * (LEAST_ALIKE + 9))


def pings(count, form='{{"device_id":"{0:04}","latitude":51.{0:06},"longitude":-0.{0},"tracked_at":"{1}"}}'):
    return [form.format(number, "2026-03-29T12:00:00Z").encode() for number in range(count)]


@pytest.mark.parametrize(
    "form",
    [
        '{{"device_id":"{0:04}","latitude":51.{0:06},"longitude":-0.{0},"tracked_at":"{1}"}}',
        '{{"device_id":"{0:04}","latitude":51.{0:06},"longitude":-0.{0},"accuracy_m":{0},"consent":true}}',
        '{{ "appid": "{0:04}", "lat": 51.{0:06}, "lng": 0.{0}, "ts": 1774785600000, "battery": {0}, "net": null }}',
    ],
)
def test_nearly_all_bodies_alike_are_read_without_an_object_for_each(form, monkeypatch):
    asked = []

    def decode(bodies, enqueued_at_us):
        asked.extend(bodies)
        return decode_pings(bodies, enqueued_at_us)

    monkeypatch.setattr(captured_pings, "decode_pings", decode)
    others = [b'{"not": "alike"}', b"x" * 200]
    bodies = [*pings(1000, form), *others]
    decoded = decode_captured(captured(bodies))
    assert decoded.row.tolist() == list(range(1000))
    assert [item.row for item in decoded.rejected] == [1000, 1001]
    assert asked == others


def test_bodies_that_are_all_different_are_soon_given_up(monkeypatch):
    tried = []
    monkeypatch.setattr(captured_pings, "read_alike", lambda *args: tried.append(args) or read_alike(*args))
    ping = {"device_id": "d", "latitude": 1, "longitude": 2}
    bodies = [json.dumps({**ping, "x" * row: 1}).encode() for row in range(500)]
    assert decode_captured(captured(bodies)).row.size == 500
    assert len(tried) == captured_pings.MOST_MISSES


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "[1]",
        '{"a":1',
        '{"a":1}x',
        '{"a":1,"a":2}',
        '{"a":{}}',
        '{"a":[1]}',
        '{"a":"\\n"}',
        '{"a":1e1}',
        "{1:2}",
    ],
)
def test_what_is_no_flat_object_of_usual_letters_has_no_shape(body):
    assert Shape.of(body.encode()) is None


def test_a_shape_is_the_letters_around_the_values():
    shape = Shape.of(b'{"id": "d1", "ok": true, "lat": -51.25} ')
    assert shape.literals == (b'{"id": "', b'", "ok": true, "lat": ', b"} ")
    assert shape.values == (Value("id", Kind.TEXT, 2), Value("lat", Kind.NUMBER, 6))
    assert shape.words == {"ok": True}


@given(st.lists(st.none() | st.binary(max_size=5), max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_bodies_are_where_they_lie_and_null_ones_none(bodies, start, stop):
    held = Bodies.of(bodies)
    assert (len(held), list(held), held[start:stop].to_list()) == (len(bodies), bodies, bodies[start:stop])
    assert [held[row] for row in range(len(held))] == bodies


@given(st.lists(st.tuples(st.integers(-(10**7), 10**7), st.integers(0, 10**7 - 1)), min_size=1, max_size=30))
def test_numbers_are_the_nearest_doubles(parts):
    written = [f"{whole}.{decimals:07}" for whole, decimals in parts]
    bodies = Bodies.of([f'{{"x":{text}}}'.encode() for text in [*written, " " * 80]])
    found = read_alike(bodies, np.arange(len(written)), Shape.of(b'{"x":1.5}'))
    assert found.numbers["x"].tolist() == [float(text) for text in written]
