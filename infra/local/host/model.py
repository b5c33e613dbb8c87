"""A function as the host sees it: its trigger and bindings, from the engine's metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from infra.local.host.retry import RetryPolicy
from infra.local.host.settings import Json

_DATA_TYPES = ("undefined", "string", "binary", "stream")
_DIRECTIONS = ("in", "out", "inout")


class DataType(StrEnum):
    """How an app wants its trigger data."""

    UNDEFINED = "undefined"
    STRING = "string"
    BINARY = "binary"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding of a function, as its decorator wrote it; `%NAME%` is resolved already."""

    raw: Mapping[str, Any]

    def get(self, key: str, default: Json = None) -> Json:
        """A property of the binding; keys have no case, as in the real host. Enums of the SDK become their value."""
        for name, value in self.raw.items():
            if name.lower() == key.lower() and value is not None:
                return getattr(value, "value", value)
        return default

    @property
    def name(self) -> str:
        return str(self.get("name", ""))

    @property
    def type(self) -> str:
        """The type in lower case: `eventhubtrigger`, `http` …"""
        return str(self.get("type", "")).lower()

    @property
    def direction(self) -> str:
        value = self.get("direction", "in")
        return _DIRECTIONS[value] if isinstance(value, int) else str(value).lower()

    @property
    def is_trigger(self) -> bool:
        return self.type.endswith("trigger")

    @property
    def data_type(self) -> DataType:
        value = self.get("dataType", 0)
        return DataType(_DATA_TYPES[value] if isinstance(value, int) else str(value).lower())

    @property
    def is_many(self) -> bool:
        """Event Hubs: one call for a batch, not one for each event."""
        return str(self.get("cardinality", "one")).lower() == "many"

    @property
    def is_deferred(self) -> bool:
        """The function takes an SDK type (`BlobClient`): it gets the blob's address, not its bytes."""
        properties = self.get("properties") or {}
        flags = {key.lower(): str(value).lower() for key, value in properties.items()}
        return flags.get("supportsdeferredbinding") == "true"


@dataclass(frozen=True, slots=True)
class Function:
    """An indexed function; `function_id` is the engine's handle for it."""

    name: str
    function_id: str
    bindings: tuple[Binding, ...]
    retry: RetryPolicy | None = None

    @property
    def trigger(self) -> Binding:
        return next(binding for binding in self.bindings if binding.is_trigger)

    @property
    def outputs(self) -> tuple[Binding, ...]:
        return tuple(binding for binding in self.bindings if binding.direction == "out")
