"""What an app sets on an Event Hub output, and which events that becomes."""

import json

import pytest
from azure.functions.eventhub import EventHubConverter
from azure_functions_runtime.bindings.datumdef import datum_as_proto
from azure_functions_runtime.bindings.generic import GenericBinding
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.host import protos
from infra.local.host.errors import OutputFailed
from infra.local.host.event_hub_output import expand
from infra.local.host.protos import TypedData


def _set(value: object) -> list[bytes]:
    """The events of `out.set(value)` for an `out: func.Out[str]`, through the engine's own encoding."""
    datum = GenericBinding.encode(value, expected_type=str)
    return expand(datum_as_proto(datum, protos.module()) or TypedData())


def test_a_list_of_texts_is_an_event_for_each_verbatim() -> None:
    assert _set(['{"a":1}', "plain", "ü", ""]) == [b'{"a":1}', b"plain", "ü".encode(), b""]


def test_an_empty_list_and_none_publish_nothing() -> None:
    assert _set([]) == []
    assert _set(None) == []


def test_bytes_are_one_event_verbatim_even_if_they_hold_an_array() -> None:
    assert _set(b"[1, 2]") == [b"[1, 2]"]


def test_a_plain_text_is_one_event() -> None:
    assert _set("hello") == [b"hello"]


def test_a_text_with_a_json_object_is_written_anew_and_indented() -> None:
    assert _set('{"a":1}') == [b'{\n  "a": 1\n}']


def test_a_text_with_a_json_array_is_split() -> None:
    assert _set('["a", 1, true, null, {"b": 2}]') == [b"a", b"1", b"True", b"", b'{\n  "b": 2\n}']


def test_a_text_that_only_looks_like_json_fails_the_invocation() -> None:
    with pytest.raises(OutputFailed, match="does not parse"):
        _set("{not json}")


def test_numbers_become_texts() -> None:
    assert _set(5) == [b"5"]
    assert _set(1.5) == [b"1.5"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text()))
def test_any_list_of_texts_arrives_verbatim(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    assert _set(texts) == [text.encode() for text in texts]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text())))
def test_dicts_arrive_as_json_of_the_same_meaning(documents: list[dict[str, object]]) -> None:
    assert [json.loads(body) for body in _set(documents)] == json.loads(json.dumps(documents))


def test_a_tuple_in_an_out_of_list_of_str_vanishes_without_a_word() -> None:
    # azure-functions' own trap: its converter encodes what it does not know as nothing.
    datum = EventHubConverter.encode(("a", "b"), expected_type=None)
    assert expand(datum_as_proto(datum, protos.module()) or TypedData()) == []


def test_a_kind_that_no_event_can_be_made_of_is_refused() -> None:
    with pytest.raises(OutputFailed, match="collection_string"):
        expand(TypedData.collection("string", ["a"]))
