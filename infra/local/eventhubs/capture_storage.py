"""Capture files in Azure Blob Storage, or in Azurite."""

from typing import IO

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob.aio import BlobClient, BlobServiceClient, ContainerClient

from shared.errors import ConfigurationError, LakeUnavailable

_BLOCK_BYTES = 1024 * 1024  # aiohttp writes more than that in one go, and the broker would wait for it
_CONNECT_S, _READ_S = 5, 60


def connect(connection_string: str) -> BlobServiceClient:
    """A client that holds at most 1 MiB of a file in memory and does not retry (Capture does).

    Raises ConfigurationError for a malformed connection string.
    """
    try:
        return BlobServiceClient.from_connection_string(
            connection_string,
            max_single_put_size=_BLOCK_BYTES,
            max_block_size=_BLOCK_BYTES,
            retry_total=0,
            connection_timeout=_CONNECT_S,
            read_timeout=_READ_S,
        )
    except ValueError as error:
        raise ConfigurationError(f"the storage's connection string is malformed: {error}") from error


class CaptureContainer:
    """A container for capture files; it is created when it is not there."""

    def __init__(self, client: ContainerClient) -> None:
        self._client = client
        self._is_there = False

    async def prepare(self) -> None:
        """Make sure that the container is there. Raises LakeUnavailable."""
        if self._is_there:
            return
        try:
            await self._client.create_container()
        except ResourceExistsError:
            pass
        except AzureError as error:
            raise LakeUnavailable(f"container {self._client.container_name}: {_first_line(error)}") from error
        self._is_there = True

    async def put(self, name: str, stream: IO[bytes], length: int, sync_marker: bytes) -> bool:
        """Store a file. True when it is there (now, or since an earlier try); False when the name is another file's.

        A file becomes visible as a whole, and none is ever overwritten. Raises LakeUnavailable.
        """
        blob = self._client.get_blob_client(name)
        try:
            try:
                await blob.upload_blob(stream, length=length, overwrite=False)
            except ResourceExistsError:
                return await _ends_with(blob, sync_marker)
        except AzureError as error:
            self._is_there = False
            raise LakeUnavailable(f"{self._client.container_name}/{name}: {_first_line(error)}") from error
        return True


async def _ends_with(blob: BlobClient, sync_marker: bytes) -> bool:
    size = (await blob.get_blob_properties()).size
    if size < len(sync_marker):
        return False
    tail = await blob.download_blob(offset=size - len(sync_marker), length=len(sync_marker))
    return await tail.readall() == sync_marker


def _first_line(error: AzureError) -> str:
    return str(error.message).partition("\n")[0]
