"""Event Hub output bindings: which events a function's value becomes, and their publishing through the real SDK.

Sources: the host's FunctionBinding.BindAsyncCollectorAsync and Utility.IsJson, the extension's EventHubAsyncCollector.
Python cannot give a partition key here, so the broker deals each sent batch to a partition in turn.
"""

import json
from collections.abc import Iterable, Sequence

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient

from infra.local.host.errors import OutputFailed
from infra.local.host.protos import TypedData
from infra.local.host.settings import Json

_KEEP_ALIVE_S = 15
_RETRIES = 2


def expand(value: TypedData) -> list[bytes]:
    """The bodies of the events that an output's value becomes; [] publishes nothing.

    bytes are one event, verbatim. A list is an event for each element, strings verbatim, the rest as indented JSON. A
    text that looks like JSON is parsed first: an array is split, an object is written anew, indented.
    Raises OutputFailed for a text that looks like JSON and is none.
    """
    match value.kind:
        case None:
            return []
        case "bytes":
            return [value.value]
        case "int" | "double":
            return [str(value.value).encode()]
        case "json":
            return [_as_text(item).encode() for item in _elements(json.loads(value.value))]
        case "string" if _looks_like_json(value.value):
            try:
                document = json.loads(value.value)
            except ValueError as error:
                raise OutputFailed(f"a text output looks like JSON but does not parse: {error}") from error
            return [_as_text(item).encode() for item in _elements(document)]
        case "string":
            return [value.value.encode()]
    raise OutputFailed(f"a value of kind {value.kind} cannot become events")


def _elements(document: Json) -> list[Json]:
    return document if isinstance(document, list) else [document]


def _looks_like_json(text: str) -> bool:
    stripped = text.strip()
    return (stripped[:1], stripped[-1:]) in {("{", "}"), ("[", "]")}


def _as_text(token: Json) -> str:
    """Newtonsoft's JToken.ToString: texts verbatim, containers indented."""
    if isinstance(token, str):
        return token
    if token is None:
        return ""
    if isinstance(token, bool):
        return str(token)
    return json.dumps(token, indent=2 if isinstance(token, (dict, list)) else None, ensure_ascii=False)


class EventHubOutput:
    """Publishes to one hub over one connection that is kept open."""

    def __init__(self, connection_string: str, hub: str) -> None:
        self._hub = hub
        self._client = EventHubProducerClient.from_connection_string(
            connection_string, eventhub_name=hub, retry_total=_RETRIES, keep_alive=_KEEP_ALIVE_S
        )

    async def open(self) -> None:
        """Connect now, so that the first event does not wait the half second that this takes."""
        await self._client.create_batch()

    async def publish(self, bodies: Sequence[bytes]) -> None:
        """Send the events in as few batches as they fit in, in order; returns when the hub has acknowledged all.

        Raises OutputFailed; batches before the failed one may have been sent, as on Azure.
        """
        try:
            await self._send(bodies)
        except OutputFailed:
            raise
        except Exception as error:  # a broken connection makes the SDK raise anything: nothing is acknowledged
            raise OutputFailed(f"event hub {self._hub}: {error}") from error

    async def close(self) -> None:
        await self._client.close()

    async def _send(self, bodies: Iterable[bytes]) -> None:
        batch = await self._client.create_batch()
        for body in bodies:
            event = EventData(body)
            try:
                batch.add(event)
                continue
            except ValueError:
                if not len(batch):
                    raise self._too_large(body) from None
            await self._client.send_batch(batch)
            batch = await self._client.create_batch()
            try:
                batch.add(event)
            except ValueError:
                raise self._too_large(body) from None
        if len(batch):
            await self._client.send_batch(batch)

    def _too_large(self, body: bytes) -> OutputFailed:
        return OutputFailed(f"event hub {self._hub}: Event is too large ({len(body)} bytes)")
