"""Output bindings of all functions: which publisher takes which value."""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from infra.local.host.connections import find_connection
from infra.local.host.errors import OutputFailed
from infra.local.host.event_hub_output import EventHubOutput, expand
from infra.local.host.model import Binding, Function
from infra.local.host.outage import AWAY
from infra.local.host.protos import TypedData

log = logging.getLogger(__name__)

OUTPUT_TYPES = frozenset({"eventhub", "http"})
"""`http` is answered by the HTTP server itself."""


class OutputBindings:
    """The open connections of all `eventHub` outputs; bindings to the same hub share one."""

    def __init__(self, functions: Iterable[Function]) -> None:
        self._hubs = {
            _address(binding): EventHubOutput(*_address(binding))
            for function in functions
            for binding in function.outputs
            if binding.type == "eventhub"
        }

    async def open(self) -> None:
        """Connect, so that the first events need not wait for it; a hub that is away is tried again when they come."""
        for (_, hub), output in self._hubs.items():
            try:
                await output.open()
            except AWAY as error:
                log.warning("event hub %s, an output, cannot be reached yet: %s", hub, error)

    async def publish(self, function: Function, values: Mapping[str, TypedData]) -> None:
        """Publish all values of a call side by side; raises OutputFailed after all have ended, when one has failed."""
        work = [
            self._hubs[_address(binding)].publish(bodies)
            for binding in function.outputs
            if binding.type == "eventhub" and binding.name in values and (bodies := expand(values[binding.name]))
        ]
        if not work:
            return
        results = await asyncio.gather(*work, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            if not isinstance(failure, OutputFailed):
                raise failure
        if failures:
            raise OutputFailed("; ".join(str(failure) for failure in failures))

    async def close(self) -> None:
        await asyncio.gather(*(output.close() for output in self._hubs.values()))


def _address(binding: Binding) -> tuple[str, str]:
    connection = find_connection(str(binding.get("connection")))
    assert connection is not None, "validation has refused an app without it"
    return connection, str(binding.get("eventHubName"))
