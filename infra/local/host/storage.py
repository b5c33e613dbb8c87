"""The host's own storage account (AzureWebJobsStorage): checkpoints, receipts, timer status, and the poison queue."""

import contextlib
from typing import Any

from azure.core.exceptions import ResourceExistsError
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore
from azure.storage.blob.aio import BlobServiceClient, ContainerClient

HOSTS_CONTAINER = "azure-webjobs-hosts"

CLIENT_OPTIONS: dict[str, Any] = {
    "retry_total": 2,
    "initial_backoff": 0.2,
    "increment_base": 0,
    "random_jitter_range": 0,
    "connection_timeout": 5,
    "read_timeout": 20,
}
"""Short: every caller waits out an outage itself, and says so. The SDK's own patience is a minute for each request."""


def blob_service(connection_string: str) -> BlobServiceClient:
    """A client for a blob account, with this host's patience."""
    return BlobServiceClient.from_connection_string(connection_string, **CLIENT_OPTIONS)


class HostStorage:
    """Containers in the host's account."""

    def __init__(self, connection_string: str) -> None:
        self._connection_string = connection_string
        self._service = blob_service(connection_string)

    async def create_container(self, name: str) -> ContainerClient:
        """The container, made if it is not there; raises AzureError when the storage does not answer."""
        container = self._service.get_container_client(name)
        with contextlib.suppress(ResourceExistsError):
            await container.create_container()
        return container

    def checkpoint_store(self, container: str) -> BlobCheckpointStore:
        return BlobCheckpointStore.from_connection_string(self._connection_string, container, **CLIENT_OPTIONS)

    async def close(self) -> None:
        await self._service.close()
