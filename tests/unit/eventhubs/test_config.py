"""Config.json: the emulator's own file is understood, ours says more, and a mistake is named with its place."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from infra.local.eventhubs.config import CaptureConfig, HubConfig, NamespaceConfig, load_config, parse_config
from shared.errors import ConfigurationError

EMULATORS_OWN = {
    "UserConfig": {
        "NamespaceConfig": [
            {
                "Type": "EventHub",
                "Name": "emulatorNs1",
                "Entities": [{"Name": "eh1", "PartitionCount": "2", "ConsumerGroups": [{"Name": "cg1"}]}],
            }
        ],
        "LoggingConfig": {"Type": "File"},
    }
}

CAPTURE = {
    "Enabled": True,
    "IntervalInSeconds": 60,
    "SizeLimitInBytes": 10_485_760,
    "SkipEmptyArchives": True,
    "Destination": {"BlobContainer": "bronze"},
}


def config(**entity: object) -> bytes:
    """The emulator's own file, its entity with other or more keys (None: without that key)."""
    document = deepcopy(EMULATORS_OWN)
    block: dict[str, Any] = document["UserConfig"]["NamespaceConfig"][0]["Entities"][0]  # type: ignore[index]
    block.update(entity)
    for key in [key for key, value in block.items() if value is None]:
        del block[key]
    return json.dumps(document).encode()


def test_the_official_emulators_own_file_is_understood() -> None:
    hour = 3_600_000
    hub = HubConfig("eh1", 2, ("$Default", "cg1"), retention_ms=24 * hour, retention_bytes=2 * 1024**3, capture=None)
    assert parse_config(json.dumps(EMULATORS_OWN).encode()) == NamespaceConfig("emulatorNs1", (hub,))


def test_a_hub_may_have_capture_and_limits_of_its_own() -> None:
    (hub,) = parse_config(
        config(PartitionCount=4, MessageRetentionInHours=1, RetentionSizeInBytes=1_000_000, Capture=CAPTURE)
    ).hubs
    assert (hub.partition_count, hub.retention_ms, hub.retention_bytes) == (4, 3_600_000, 1_000_000)
    assert hub.capture == CaptureConfig(
        interval_ms=60_000,
        size_limit_bytes=10_485_760,
        skip_empty=True,
        container="bronze",
        name_format="{Namespace}/{EventHub}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}",
    )


def test_capture_that_is_not_enabled_is_none() -> None:
    assert parse_config(config(Capture={**CAPTURE, "Enabled": False})).hubs[0].capture is None


def test_the_default_consumer_group_is_there_once_however_it_is_written() -> None:
    assert parse_config(config(ConsumerGroups=None)).hubs[0].consumer_groups == ("$Default",)
    assert parse_config(config(ConsumerGroups=[{"Name": "$Default"}])).hubs[0].consumer_groups == ("$Default",)


@pytest.mark.parametrize(
    ("entity", "message"),
    [
        (
            {"PartitionCount": None},
            r"required field `PartitionCount` - at `\$.UserConfig.NamespaceConfig\[0\]",
        ),
        ({"PartitionCount": 0}, r"Entities\[0\].PartitionCount is 0; valid are 1 to 32"),
        ({"PartitionCount": "33"}, "PartitionCount is 33; valid are 1 to 32"),
        ({"PartitionCount": "two"}, "PartitionCount"),
        ({"Name": "../etc"}, "Name"),
        ({"Name": ""}, "Name"),
        ({"Partitions": 3}, "unknown field `Partitions`"),
        ({"ConsumerGroups": [{"Name": "a"}, {"Name": "A"}]}, r"ConsumerGroups has 'A' twice"),
        ({"MessageRetentionInHours": 0}, "`int` >= 1 - at .*MessageRetentionInHours"),
        ({"Capture": {**CAPTURE, "IntervalInSeconds": 901}}, "`int` <= 900 - at .*IntervalInSeconds"),
        ({"Capture": {**CAPTURE, "SizeLimitInBytes": 0}}, "`int` >= 1 - at .*SizeLimitInBytes"),
        ({"Capture": {**CAPTURE, "SkipEmpty": True}}, "unknown field `SkipEmpty` - at .*Capture"),
        ({"Capture": {"IntervalInSeconds": 60}}, "required field `Enabled`"),
        ({"Capture": {**CAPTURE, "Destination": {"BlobContainer": "Bronze"}}}, "BlobContainer"),
        (
            {"Capture": {**CAPTURE, "Destination": {"ArchiveNameFormat": "{Namespace}/{EventHub}/{Minutes}"}}},
            "it must hold each of {Namespace}, {EventHub}, {PartitionId}, .* once, and no others",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_valid(entity: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_config(config(**entity))


def test_two_hubs_of_one_name_are_refused() -> None:
    document = deepcopy(EMULATORS_OWN)
    entities: list[Any] = document["UserConfig"]["NamespaceConfig"][0]["Entities"]  # type: ignore[index]
    entities.append({"Name": "EH1", "PartitionCount": 1})
    with pytest.raises(ConfigurationError, match="Entities has 'EH1' twice"):
        parse_config(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b'{"UserConfig": {"NamespaceConfig": []}}'])
def test_what_is_no_config_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigurationError):
        parse_config(data)


def test_the_message_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hubs.json"
    with pytest.raises(ConfigurationError, match=r"hubs\.json cannot be read: No such file"):
        load_config(path)
    path.write_bytes(config(PartitionCount=0))
    with pytest.raises(ConfigurationError, match=r"hubs\.json: Entities\[0\]"):
        load_config(path)
