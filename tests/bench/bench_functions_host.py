"""The local Functions host: how long it takes to start, how late a lone event is, how many events flow through.

    python -m tests.bench.bench_functions_host [events]

A real host process with our broker and Azurite; one event in ten becomes an output. The baseline of the throughput is
the SDK: what azure-eventhub alone receives of the same broker (bench_broker_memory.py).
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient

from tests.azurite import AzuriteServer
from tests.bench.report import record
from tests.eventhubs import EventHubsServer
from tests.functions_host import FunctionsHost
from tests.polling import wait_until

APP = Path(__file__).parents[1] / "data" / "host_apps" / "counting"
HUBS = [{"Name": name, "PartitionCount": 4, "ConsumerGroups": [{"Name": "group"}]} for name in ("in", "out")]
EVENTS = 60_000
BATCH = 1000
LONE_EVENTS = 60


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def measure_start(host: FunctionsHost) -> None:
    began = time.perf_counter()
    host.begin()
    while host.state() != "running":
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    say(f"start: ready after {seconds:.1f} s (the issue allows 5)")
    record("host_start", seconds, "s", note="of the local Functions host, until all triggers listen")


async def send_lone_events(connection_string: str) -> None:
    """One event every quarter of a second."""
    async with EventHubProducerClient.from_connection_string(connection_string, eventhub_name="in") as producer:
        for number in range(LONE_EVENTS):
            batch = await producer.create_batch()
            batch.add(EventData(f"lone {number}"))
            await producer.send_batch(batch)
            await asyncio.sleep(0.25)


async def send_burst(connection_string: str, events: int) -> None:
    async with EventHubProducerClient.from_connection_string(connection_string, eventhub_name="in") as producer:
        for number in range(events // BATCH):
            batch = await producer.create_batch(partition_id=str(number % 4))
            for _ in range(BATCH):
                batch.add(EventData(b"x" * 200))
            await producer.send_batch(batch)


def measure_latency(host: FunctionsHost, broker: EventHubsServer) -> None:
    wait_until(lambda: all(partition["owned"] for partition in _partitions(host).values()), 10, "all partitions")
    asyncio.run(send_lone_events(broker.connection_string))
    wait_until(lambda: len(host.notes("count")) >= LONE_EVENTS, 30, "the lone events")
    delays = sorted(note["delay_s"] * 1000 for note in host.notes("count"))
    p50, p95 = delays[len(delays) // 2], delays[int(len(delays) * 0.95)]
    say(f"a lone event reaches the function after p50 {p50:.0f} ms, p95 {p95:.0f} ms, at most {delays[-1]:.0f} ms")
    record("host_lone_event", p50, "ms", note=f"p50 from sending to the function; p95 {p95:.0f} ms")


def _partitions(host: FunctionsHost) -> dict[str, dict[str, bool]]:
    partitions: dict[str, dict[str, bool]] = host.status()["functions"]["count"]["event_hub"]["partitions"]
    return partitions


def measure_throughput(host: FunctionsHost, broker: EventHubsServer, events: int) -> None:
    """The broker is full before the host starts, so that the sender takes nothing from it."""
    host.stop()
    before = len(host.notes("count"))
    asyncio.run(send_burst(broker.connection_string, events))
    host.start()
    wait_until(lambda: sum(note["events"] for note in host.notes("count")[before:]) >= events, 300, "all events")
    notes = host.notes("count")[before:]
    seconds = notes[-1]["at"] - notes[0]["at"]
    say(f"{events:,} events in {seconds:.1f} s: {events / seconds:,.0f}/s in batches of {events / len(notes):,.0f}")
    record(
        "host_throughput", events / seconds, "events/s", note="through broker, host and engine, one in ten an output"
    )


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    with tempfile.TemporaryDirectory() as folder:
        storage = AzuriteServer(Path(folder, "azurite"))
        broker = EventHubsServer(Path(folder, "broker"), HUBS)
        settings = {"AzureWebJobsStorage": storage.connection_string, "Hub": broker.connection_string}
        host = FunctionsHost(Path(folder, "host"), APP, settings)
        storage.start()
        broker.start()
        try:
            measure_start(host)
            measure_latency(host, broker)
            measure_throughput(host, broker, events)
        finally:
            host.kill()
            broker.stop()
            storage.stop()


if __name__ == "__main__":
    main()
