"""Connection strings of bindings: where the app's settings have them, and what the SDKs need that they do not say."""

import os
from collections.abc import Mapping

from azure.core.utils import parse_connection_string

HOST_STORAGE = "AzureWebJobsStorage"
"""The connection of the host itself: checkpoints, receipts, timer status."""

_DEVELOPMENT_STORAGE = "usedevelopmentstorage=true"
_DEVELOPMENT_ACCOUNT = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"
)


def find_connection(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The connection string behind a binding's `connection`: the setting NAME, else AzureWebJobsNAME; None if unset."""
    text = environment.get(name) or environment.get(f"AzureWebJobs{name}")
    if text and text.strip().strip(";").lower() == _DEVELOPMENT_STORAGE:
        return _DEVELOPMENT_ACCOUNT
    return text or None


def namespace_of(connection_string: str) -> str:
    """The host of an Event Hubs connection string, without its port.

    A real namespace has no port. Checkpoints and the app's state are kept under this name, and moving the local broker
    to another port must not start them anew.
    """
    endpoint = parse_connection_string(connection_string)["endpoint"]
    return without_port(endpoint.removeprefix("sb://").strip("/"))


def without_port(host: str) -> str:
    return host.partition(":")[0]
