"""Settings of the local Functions host are read as Core Tools read them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.local.host.errors import AppRefused
from infra.local.host.settings import (
    apply_settings,
    load_host_options,
    load_local_settings,
    parse_time_span,
    resolve,
)
from shared.errors import ConfigurationError


def _file(directory: Path, name: str, document: object) -> Path:
    path = directory / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_values_become_settings_as_json_writes_them(tmp_path: Path) -> None:
    path = _file(tmp_path, "s.json", {"IsEncrypted": False, "Values": {"A": "1", "B": True, "C": 5, "D": None}})
    assert load_local_settings(path) == {"A": "1", "B": "true", "C": "5"}


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("{", "is no JSON"),
        ([], "must hold"),
        ({"Values": []}, "must hold"),
        ({"IsEncrypted": True, "Values": {}}, "is encrypted"),
    ],
)
def test_a_settings_file_of_the_wrong_form_is_refused_in_words(
    tmp_path: Path, document: object, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        load_local_settings(_file(tmp_path, "s.json", document))


def test_an_absent_settings_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.json cannot be read"):
        load_local_settings(tmp_path / "absent.json")


def test_the_process_environment_wins_over_local_settings() -> None:
    environment = {"SET": "mine", "EMPTY": "", "SAME": "x"}
    skipped = apply_settings({"SET": "theirs", "EMPTY": "filled", "NEW": "n", "SAME": "x"}, environment)
    assert environment == {"SET": "mine", "EMPTY": "filled", "NEW": "n", "SAME": "x"}
    assert skipped == ["SET"]


def test_percent_names_in_bindings_are_settings() -> None:
    assert resolve("%A%/x-%B%", {"A": "1", "B": "2"}) == "1/x-2"
    assert resolve(["%A%", 3], {"A": "1"}) == ["1", 3]
    assert resolve("%ABSENT%", {}) == "%ABSENT%"


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("00:00:05", timedelta(seconds=5)),
        ("01:02", timedelta(hours=1, minutes=2)),
        ("2.03:00:00.5", timedelta(days=2, hours=3)),
    ],
)
def test_time_spans_are_those_of_net(text: str, span: timedelta) -> None:
    assert parse_time_span(text) == span


def test_what_is_no_time_span_is_named() -> None:
    with pytest.raises(ValueError, match="'5 minutes' is no time span"):
        parse_time_span("5 minutes")


def test_host_json_keys_have_no_case_and_lines_may_be_comments(tmp_path: Path) -> None:
    text = """
    // how this host is tuned
    {"version": "2.0", "functionTimeout": "00:10:00", "extensions": {
       "HTTP": {"routePrefix": "v1/"},
       "eventhubs": {"MAXeventBatchSize": 7, "prefetchCount": 9, "batchCheckpointFrequency": 2,
         "initialOffsetOptions": {"type": "FromEnqueuedTime", "enqueuedTimeUtc": "2026-01-02T03:04:05Z"}},
       "blobs": {"maxDegreeOfParallelism": 3, "poisonBlobThreshold": 2}}}
    """
    _file(tmp_path, "host.json", text)
    options = load_host_options(tmp_path)
    assert options.route_prefix == "v1"
    assert options.function_timeout == timedelta(minutes=10)
    assert options.event_hubs.max_event_batch_size == 7
    assert options.event_hubs.prefetch_count == 9
    assert options.event_hubs.batch_checkpoint_frequency == 2
    assert options.event_hubs.starting_position == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert options.blobs.max_degree_of_parallelism == 3
    assert options.blobs.poison_blob_threshold == 2


def test_an_empty_host_json_means_azures_defaults(tmp_path: Path) -> None:
    _file(tmp_path, "host.json", {"version": "2.0"})
    options = load_host_options(tmp_path)
    assert options.route_prefix == "api"
    assert options.event_hubs.max_event_batch_size == 100
    assert options.event_hubs.prefetch_count == 300
    assert options.event_hubs.starting_position == "-1"
    assert options.blobs.poison_blob_threshold == 5


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("[]", "must hold an object"),
        ("{", "is no JSON"),
        ({"extensions": []}, "extensions must be an object"),
        ({"extensions": {"eventHubs": {"maxEventBatchSize": 0}}}, "maxEventBatchSize is 0"),
        ({"extensions": {"eventHubs": {"prefetchCount": "many"}}}, "prefetchCount is 'many'"),
        ({"extensions": {"eventHubs": {"initialOffsetOptions": {"type": "middle"}}}}, "valid are fromStart"),
        ({"functionTimeout": "soon"}, "'soon' is no time span"),
    ],
)
def test_a_host_json_of_the_wrong_form_is_refused_in_words(tmp_path: Path, document: object, complaint: str) -> None:
    _file(tmp_path, "host.json", document)
    with pytest.raises(AppRefused, match=complaint):
        load_host_options(tmp_path)


def test_an_app_without_host_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AppRefused, match=r"host\.json cannot be read"):
        load_host_options(tmp_path)
