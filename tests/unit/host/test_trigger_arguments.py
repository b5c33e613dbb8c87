"""What blob and timer functions are called with, through azure-functions' own converters."""

import json
from datetime import UTC, datetime
from typing import Any

import azure.functions as func
from azure.functions.blob import BlobConverter
from azure.functions.timer import TimerRequestConverter
from azure.storage.blob import BlobProperties, ContentSettings
from azure_functions_runtime.bindings.datumdef import Datum

from infra.local.host.blob_path import parse_blob_path
from infra.local.host.blob_trigger import blob_arguments
from infra.local.host.engine import Arguments
from infra.local.host.timer_trigger import timer_arguments
from tests.unit.host.bindings import BLOB, TIMER, binding, function

PATH = parse_blob_path("bronze/{folder}/{name}.avro")


def _decode(arguments: Arguments, converter: Any) -> Any:
    ((_, value),) = arguments.inputs
    metadata = {name: Datum.from_typed_data(item) for name, item in arguments.metadata.items()}
    return converter.decode(Datum.from_typed_data(value), trigger_metadata=metadata)


def _blob(content: bytes = b"abc", **changes: Any) -> Arguments:
    properties = BlobProperties(name="a/b.avro", metadata={"k": "v"})
    properties.size = len(content)
    properties.etag = '"0x1"'
    properties.last_modified = datetime(2026, 1, 1, tzinfo=UTC)
    properties.content_settings = ContentSettings(content_type="avro/binary")
    trigger = binding(BLOB, path="bronze/{folder}/{name}.avro", **changes)
    return blob_arguments(function(trigger), PATH, properties, "http://h/bronze/a/b.avro", content)


def test_a_stream_has_the_blobs_bytes_name_length_and_properties() -> None:
    stream = _decode(_blob(properties=None), BlobConverter)
    assert isinstance(stream, func.InputStream)
    assert stream.read() == b"abc"
    assert (stream.name, stream.length, stream.uri) == ("bronze/a/b.avro", 3, "http://h/bronze/a/b.avro")
    assert stream.metadata == {"k": "v"}
    assert stream.blob_properties["ETag"] == '"0x1"'


def test_the_expressions_of_the_path_are_metadata() -> None:
    metadata = _blob().metadata
    assert (metadata["folder"].value, metadata["name"].value) == ("a", "b")


def test_an_sdk_type_gets_the_address_and_no_bytes() -> None:
    ((_, value),) = _blob().inputs
    assert value.kind == "model_binding_data"
    assert json.loads(value.value.content) == {
        "Connection": "Blobs",
        "ContainerName": "bronze",
        "BlobName": "a/b.avro",
    }


def test_a_timer_is_told_whether_it_is_past_due_and_when_it_ran() -> None:
    status = {"Last": "2026-01-01T00:00:00+00:00", "Next": "x", "LastUpdated": "y"}
    request = _decode(timer_arguments(function(binding(TIMER)), status, past_due=True), TimerRequestConverter)
    assert request.past_due is True
    assert request.schedule_status == status


def test_a_timer_without_a_monitor_has_no_status() -> None:
    request = _decode(timer_arguments(function(binding(TIMER)), None, past_due=False), TimerRequestConverter)
    assert request.past_due is False
    assert request.schedule_status == {}
