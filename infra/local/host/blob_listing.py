"""What a blob trigger's container holds, listed in a thread.

The SDK spends 0.25 ms on each blob that it lists with its properties, and 0.07 ms on a name alone; in the event loop a
container of some thousand would stop everything else for a second. So a listing runs in a thread, and while a whole one
takes long, most looks are for names only: they find new blobs at once, overwritten ones with the next whole listing.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, ContainerClient

from infra.local.host.blob_path import BlobPath
from infra.local.host.storage import CLIENT_OPTIONS

_WHOLE_PAUSE = 20.0
"""A whole listing is made at most every 20 times of what the last one took."""


@dataclass(frozen=True, slots=True)
class FoundBlob:
    """A blob as it was found; its ETag says which content is meant. `modified` is in seconds since 1970."""

    name: str
    etag: str
    modified: float


class BlobListing:
    """Lists the blobs that match a path. Blocking: call it in a thread."""

    def __init__(self, connection_string: str, path: BlobPath) -> None:
        self._path = path
        self._connection_string = connection_string
        self._whole_due = 0.0

    def look(self, known: Mapping[str, FoundBlob]) -> dict[str, FoundBlob]:
        """The matching blobs by name; `known` is what the last look found. Raises AzureError.

        A container that is not there is an empty one, as on Azure.
        """
        with BlobServiceClient.from_connection_string(self._connection_string, **CLIENT_OPTIONS) as service:
            container = service.get_container_client(self._path.container)
            try:
                if time.monotonic() >= self._whole_due:
                    return self._whole(container)
                return self._by_name(container, known)
            except ResourceNotFoundError:
                return {}

    def _whole(self, container: ContainerClient) -> dict[str, FoundBlob]:
        began = time.monotonic()
        found = {
            blob.name: FoundBlob(blob.name, blob.etag, blob.last_modified.timestamp())
            for blob in container.list_blobs(name_starts_with=self._path.prefix or None)
            if self._path.match(blob.name) is not None
        }
        ended = time.monotonic()
        self._whole_due = ended + _WHOLE_PAUSE * (ended - began)
        return found

    def _by_name(self, container: ContainerClient, known: Mapping[str, FoundBlob]) -> dict[str, FoundBlob]:
        found = {}
        for name in container.list_blob_names(name_starts_with=self._path.prefix or None):
            if name in known:
                found[name] = known[name]
            elif self._path.match(name) is not None:
                with contextlib.suppress(ResourceNotFoundError):  # deleted since
                    properties = container.get_blob_client(name).get_blob_properties()
                    found[name] = FoundBlob(name, properties.etag, properties.last_modified.timestamp())
        return found
