"""Blob triggers, source LogsAndContainerScan: look for new blobs, call the function for each, remember it in a receipt.

* A blob is processed once for each ETag. The receipt, an empty blob in the host's storage, is written when the function
  has succeeded or has given up, so a crash in between only means that it runs again.
* A failed blob is tried up to `poisonBlobThreshold` times, then described in the queue `webjobs-blobtrigger-poison`.
* A scan lists the container (`blob_listing`); what it saw before costs nothing more. The receipts are read once, at the
  start. A scan that takes long is followed by a pause of ten times its length: looking is never the main work.

Azure looks through the storage logs and asks the receipts of a blob when it meets it; what an app sees is the same.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import BlobProperties
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient

from infra.local.host.background import Calls, HostStopping, Signal
from infra.local.host.blob_listing import BlobListing, FoundBlob
from infra.local.host.blob_path import BlobPath, parse_blob_path
from infra.local.host.connections import HOST_STORAGE
from infra.local.host.engine import Arguments
from infra.local.host.invoker import Invoker, Outcome
from infra.local.host.model import Binding, DataType, Function
from infra.local.host.outage import Outage
from infra.local.host.protos import TypedData
from infra.local.host.receipts import Receipts
from infra.local.host.settings import BlobOptions
from infra.local.host.status import BlobStatus, now_text
from infra.local.host.storage import CLIENT_OPTIONS, blob_service

log = logging.getLogger(__name__)

POISON_QUEUE = "webjobs-blobtrigger-poison"
_PAUSE_FOR_SCAN = 10.0
_LONGEST_PAUSE_S = 30.0
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 8.0


class BlobTrigger:
    """The listener of one function on the blobs of one path."""

    def __init__(
        self,
        function: Function,
        connection_string: str,
        receipts: Receipts,
        invoker: Invoker,
        options: BlobOptions,
        scan_interval_s: float,
    ) -> None:
        self._function = function
        self._connection_string = connection_string
        self._receipts = receipts
        self._invoker = invoker
        self._options = options
        self._scan_interval_s = scan_interval_s
        self._path = parse_blob_path(str(function.trigger.get("path")))
        self._service = blob_service(connection_string)
        self._blobs = self._service.get_container_client(self._path.container)
        self._listing = BlobListing(connection_string, self._path)
        self._seen: dict[str, FoundBlob] = {}
        self._queue: asyncio.Queue[FoundBlob] = asyncio.Queue()
        self._stopping = Signal()
        self._calls = Calls()
        self._outage = Outage(function.name, f"the storage of {self._path.container}")
        self.status = BlobStatus(self._path.text)

    async def run(self) -> None:
        """Look for blobs and process them until cancelled."""
        async with self._service, asyncio.TaskGroup() as tasks:
            await self._patiently(self._receipts.load)
            for _ in range(self._options.max_degree_of_parallelism):
                tasks.create_task(self._work())
            while True:
                took = await self._patiently(self._scan)
                self.status.listening = True
                await asyncio.sleep(max(self._scan_interval_s, min(_PAUSE_FOR_SCAN * took, _LONGEST_PAUSE_S)))

    def close(self) -> None:
        """From now on no blob is begun and none is tried again."""
        self._stopping.set()

    async def finished(self) -> None:
        await self._calls.finished()

    async def invoke_now(self, text: str) -> Outcome:
        """Run the function once for the blob `container/name`, receipt or not."""
        container, _, name = text.partition("/")
        if container != self._path.container or self._path.match(name) is None:
            raise ValueError(f"{text!r} is no blob of {self._path.text}; give container/name")
        try:
            etag = (await self._blobs.get_blob_client(name).get_blob_properties()).etag
        except ResourceNotFoundError as error:
            raise ValueError(f"there is no blob {text!r}") from error
        outcome = await self._calls.run(self._attempt(FoundBlob(name, etag, 0.0), "called by hand"))
        if outcome is None:
            raise ValueError(f"{text!r} was changed or deleted at this moment")
        return outcome

    async def _scan(self) -> float:
        """Look once and queue what is new, oldest first; returns how many seconds it took."""
        began, began_text = time.monotonic(), now_text()
        found = await asyncio.to_thread(self._listing.look, self._seen)
        new = [blob for blob in found.values() if self._seen.get(blob.name) != blob and not self._has_receipt(blob)]
        self._seen = found
        self.status.seen = len(found)
        self.status.pending += len(new)
        self.status.last_scan = began_text
        for blob in sorted(new, key=lambda blob: blob.modified):
            self._queue.put_nowait(blob)
        return time.monotonic() - began

    async def _work(self) -> None:
        while True:
            blob = await self._queue.get()
            if not self._stopping.is_set:
                await self._calls.run(self._process(blob))

    async def _process(self, blob: FoundBlob) -> None:
        """All tries for one blob. When the host stops before the end, it stays pending and has no receipt."""
        with contextlib.suppress(HostStopping):
            outcome = await self._try(blob)
            if outcome is not None:
                if not outcome.succeeded:
                    await self._patiently(lambda: self._poison(blob))
                await self._patiently(lambda: self._receipts.write(self._path.container, blob.name, blob.etag))
                self.status.processed += outcome.succeeded
                self.status.poisoned += not outcome.succeeded
            self.status.pending -= 1

    async def _try(self, blob: FoundBlob) -> Outcome | None:
        """Call the function until it succeeds or the tries are used up; None when this content of the blob is gone."""
        tries = self._options.poison_blob_threshold
        pause = _FIRST_RETRY_S
        for number in range(1, tries + 1):
            outcome = await self._attempt(blob, f"{self._path.container}/{blob.name}, try {number} of {tries}")
            if outcome is None or outcome.succeeded or number == tries:
                break
            if await self._stopping.within(pause):
                raise HostStopping
            pause = min(2 * pause, _LONGEST_RETRY_S)
        return outcome

    async def _attempt(self, blob: FoundBlob, cause: str) -> Outcome | None:
        """Call the function once with the blob as it was found; None when it has been deleted or overwritten since."""
        arguments = await self._patiently(lambda: self._arguments(blob))
        return None if arguments is None else await self._invoker.invoke(self._function, arguments, cause)

    async def _arguments(self, blob: FoundBlob) -> Arguments | None:
        unchanged: dict[str, Any] = {"etag": blob.etag, "match_condition": MatchConditions.IfNotModified}
        client = self._blobs.get_blob_client(blob.name)
        content = b""
        try:
            properties = await client.get_blob_properties(**unchanged)
            if not self._function.trigger.is_deferred:
                content = await (await client.download_blob(**unchanged)).readall()
        except (ResourceNotFoundError, ResourceModifiedError):
            return None  # the next scan finds the new content, if there is one
        return blob_arguments(self._function, self._path, properties, client.url, content)

    async def _poison(self, blob: FoundBlob) -> None:
        message = {
            "FunctionId": f"Host.Functions.{self._function.name}",
            "BlobType": "BlockBlob",
            "ContainerName": self._path.container,
            "BlobName": blob.name,
            "ETag": f'"{blob.etag.strip('"')}"',
        }
        queue = QueueClient.from_connection_string(
            self._connection_string, POISON_QUEUE, message_encode_policy=TextBase64EncodePolicy(), **CLIENT_OPTIONS
        )
        async with queue:
            with contextlib.suppress(ResourceExistsError):
                await queue.create_queue()
            await queue.send_message(json.dumps(message))
        log.error(
            "%s has given up %s/%s; it is described in the queue %s",
            self._function.name,
            self._path.container,
            blob.name,
            POISON_QUEUE,
        )

    async def _patiently[T](self, action: Callable[[], Awaitable[T]]) -> T:
        return await self._outage.wait_out(action, self._stopping)

    def _has_receipt(self, blob: FoundBlob) -> bool:
        return self._receipts.has(self._path.container, blob.name, blob.etag)


def blob_arguments(
    function: Function, path: BlobPath, properties: BlobProperties, uri: str, content: bytes
) -> Arguments:
    """What a function is called with for a blob: its address for an SDK type, else its content."""
    trigger = function.trigger
    metadata = {
        "BlobTrigger": TypedData(string=f"{path.container}/{properties.name}"),
        "Uri": TypedData(json=json.dumps(uri)),
        "Properties": TypedData(json=json.dumps(_properties_document(properties))),
        "Metadata": TypedData(json=json.dumps(dict(properties.metadata or {}))),
        **{name: TypedData(string=value) for name, value in (path.match(properties.name) or {}).items()},
    }
    return Arguments(((trigger.name, _content(trigger, path, properties, content)),), metadata)


def _content(trigger: Binding, path: BlobPath, properties: BlobProperties, content: bytes) -> TypedData:
    if trigger.is_deferred:
        address = {
            "Connection": trigger.get("connection", HOST_STORAGE),
            "ContainerName": path.container,
            "BlobName": properties.name,
        }
        return TypedData(
            model_binding_data=SimpleNamespace(
                version="1.0",
                source="AzureStorageBlobs",
                content_type="application/json",
                content=json.dumps(address).encode(),
            )
        )
    if trigger.data_type is DataType.STRING:
        return TypedData(string=content.decode("utf-8", "replace"))
    return TypedData(bytes=content)


def _properties_document(properties: BlobProperties) -> dict[str, Any]:
    return {
        "ContentLength": properties.size,
        "ContentType": properties.content_settings.content_type,
        "ETag": properties.etag,
        "LastModified": properties.last_modified.isoformat(),
    }
