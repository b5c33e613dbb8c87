"""Clients of Azure services: from a connection string (laptop) or with the app's identity (Azure)."""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline.policies import RetryMode
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient, LinearRetry

from shared.errors import ConfigurationError
from shared.settings import Connection

if TYPE_CHECKING:
    from azure.identity import DefaultAzureCredential

_RETRIES = 2
_STATUS_TO_RETRY = frozenset({408, 429, 500, 502, 503, 504})


def blob_service(connection: Connection) -> BlobServiceClient:
    """A client of the blob service that *connection* names; it opens nothing before its first request.

    It tries three times in about three seconds: longer waits belong to the retry policy of the trigger. Raises
    ConfigurationError when the connection is not set.
    """
    retry = LinearRetry(backoff=1, retry_total=_RETRIES, random_jitter_range=1)
    if connection.connection_string:
        return BlobServiceClient.from_connection_string(connection.connection_string, retry_policy=retry)
    if connection.endpoint:
        return BlobServiceClient(connection.endpoint, credential=identity(connection), retry_policy=retry)
    raise ConfigurationError(
        f"{connection.name} is not set: give a connection string, or {connection.name}__blobServiceUri"
    )


def table_service(connection: Connection) -> TableServiceClient:
    """A client of the Table service that *connection* names, as patient as that of `blob_service`.

    Raises ConfigurationError when the connection is not set.
    """
    if connection.connection_string:
        return TableServiceClient.from_connection_string(
            connection.connection_string, retry_total=_RETRIES, retry_backoff_factor=1, retry_mode=RetryMode.Fixed
        )
    if connection.endpoint:
        return TableServiceClient(
            connection.endpoint,
            credential=identity(connection),
            retry_total=_RETRIES,
            retry_backoff_factor=1,
            retry_mode=RetryMode.Fixed,
        )
    raise ConfigurationError(
        f"{connection.name} is not set: give a connection string, or {connection.name}__tableServiceUri"
    )


def identity(connection: Connection) -> "DefaultAzureCredential":
    """The identity of the app: the managed identity that `clientId` names, else what the environment offers."""
    # azure.identity takes a third of a second to import, and a laptop never needs it.
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(managed_identity_client_id=connection.client_id or None)


class AsyncIdentity:
    """An identity for the asynchronous clients, without the HTTP library that azure.identity.aio asks for."""

    def __init__(self, identity: "DefaultAzureCredential") -> None:
        self._identity = identity

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **options: Any,  # noqa: ANN401 - what the SDK passes on
    ) -> AccessToken:
        """A token for these scopes; the wait for it does not hold up the event loop."""
        return await asyncio.to_thread(
            self._identity.get_token, *scopes, claims=claims, tenant_id=tenant_id, enable_cae=enable_cae, **options
        )

    async def close(self) -> None:
        """Close the connections that tokens came through."""
        await asyncio.to_thread(self._identity.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


def is_transient(error: AzureError) -> bool:
    """Whether the same request may succeed later: no answer, half an answer, throttling, or a fault of the service."""
    if isinstance(error, HttpResponseError):
        return error.status_code is None or error.status_code in _STATUS_TO_RETRY
    return isinstance(error, ServiceRequestError | ServiceResponseError)
