"""A namespace's description: the Config.json of Microsoft's Event Hubs emulator, with a block of ours for each hub.

What the emulator does not know (Capture, retention) is optional, so its own file works as it is:

    {"UserConfig": {"NamespaceConfig": [{"Type": "EventHub", "Name": "emulatorns1", "Entities": [
        {"Name": "dev-readfrom", "PartitionCount": 4, "ConsumerGroups": [{"Name": "footfall"}],
         "MessageRetentionInHours": 24, "RetentionSizeInBytes": 2147483648,
         "Capture": {"Enabled": true, "IntervalInSeconds": 60, "SizeLimitInBytes": 314572800, "SkipEmptyArchives": true,
                     "Destination": {"BlobContainer": "bronze"}}}]}]}}
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.errors import ConfigurationError

DEFAULT_NAME_FORMAT = "{Namespace}/{EventHub}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}"
NAME_PLACEHOLDERS = tuple(re.findall(r"\{\w+\}", DEFAULT_NAME_FORMAT))
DEFAULT_CONSUMER_GROUP = "$Default"
_MAX_PARTITIONS = 32
_ENTITY_NAME = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,254}[A-Za-z0-9])?$"
_CONTAINER_NAME = r"^[a-z0-9](-?[a-z0-9]){2,62}$"


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """When Capture closes a window (what is reached first) and where its file goes."""

    interval_ms: int
    size_limit_bytes: int
    skip_empty: bool
    container: str
    name_format: str


@dataclass(frozen=True, slots=True)
class HubConfig:
    """One event hub; `retention_bytes` is what each partition may hold, `consumer_groups` always has `$Default`."""

    name: str
    partition_count: int
    consumer_groups: tuple[str, ...]
    retention_ms: int
    retention_bytes: int
    capture: CaptureConfig | None


@dataclass(frozen=True, slots=True)
class NamespaceConfig:
    """An Event Hubs namespace."""

    name: str
    hubs: tuple[HubConfig, ...]


type _EntityName = Annotated[str, Meta(pattern=_ENTITY_NAME)]


class _Block(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    """A block of the file: a key that nobody knows is a mistake of spelling, not a wish."""


class _Destination(_Block):
    blob_container: Annotated[str, Meta(pattern=_CONTAINER_NAME)] = "bronze"
    archive_name_format: str = DEFAULT_NAME_FORMAT


class _Capture(_Block):
    enabled: bool
    interval_in_seconds: Annotated[int, Meta(ge=1, le=900)] = 300
    size_limit_in_bytes: Annotated[int, Meta(ge=1, le=524_288_000)] = 314_572_800
    skip_empty_archives: bool = False
    destination: _Destination = msgspec.field(default_factory=_Destination)


class _ConsumerGroup(_Block):
    name: Annotated[str, Meta(pattern=r"^(\$Default|[A-Za-z0-9]([A-Za-z0-9._-]{0,48}[A-Za-z0-9])?)$")]


class _Entity(_Block):
    name: _EntityName
    partition_count: int | Annotated[str, Meta(pattern="^[0-9]+$")]  # the emulator's own file has "2"
    consumer_groups: list[_ConsumerGroup] = []
    message_retention_in_hours: Annotated[int, Meta(ge=1, le=2160)] = 24
    retention_size_in_bytes: Annotated[int, Meta(ge=1)] = 2 * 1024**3
    capture: _Capture | None = None


class _Namespace(_Block):
    type: Annotated[str, Meta(pattern="^(?i:EventHub)$")]
    name: Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9]$")]
    entities: Annotated[list[_Entity], Meta(min_length=1)]


class _UserConfig(_Block):
    namespace_config: Annotated[list[_Namespace], Meta(min_length=1, max_length=1)]
    logging_config: dict[str, str] = {}  # the emulator's; this broker logs to stderr


class _File(_Block):
    user_config: _UserConfig


def load_config(path: Path) -> NamespaceConfig:
    """Read a Config.json. Raises ConfigurationError that names the file, the place in it and what would be valid."""
    try:
        return parse_config(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def parse_config(data: bytes) -> NamespaceConfig:
    """Understand the bytes of a Config.json. Raises ConfigurationError."""
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{error}") from error
    (namespace,) = file.user_config.namespace_config
    hubs = tuple(_hub(entity, f"Entities[{at}]") for at, entity in enumerate(namespace.entities))
    _refuse_repeats([hub.name for hub in hubs], "Entities")
    return NamespaceConfig(namespace.name, hubs)


def _hub(entity: _Entity, where: str) -> HubConfig:
    partition_count = int(entity.partition_count)
    if not 1 <= partition_count <= _MAX_PARTITIONS:
        raise ConfigurationError(f"{where}.PartitionCount is {partition_count}; valid are 1 to {_MAX_PARTITIONS}")
    groups = [group.name for group in entity.consumer_groups]
    _refuse_repeats(groups, f"{where}.ConsumerGroups")
    if DEFAULT_CONSUMER_GROUP.lower() not in map(str.lower, groups):
        groups.insert(0, DEFAULT_CONSUMER_GROUP)
    return HubConfig(
        name=entity.name,
        partition_count=partition_count,
        consumer_groups=tuple(groups),
        retention_ms=entity.message_retention_in_hours * 3_600_000,
        retention_bytes=entity.retention_size_in_bytes,
        capture=_capture(entity.capture, where) if entity.capture and entity.capture.enabled else None,
    )


def _capture(block: _Capture, where: str) -> CaptureConfig:
    name_format = block.destination.archive_name_format
    found = re.findall(r"\{.*?\}", name_format)
    if sorted(found) != sorted(NAME_PLACEHOLDERS):
        raise ConfigurationError(
            f"{where}.Capture.Destination.ArchiveNameFormat is {name_format!r}; it must hold each of "
            f"{', '.join(NAME_PLACEHOLDERS)} once, and no others"
        )
    return CaptureConfig(
        interval_ms=block.interval_in_seconds * 1000,
        size_limit_bytes=block.size_limit_in_bytes,
        skip_empty=block.skip_empty_archives,
        container=block.destination.blob_container,
        name_format=name_format,
    )


def _refuse_repeats(names: list[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise ConfigurationError(f"{where} has {name!r} twice; names must differ in more than case")
        seen.add(name.lower())
