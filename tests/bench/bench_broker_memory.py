"""1 M events of 200 bytes through the broker, in and out, with the real SDK: its memory, and who is the bottleneck.

    python -m tests.bench.bench_broker_memory [events]

The baseline of a throughput is the client itself: the CPU time that azure-eventhub spends on the same events. Ends with
an error when the broker's memory reaches the limit.
"""

import asyncio
import multiprocessing
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
from azure.eventhub import EventData, PartitionContext
from azure.eventhub.aio import EventHubConsumerClient, EventHubProducerClient

from tests.bench.report import record
from tests.eventhubs import EventHubsServer

EVENTS = 1_000_000
BATCH = 1000
BODY = b'{"device_id":"device-0001","latitude":51.5074,"longitude":-0.1278,"pad":"'.ljust(198, b"x") + b'"}'
PARTITIONS = 4
PROCESSES = 2
LIMIT_MIB = 150
HUB = {"Name": "pings", "PartitionCount": PARTITIONS, "ConsumerGroups": [{"Name": "footfall"}]}

type Work = Callable[[str, Sequence[str], int], float]
"""(connection string, partition ids, events a partition) -> CPU seconds of this process."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What one direction cost."""

    name: str
    events: int
    seconds: float
    broker_cpu_s: float
    client_cpu_s: float

    def __str__(self) -> str:
        rates = [self.events / seconds for seconds in (self.seconds, self.broker_cpu_s, self.client_cpu_s)]
        return "{:<4}{:>9,.0f} events/s; a CPU-second: broker {:>9,.0f}, SDK {:>9,.0f} events".format(self.name, *rates)


class PeakMemory:
    """The largest resident memory of a process while the block runs, in MiB."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.mib = 0.0

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self.mib = max(self.mib, self._process.memory_info().rss / 2**20)


def produce(connection_string: str, partitions: Sequence[str], events: int) -> float:
    """Send batches of 1,000 events to each partition, over one link a partition."""

    async def one(client: EventHubProducerClient, partition: str) -> None:
        batch = await client.create_batch(partition_id=partition)
        for _ in range(BATCH):
            batch.add(EventData(BODY))
        for _ in range(events // BATCH):
            await client.send_batch(batch)

    async def all_partitions() -> None:
        async with EventHubProducerClient.from_connection_string(connection_string, eventhub_name="pings") as client:
            await asyncio.gather(*(one(client, partition) for partition in partitions))

    asyncio.run(all_partitions())
    return _cpu_s()


def consume(connection_string: str, partitions: Sequence[str], events: int) -> float:
    """Receive every event of each partition, over one link a partition; a gap is an error."""

    async def one(partition: str) -> None:
        client = EventHubConsumerClient.from_connection_string(
            connection_string, "footfall", eventhub_name="pings", load_balancing_interval=0.5
        )
        done = asyncio.Event()
        expected = 0

        async def on_batch(context: PartitionContext, batch: list[EventData]) -> None:
            nonlocal expected
            if batch and batch[0].sequence_number != expected:
                raise AssertionError(f"event {batch[0].sequence_number} came instead of {expected}")
            expected += len(batch)
            if expected == events:
                done.set()

        receiving = client.receive_batch(
            on_batch, partition_id=partition, starting_position="-1", prefetch=3000, max_batch_size=1000
        )
        task = asyncio.create_task(receiving)
        await done.wait()
        await client.close()
        await task

    async def all_partitions() -> None:
        await asyncio.gather(*(one(partition) for partition in partitions))

    asyncio.run(all_partitions())
    return _cpu_s()


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(name: str, work: Work, server: EventHubsServer, events: int) -> Phase:
    """Run the work in two processes, half of the partitions each."""
    broker = psutil.Process(server.pid)
    before, start = sum(broker.cpu_times()[:2]), time.perf_counter()
    partitions = [str(number) for number in range(PARTITIONS)]
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        shares = [
            pool.submit(work, server.connection_string, partitions[share::PROCESSES], events // PARTITIONS)
            for share in range(PROCESSES)
        ]
        client_cpu_s = sum(share.result() for share in shares)
    seconds = time.perf_counter() - start
    return Phase(name, events, seconds, sum(broker.cpu_times()[:2]) - before, client_cpu_s)


def record_phase(phase: Phase) -> None:
    sdk = phase.events / phase.client_cpu_s
    record(
        f"broker_{phase.name}", phase.events / phase.broker_cpu_s, "events/s a core", sdk, "baseline: the SDK itself"
    )


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    with tempfile.TemporaryDirectory() as folder:
        server = EventHubsServer(Path(folder), [HUB])
        server.start()
        try:
            with PeakMemory(server.pid) as memory:
                say(f"{events:,} events of {len(BODY)} bytes, {PROCESSES} processes, {PARTITIONS} partitions")
                for name, work in (("in", produce), ("out", consume)):
                    phase = measure(name, work, server, events)
                    say(phase)
                    record_phase(phase)
                after = psutil.Process(server.pid).memory_info().rss / 2**20
        finally:
            server.stop()
    record("broker_memory", memory.mib, "MiB", note=f"at most, over {events:,} events; the limit is {LIMIT_MIB}")
    say(f"broker memory: {after:.0f} MiB at the end, {memory.mib:.0f} MiB at most; the limit is {LIMIT_MIB} MiB")
    if memory.mib >= LIMIT_MIB:
        sys.exit("the broker's memory reached the limit")


if __name__ == "__main__":
    main()
