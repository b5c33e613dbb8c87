"""Where the lake's tables lie, and the options with which delta-rs and Polars (both on object_store) reach them."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError
from azure.core.utils import parse_connection_string
from azure.storage.blob import BlobServiceClient

from shared.adapters.azure_clients import blob_service, identity
from shared.errors import ConfigurationError, LakeUnavailable
from shared.medallion.tables import Layer, Table
from shared.settings import Connection, Settings

STORAGE_SCOPE = "https://storage.azure.com/.default"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
EMULATOR = "http://127.0.0.1:10000/devstoreaccount1"
"""What `UseDevelopmentStorage=true` means."""

# Storage that does not answer is the business of the trigger's retry policy; object_store alone tries for 3 minutes.
DELTA_RETRIES = {"max_retries": "3", "retry_timeout": "20s", "timeout": "30s", "connect_timeout": "5s"}
POLARS_RETRIES = {"max_retries": 2, "retry_timeout_ms": 20_000}


@dataclass(frozen=True, slots=True)
class Access:
    """Options that open the storage, and until when (seconds since 1970) they do."""

    options: Mapping[str, str] = field(repr=False)
    valid_until: float = float("inf")

    def for_delta(self) -> dict[str, str]:
        """As delta-rs takes them; nothing for a folder."""
        return {**self.options, **DELTA_RETRIES} if self.options else {}

    def for_polars(self) -> dict[str, Any] | None:
        """As Polars takes them; nothing for a folder."""
        return {**self.options, **POLARS_RETRIES} if self.options else None

    def is_valid_for(self, seconds: float) -> bool:
        """Whether the options still open the storage that long from now."""
        return time.time() + seconds < self.valid_until


@dataclass(frozen=True, slots=True)
class LakeStorage:
    """The root of each layer (`az://container` or a folder), and how to reach it now."""

    roots: Mapping[Layer, str]
    access: Callable[[], Access]
    upload: Callable[[Path, str], None]
    """Put a local file at a location of the storage. Raises OSError when the storage does not answer."""

    @classmethod
    def of(cls, settings: Settings) -> "LakeStorage":
        """The storage account that the settings name. Raises ConfigurationError when they name none."""
        containers = {
            Layer.SILVER: settings.silver_container,
            Layer.GOLD: settings.gold_container,
            Layer.QUARANTINE: settings.quarantine_container,
        }
        return cls.in_containers(containers, settings.lake_storage)

    @classmethod
    def in_containers(cls, containers: Mapping[Layer, str], connection: Connection) -> "LakeStorage":
        """A lake in these containers of a storage account."""
        roots = {layer: f"az://{name}" for layer, name in containers.items()}
        return cls(roots, access(connection), _BlobUpload(blob_service(connection)))

    @classmethod
    def in_folder(cls, folder: Path) -> "LakeStorage":
        """A lake on the local disk."""
        nothing_needed = Access({})
        return cls({layer: str(folder / layer) for layer in Layer}, lambda: nothing_needed, _copy)

    def location(self, table: Table) -> str:
        """Where that table lies."""
        return f"{self.roots[table.layer]}/{table.name}"


@dataclass(frozen=True, slots=True)
class _BlobUpload:
    service: BlobServiceClient

    def __call__(self, file: Path, location: str) -> None:
        container, _, path = location.removeprefix("az://").partition("/")
        with file.open("rb") as data:
            try:
                self.service.get_blob_client(container, path).upload_blob(data, overwrite=True)
            except AzureError as error:
                raise OSError(f"{location} could not be written: {error}") from error


def _copy(file: Path, location: str) -> None:
    Path(location).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, location)


def access(connection: Connection) -> Callable[[], Access]:
    """How to reach the blob service that a connection names: Azurite, an account key, or the app's identity.

    Raises ConfigurationError when the connection is not set or its connection string is no valid one.
    """
    if connection.connection_string:
        return _with_key(connection)
    if connection.endpoint:
        credential = identity(connection)
        return lambda: with_token(connection.endpoint, credential)
    raise ConfigurationError(
        f"{connection.name} is not set: give a connection string, or {connection.name}__blobServiceUri"
    )


def _with_key(connection: Connection) -> Callable[[], Access]:
    try:
        parts = parse_connection_string(connection.connection_string)
    except ValueError as error:
        raise ConfigurationError(f"{connection.name} is no valid connection string: {error}") from error
    endpoint = EMULATOR if parts.get("usedevelopmentstorage", "").lower() == "true" else parts.get("blobendpoint", "")
    if urlsplit(endpoint).hostname in LOOPBACK:
        return _emulator(endpoint, parts)
    missing = [name for name in ("AccountName", "AccountKey") if name.lower() not in parts]
    if missing:
        raise ConfigurationError(
            f"{connection.name} has no {' and no '.join(missing)}; with an identity, give "
            f"{connection.name}__blobServiceUri instead"
        )
    suffix = parts.get("endpointsuffix", "core.windows.net")
    fixed = Access(
        {
            "azure_storage_account_name": parts["accountname"],
            "azure_storage_account_key": parts["accountkey"],
            "azure_storage_endpoint": endpoint or f"https://{parts['accountname']}.blob.{suffix}",
        }
    )
    return lambda: fixed


def _emulator(endpoint: str, parts: Mapping[str, str]) -> Callable[[], Access]:
    """Azurite ignores ListBlobs' startFrom, which object_store knows in its emulator mode only; that mode takes the
    port from the environment and nowhere else, so a process works with one Azurite at a time.
    """
    url = urlsplit(endpoint)
    keys = {"accountname": "azure_storage_account_name", "accountkey": "azure_storage_account_key"}
    fixed = Access(
        {
            "azure_storage_use_emulator": "true",
            # Not read in this mode, but Polars keeps its connections by the options: another port is another Azurite.
            "azure_storage_endpoint": endpoint,
            **{option: parts[key] for key, option in keys.items() if key in parts},
        }
    )

    def open_emulator() -> Access:
        os.environ["AZURITE_BLOB_STORAGE_URL"] = f"{url.scheme}://{url.netloc}"
        return fixed

    return open_emulator


def with_token(endpoint: str, credential: TokenCredential) -> Access:
    """azure-identity finds the identity everywhere (Functions, developer's login); object_store knows fewer places.

    Raises LakeUnavailable when it gets no token.
    """
    try:
        token = credential.get_token(STORAGE_SCOPE)
    except AzureError as error:
        raise LakeUnavailable(f"the app's identity got no token for {endpoint}: {error}") from error
    options = {
        "azure_storage_account_name": (urlsplit(endpoint).hostname or "").partition(".")[0],
        "azure_storage_endpoint": endpoint.rstrip("/"),
        "azure_storage_token": token.token,
    }
    return Access(options, float(token.expires_on))
