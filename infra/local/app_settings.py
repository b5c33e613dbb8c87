"""The local.settings.json of a home: the repository's sample, led to the ports of this laptop cloud."""

import json
from pathlib import Path

from infra.local.azurite import AzuritePorts
from infra.local.home import REPO, Home, StackPorts
from infra.local.host.settings import load_local_settings
from shared.settings import Settings

SAMPLE = REPO / "local.settings.sample.json"
_STORAGE_SETTINGS = ("AzureWebJobsStorage", "LakeStorage", "StateStorage")


def storage_connection(ports: StackPorts) -> str:
    """The connection string of this laptop cloud's storage account."""
    return AzuritePorts(ports.blob, ports.queue, ports.table).connection_string


def hubs_connection(ports: StackPorts) -> str:
    """The connection string of this laptop cloud's Event Hubs namespace."""
    return (
        f"Endpoint=sb://localhost:{ports.amqp};SharedAccessKeyName=RootManageSharedAccessKey;"
        "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"
    )


def write_settings(home: Home, ports: StackPorts, sample: Path = SAMPLE) -> None:
    """Write the home's local.settings.json: what was changed there by hand stays, connections follow the ports."""
    values = load_local_settings(sample)
    if home.settings.exists():
        values |= load_local_settings(home.settings)
    values |= dict.fromkeys(_STORAGE_SETTINGS, storage_connection(ports))
    values["EventHub"] = hubs_connection(ports)
    partial = home.settings.with_suffix(".partial")
    partial.write_text(json.dumps({"IsEncrypted": False, "Values": values}, indent=2) + "\n")
    partial.replace(home.settings)


def read_settings(home: Home) -> Settings:
    """The app's settings in this home. Raises ConfigurationError when `up` never ran, or a value is malformed."""
    return Settings.from_env(load_local_settings(home.settings))
