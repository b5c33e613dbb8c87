"""Bindings and functions as the engine's metadata has them, for tests."""

from typing import Any

from infra.local.host.model import Binding, Function
from infra.local.host.retry import RetryPolicy

EVENTS = {
    "name": "events",
    "type": "eventHubTrigger",
    "direction": "IN",
    "eventHubName": "hub",
    "connection": "Hub",
    "consumerGroup": "group",
    "cardinality": "many",
    "dataType": "BINARY",
}
OUT = {"name": "out", "type": "eventHub", "direction": "OUT", "eventHubName": "other", "connection": "Hub"}
BLOB = {
    "name": "client",
    "type": "blobTrigger",
    "direction": "IN",
    "path": "bronze/{name}.avro",
    "connection": "Blobs",
    "source": "LogsAndContainerScan",
    "properties": {"SupportsDeferredBinding": True},
}
TIMER = {"name": "timer", "type": "timerTrigger", "direction": "IN", "schedule": "0 * * * * *"}
HTTP = {"name": "req", "type": "httpTrigger", "direction": "IN", "route": "hello/{name}", "authLevel": "FUNCTION"}
HTTP_OUT = {"name": "$return", "type": "http", "direction": "OUT"}


def binding(raw: dict[str, Any], **changes: Any) -> Binding:
    """A binding with some properties changed; None takes one away."""
    return Binding({key: value for key, value in (raw | changes).items() if value is not None})


def function(*bindings: Binding, name: str = "work", retry: RetryPolicy | None = None) -> Function:
    """A function with these bindings."""
    return Function(name, "function-id", bindings, retry)
