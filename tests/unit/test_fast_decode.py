"""The fast paths give what azure-functions gives, on every format."""

import json
from datetime import datetime
from types import SimpleNamespace

import pytest
from azure.functions import meta
from azure.functions.eventhub import EventHubTriggerConverter
from hypothesis import given
from hypothesis import strategies as st

import functions.fast_decode as fast_decode

FORMATS = [
    "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ",
    "%Y-%m-%dT%H:%M:%S+00:00", "%Y-%m-%dT%H:%M:%S.%f+00:00", "%Y-%m-%dT%H:%M:%S-00:00", "%Y-%m-%dT%H:%M:%S.%f-00:00",
    "%m/%d/%Y %H:%M:%SZ", "%m/%d/%Y %H:%M:%S.%f+00:00", "%m/%d/%YT%H:%M:%S", "%m/%d/%YT%H:%M:%S.%f",
]  # fmt: skip
ODD = [
    None, "", "yesterday", "2026-11-24", "20261124T080404", "2026-W48-2T08:04:04", "2026-11-24T08:04:04+01:00",
    "2026-11-24 08:04:04", "2026-11-24T08:04:04.1234567", "2026-11-24T08:04:04.1234567Z", "2026-11-24T08:04:04,5",
    "2026-11-24T24:00:00", "2026-02-30T08:04:04", "2026-11-24T08:04:04.", "2026-11-24T08:04:04.12Z",
    "2026-11-24T08:04:60",
    "2026-11-24T08:04:04+00:00:00.5", "2026-11-24T08:04:04z", "2026-11-24T08:04:04.123456789Z",
    "2026-11-24T08:04:04+0000",
]  # fmt: skip


STOCK = meta._BaseConverter._parse_datetime
STOCK_DECODE = EventHubTriggerConverter.decode_multiple_events
"""As this process first sees them: importing functions.fast_decode installs nothing."""


def answer(parse, text):
    try:
        found = parse(text)
    except ValueError as error:
        return type(error)
    return found, None if found is None else found.utcoffset()


@given(st.sampled_from(FORMATS), st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - the host sends naive times
def test_every_format_that_the_library_knows_gives_the_same_instant(form, instant):
    text = instant.strftime(form)
    assert answer(fast_decode.parser(STOCK), text) == answer(STOCK, text)


@pytest.mark.parametrize("text", ODD)
def test_every_other_text_gives_the_same_answer_or_error(text):
    assert answer(fast_decode.parser(STOCK), text) == answer(STOCK, text)


def events(decode, bodies, properties, kind="collection_bytes"):
    """What a decoder makes of bodies and system properties (a value, or a text that stands for itself)."""
    text = properties if isinstance(properties, str) else json.dumps(properties)
    values = SimpleNamespace(bytes=bodies, string=[body.decode("latin-1") for body in bodies])
    metadata = {
        "SystemPropertiesArray": meta.Datum(text, "json"),
        "PartitionContext": meta.Datum('{"PartitionId": "2"}', "json"),
    }
    try:
        found = decode(meta.Datum(values, kind), trigger_metadata=metadata)
    except Exception as error:  # noqa: BLE001 - whatever the stock code raises
        return type(error)
    return [
        (event.to_dict(), event.enqueued_time, event.metadata, event.get_body(), event.iothub_metadata)
        for event in found
    ]


FAST = fast_decode.decoder(STOCK_DECODE, STOCK)
COMMON = {
    "SequenceNumber": 7,
    "Offset": 264,
    "PartitionKey": "a",
    "EnqueuedTimeUtc": "2026-11-24T08:04:04.123",
    "x-opt-offset": "264",
}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**70),
    st.sampled_from([1.0, 1.5, float("nan"), [], {}, "1", "", "é", "\N{LINE SEPARATOR}", "2026-11-24T08:04:04"]),
)
PROPERTIES = st.dictionaries(st.sampled_from([*COMMON, "iothub-device"]), VALUES)


@given(st.lists(st.one_of(st.just(COMMON), PROPERTIES), max_size=4), st.booleans())
def test_every_batch_gives_the_events_of_the_stock_code_or_its_error(properties, escaped):
    text = json.dumps(properties, ensure_ascii=escaped)
    bodies = [b"body %d" % number for number in range(len(properties))]
    assert events(FAST, bodies, text) == events(STOCK_DECODE, bodies, text)


@pytest.mark.parametrize("name", COMMON)
@pytest.mark.parametrize("value", [None, True, 1.0, 1.5, 2**70, "1", "", [], {}, [COMMON]], ids=repr)
def test_a_property_of_another_type_is_read_as_the_stock_code_reads_it(name, value):
    properties = [COMMON, COMMON | {name: value}]
    assert events(FAST, [b"a", b"b"], properties) == events(STOCK_DECODE, [b"a", b"b"], properties)


@pytest.mark.parametrize(
    ("bodies", "properties", "kind"),
    [
        ([b"a", b"b"], [COMMON], "collection_bytes"),
        ([b"a"], [COMMON], "collection_string"),
        ([b"a"], [COMMON | {"iothub-device": "d"}], "collection_bytes"),
        ([b"a"], '[{"\\u0069othub-device": "d", "SequenceNumber": 1}]', "collection_bytes"),
        ([b"a"], '[{"SequenceNumber": 1, "SequenceNumber": 2}]', "collection_bytes"),
        ([b"a"], '[{"SequenceNumber": 1', "collection_bytes"),
        ([b"a"], "7", "collection_bytes"),
        ([], [], "collection_bytes"),
    ],
)
def test_batches_of_another_form_are_left_to_the_stock_code(bodies, properties, kind):
    assert events(FAST, bodies, properties, kind) == events(STOCK_DECODE, bodies, properties, kind)


def test_a_common_batch_does_not_reach_the_stock_code():
    def stock(data, trigger_metadata):
        raise AssertionError("the stock code was called")

    ((told, *_),) = events(fast_decode.decoder(stock, STOCK), [b"a"], [COMMON])
    assert told["sequence_number"] == 7


def test_the_partition_is_the_one_that_the_metadata_names():
    properties = json.dumps([COMMON])
    metadata = {
        "SystemPropertiesArray": meta.Datum(properties, "json"),
        "PartitionContext": meta.Datum('{"PartitionId": "2"}', "json"),
    }
    data = meta.Datum(SimpleNamespace(bytes=[b"a"]), "collection_bytes")
    (event,) = STOCK_DECODE(data, trigger_metadata=metadata)
    assert fast_decode.partition_context(event) == event.metadata["PartitionContext"] == {"PartitionId": "2"}


def test_installing_twice_wraps_once(monkeypatch):
    monkeypatch.setattr(meta._BaseConverter, "_parse_datetime", STOCK)
    monkeypatch.setattr(EventHubTriggerConverter, "decode_multiple_events", STOCK_DECODE)
    assert fast_decode.install()
    once = meta._BaseConverter._parse_datetime, EventHubTriggerConverter.decode_multiple_events
    assert fast_decode.install()
    assert (meta._BaseConverter._parse_datetime, EventHubTriggerConverter.decode_multiple_events) == once
    bodies = [b"a", b"b"]
    assert events(EventHubTriggerConverter.decode_multiple_events, bodies, [COMMON] * 2) == events(
        STOCK_DECODE, bodies, [COMMON] * 2
    )
