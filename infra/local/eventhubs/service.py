"""The stand-in for an Event Hubs namespace as a whole: logs on disk, broker, Capture, retention and the HTTP door."""

import asyncio
import errno
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from infra.local.eventhubs.broker import Broker, HubDescription
from infra.local.eventhubs.capture import Capture, CapturedHub
from infra.local.eventhubs.capture_storage import CaptureContainer, connect
from infra.local.eventhubs.config import NamespaceConfig
from infra.local.eventhubs.health import HealthServer
from infra.local.eventhubs.hubs import Partition
from infra.local.eventhubs.log import HubStore
from shared.errors import ConfigurationError

log = logging.getLogger(__name__)

_RETAIN_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Where the data lies, what is listened to, and where captured files go."""

    data: Path
    host: str
    amqp_port: int
    health_port: int
    storage: str | None = None


async def serve(config: NamespaceConfig, options: ServiceOptions, stop: asyncio.Event) -> None:
    """Serve a namespace until `stop` is set.

    Raises ConfigurationError (a port that is taken, a data directory in use, ...) or LogCorrupt when it cannot start; a
    log that turns out to be damaged later raises LogCorrupt in a group.
    """
    async with AsyncExitStack() as closing:
        store = HubStore(options.data, {hub.name: hub.partition_count for hub in config.hubs})
        closing.callback(store.close)
        capture = Capture(config.name, await _captured_hubs(config, options, store, closing))
        await _listen(config, options, store, capture, closing)
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(capture.run()), tasks.create_task(_retain(config, store, capture))]
            log.info(
                "ready: amqp %s:%d, health http://%s:%d/health",
                *(options.host, options.amqp_port, options.host, options.health_port),
            )
            await stop.wait()
            for task in background:
                task.cancel()


async def _listen(
    config: NamespaceConfig, options: ServiceOptions, store: HubStore, capture: Capture, closing: AsyncExitStack
) -> None:
    broker = Broker(_descriptions(config, store))
    broker.on_append.append(lambda partition: _appended(capture, partition))
    health = HealthServer(store, capture)
    closing.push_async_callback(broker.stop)
    closing.push_async_callback(health.stop)
    try:
        await broker.start(options.host, options.amqp_port)
    except OSError as error:
        raise _port_error(options.host, options.amqp_port, "--amqp-port", error) from error
    try:
        await health.start(options.host, options.health_port)
    except OSError as error:
        raise _port_error(options.host, options.health_port, "--health-port", error) from error


def _port_error(host: str, port: int, option: str, error: OSError) -> ConfigurationError:
    why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be listened to ({error.strerror})"
    return ConfigurationError(f"port {port} of {host} {why}: choose another by {option}")


def _descriptions(config: NamespaceConfig, store: HubStore) -> Sequence[HubDescription]:
    return [
        HubDescription(hub.name, stored.partitions, hub.consumer_groups, stored.created_ms)
        for hub in config.hubs
        for stored in (store.hubs[hub.name],)
    ]


def _appended(capture: Capture, partition: Partition) -> None:
    capture.appended(partition.hub_name, int(partition.id))


async def _captured_hubs(
    config: NamespaceConfig, options: ServiceOptions, store: HubStore, closing: AsyncExitStack
) -> Sequence[CapturedHub]:
    captured = [(hub.name, hub.capture) for hub in config.hubs if hub.capture is not None]
    if not captured:
        return []
    if options.storage is None:
        raise ConfigurationError(
            f"hub {captured[0][0]!r} has Capture enabled: say where the files go by --storage CONNECTION_STRING, "
            "or set Capture.Enabled to false"
        )
    client = await closing.enter_async_context(connect(options.storage))
    return [
        CapturedHub(
            name, capture, store.hubs[name].partitions, CaptureContainer(client.get_container_client(capture.container))
        )
        for name, capture in captured
    ]


async def _retain(config: NamespaceConfig, store: HubStore, capture: Capture) -> None:
    """Drop what is over the retention time or size, now and then, until cancelled."""
    while True:
        for hub in config.hubs:
            captures = capture.hubs.get(hub.name)
            for partition_id, events in enumerate(store.hubs[hub.name].partitions):
                events.retain(
                    retention_ms=hub.retention_ms,
                    retention_bytes=hub.retention_bytes,
                    keep_from=captures[partition_id].next_sequence_number if captures else None,
                )
        await asyncio.sleep(_RETAIN_EVERY_S)
