"""App settings and host.json, read as Azure Functions Core Tools read them.

`Values` of local.settings.json become environment variables, but a variable that is already set (and not empty) wins:
so one setting can be changed for one run. In the bindings of an app, `%NAME%` stands for the setting NAME.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.local.host.errors import AppRefused
from shared.errors import ConfigurationError

type Json = Any
"""A value of a JSON document."""

_NAME = re.compile(r"%([^%]+)%")
_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?")
_LINE_COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)


def load_local_settings(path: Path) -> dict[str, str]:
    """The `Values` of a local.settings.json.

    Raises ConfigurationError when the file is absent, is no JSON, is encrypted or has no `Values` object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); give the file with --settings") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from error
    values = document.get("Values") if isinstance(document, dict) else None
    if not isinstance(values, dict):
        raise ConfigurationError(f'{path} must hold {{"Values": {{"NAME": "value", …}}}}')
    if document.get("IsEncrypted"):
        raise ConfigurationError(f'{path} is encrypted; run `func settings decrypt`, or set "IsEncrypted": false')
    return {key: _text(value) for key, value in values.items() if value is not None}


def _text(value: object) -> str:
    # JSON's true is "true" in .NET's configuration, not Python's "True".
    return value if isinstance(value, str) else json.dumps(value)


def apply_settings(values: Mapping[str, str], environment: MutableMapping[str, str]) -> list[str]:
    """Put the settings into the environment; returns the names that are set there already, to another value."""
    skipped = []
    for name, value in values.items():
        if environment.get(name):
            if environment[name] != value:
                skipped.append(name)
        else:
            environment[name] = value
    return skipped


def names_in(text: str) -> list[str]:
    """The settings that a binding's text refers to as `%NAME%`."""
    return _NAME.findall(text)


def resolve(value: Json, environment: Mapping[str, str]) -> Json:
    """`value` with every `%NAME%` in its texts replaced; a name that is no setting stays as it is."""
    if isinstance(value, str):
        return _NAME.sub(lambda match: environment.get(match[1], match[0]), value)
    if isinstance(value, list):
        return [resolve(item, environment) for item in value]
    return value


def parse_time_span(text: str) -> timedelta:
    """A .NET time span `[d.]hh:mm[:ss]`; raises ValueError that names the text."""
    match = _TIME_SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time span; write hh:mm:ss")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


@dataclass(frozen=True, slots=True)
class EventHubOptions:
    """host.json `extensions.eventHubs`; the defaults are those of extension 5 and 6.

    Two differ on purpose: a laptop that restarts its host wants its partitions back in seconds, so ownership is renewed
    every second (10 s on Azure) and expires after five (30 s). `starting_position` is an SDK event position.
    """

    max_event_batch_size: int = 100
    prefetch_count: int = 300
    batch_checkpoint_frequency: int = 1
    starting_position: str | datetime = "-1"
    load_balancing_interval_s: float = 1.0
    ownership_expiration_s: float = 5.0


@dataclass(frozen=True, slots=True)
class BlobOptions:
    """host.json `extensions.blobs`; the defaults are Azure's: 8 calls a core at once, 5 tries a blob."""

    max_degree_of_parallelism: int = 8 * (os.cpu_count() or 1)
    poison_blob_threshold: int = 5


@dataclass(frozen=True, slots=True)
class HostOptions:
    """What this host takes from host.json."""

    route_prefix: str = "api"
    event_hubs: EventHubOptions = field(default_factory=EventHubOptions)
    blobs: BlobOptions = field(default_factory=BlobOptions)
    function_timeout: timedelta | None = timedelta(minutes=30)
    document: Mapping[str, Any] = field(default_factory=dict)


def load_host_options(app_directory: Path) -> HostOptions:
    """Read host.json of an app (comments on lines of their own are allowed, as on Azure).

    Raises AppRefused when it is absent, is no JSON or holds a value of the wrong form.
    """
    path = app_directory / "host.json"
    try:
        document = json.loads(_LINE_COMMENT.sub("", path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise AppRefused(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise AppRefused(f"host.json is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise AppRefused("host.json must hold an object")
    try:
        return _host_options(document)
    except (ValueError, TypeError) as error:
        raise AppRefused(f"host.json: {error}") from error


def _host_options(document: Mapping[str, Any]) -> HostOptions:
    extensions = section(document, "extensions")
    timeout = _get(document, "functionTimeout")
    return HostOptions(
        route_prefix=str(_get(section(extensions, "http"), "routePrefix", "api")).strip("/"),
        event_hubs=_event_hub_options(section(extensions, "eventHubs")),
        blobs=_blob_options(section(extensions, "blobs")),
        function_timeout=_function_timeout(timeout) if timeout is not None else timedelta(minutes=30),
        document=document,
    )


def _event_hub_options(options: Mapping[str, Any]) -> EventHubOptions:
    default = EventHubOptions()

    def seconds(key: str, otherwise: float) -> float:
        text = _get(options, key)
        return otherwise if text is None else parse_time_span(text).total_seconds()

    return EventHubOptions(
        max_event_batch_size=_at_least(1, options, "maxEventBatchSize", default.max_event_batch_size),
        prefetch_count=_at_least(1, options, "prefetchCount", default.prefetch_count),
        batch_checkpoint_frequency=_at_least(1, options, "batchCheckpointFrequency", 1),
        starting_position=_starting_position(section(options, "initialOffsetOptions")),
        load_balancing_interval_s=seconds("loadBalancingUpdateInterval", default.load_balancing_interval_s),
        ownership_expiration_s=seconds("partitionOwnershipExpirationInterval", default.ownership_expiration_s),
    )


def _starting_position(options: Mapping[str, Any]) -> str | datetime:
    kind = str(_get(options, "type", "fromStart")).lower()
    match kind:
        case "fromstart":
            return "-1"
        case "fromend":
            return "@latest"
        case "fromenqueuedtime":
            instant = datetime.fromisoformat(str(_get(options, "enqueuedTimeUtc", "")))
            return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    raise ValueError(f"initialOffsetOptions.type is {kind!r}; valid are fromStart, fromEnd and fromEnqueuedTime")


def _blob_options(options: Mapping[str, Any]) -> BlobOptions:
    default = BlobOptions()
    return BlobOptions(
        max_degree_of_parallelism=_at_least(1, options, "maxDegreeOfParallelism", default.max_degree_of_parallelism),
        poison_blob_threshold=_at_least(1, options, "poisonBlobThreshold", default.poison_blob_threshold),
    )


def _function_timeout(text: str) -> timedelta | None:
    return None if text == "-1" else parse_time_span(text)


def section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object inside a configuration document, or an empty one; raises ValueError when it is something else."""
    value = _get(document, name, {})
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object, not {value!r}")
    return value


def _get(document: Mapping[str, Any], name: str, default: Json = None) -> Json:
    """.NET configuration keys have no case."""
    return next((value for key, value in document.items() if key.lower() == name.lower()), default)


def _at_least(least: int, options: Mapping[str, Any], name: str, default: int) -> int:
    value = _get(options, name, default)
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return value


def texts_in(value: Json) -> Iterator[str]:
    """All texts in a binding's value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
