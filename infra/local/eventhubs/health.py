"""The broker's HTTP door: is it well, what is in the hubs, and `flush` for Capture.

* `GET /health` answers as Microsoft's emulators do.
* `GET /stats` answers, by hub and partition, what is in the log and how far Capture has come.
* `POST /capture/flush?hub=NAME&timeout=SECONDS` closes the capture windows of these hubs (`hub` may repeat; without it,
  of all that are captured), waits until the files are stored and answers the last captured sequence number by hub and
  partition; 503 with the reason when the storage does not take them in time (60 s unless said).
"""

import asyncio

from aiohttp import web

from infra.local.eventhubs.capture import Capture
from infra.local.eventhubs.log import HubStore, PartitionLog

_FLUSH_S = 60.0
_SHUTDOWN_S = 0.5


class HealthServer:
    """Serves a store and its Capture over HTTP."""

    def __init__(self, store: HubStore, capture: Capture) -> None:
        self._store = store
        self._capture = capture
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/stats", self._stats)
        app.router.add_post("/capture/flush", self._flush)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)

    async def start(self, host: str, port: int) -> None:
        """Listen. OSError says that the port is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def stop(self) -> None:
        """Stop listening; requests that still wait are given up."""
        await self._runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy", "message": "Service is healthy."})

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                name: {
                    str(partition_id): self._partition_stats(name, partition_id, events)
                    for partition_id, events in enumerate(hub.partitions)
                }
                for name, hub in self._store.hubs.items()
            }
        )

    def _partition_stats(self, hub: str, partition_id: int, events: PartitionLog) -> dict[str, int | None]:
        captures = self._capture.hubs.get(hub)
        capture = captures[partition_id] if captures else None
        return {
            "first": events.first_sequence_number,
            "next": events.next_sequence_number,
            "size_bytes": events.size_bytes,
            "last_enqueued_ms": events.last_enqueued_ms,
            "captured_through": capture.next_sequence_number - 1 if capture else None,
            "capture_backlog": capture.backlog if capture else None,
        }

    async def _flush(self, request: web.Request) -> web.Response:
        hubs = request.query.getall("hub", []) or list(self._capture.hubs)
        if unknown := [hub for hub in hubs if hub not in self._capture.hubs]:
            valid = ", ".join(self._capture.hubs) or "none"
            return _refusal(404, f"no hub {unknown[0]!r} with Capture enabled; valid are: {valid}")
        try:
            timeout = float(request.query.get("timeout", _FLUSH_S))
        except ValueError:
            return _refusal(400, f"timeout is {request.query['timeout']!r}; it must be a number of seconds")
        try:
            async with asyncio.timeout(timeout):
                return web.json_response(await self._capture.flush(hubs))
        except TimeoutError:
            reason = self._capture.outage.reason or "the files are not all stored yet"
            return _refusal(503, f"not flushed in {timeout:g} s: {reason}")


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
