"""Receipts of blob triggers: which content of which blob a function is done with.

A receipt is an empty blob in the host's storage, with the path that Azure gives it; deleting one makes the function run
again after the host's next start. All receipts of a function are read once and kept in memory.
"""

from azure.storage.blob.aio import ContainerClient

from infra.local.host.status import now_text
from infra.local.host.storage import HOSTS_CONTAINER, HostStorage


class Receipts:
    """Which blobs a function is done with: `blobreceipts/<host id>/Host.Functions.<name>/<ETag>/<container>/<blob>`."""

    def __init__(self, storage: HostStorage, host_id: str, function_name: str) -> None:
        self._storage = storage
        self._prefix = f"blobreceipts/{host_id}/Host.Functions.{function_name}/"
        self._container: ContainerClient | None = None
        self._known: set[str] = set()

    async def load(self) -> None:
        """Read which receipts there are; raises AzureError."""
        self._container = await self._storage.create_container(HOSTS_CONTAINER)
        async for path in self._container.list_blob_names(name_starts_with=self._prefix):
            self._known.add(path.removeprefix(self._prefix))

    def has(self, container: str, blob: str, etag: str) -> bool:
        return _receipt(container, blob, etag) in self._known

    async def write(self, container: str, blob: str, etag: str) -> None:
        """Raises AzureError; then the receipt may or may not be there."""
        assert self._container is not None, "load() comes first"
        receipt = _receipt(container, blob, etag)
        await self._container.upload_blob(
            self._prefix + receipt, b"", overwrite=True, metadata={"Completed": now_text()}
        )
        self._known.add(receipt)


def _receipt(container: str, blob: str, etag: str) -> str:
    return f"{etag.strip('"')}/{container}/{blob}"
