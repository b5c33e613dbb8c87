"""Capture with the real SDKs: azure-eventhub sends, Azurite holds the files, fastavro reads them; nothing is lost."""

import asyncio
import gc
import io
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import fastavro
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub.exceptions import EventHubError
from azure.storage.blob import BlobServiceClient

from infra.local.eventhubs.capture_storage import CaptureContainer, connect
from tests.azurite import AzuriteServer
from tests.eventhubs import EventHubsServer
from tests.polling import wait_until
from tests.sending import Resends, count_resends

pytestmark = [
    pytest.mark.integration,
    # azure-eventhub leaves the socket of a broken connection to the garbage collector (see _collect).
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

HUB = "dev-readfrom"
NAME = re.compile(r"emulatorns1/dev-readfrom/(\d)/\d{4}/\d\d/\d\d/\d\d/\d\d/\d\d\.avro")

type Record = dict[str, Any]


def hub(container: str, *, partitions: int = 2, **capture: object) -> dict[str, Any]:
    return {
        "Name": HUB,
        "PartitionCount": partitions,
        "Capture": {
            "Enabled": True,
            "IntervalInSeconds": 900,
            "SkipEmptyArchives": True,
            "Destination": {"BlobContainer": container},
            **capture,
        },
    }


class CaptureFiles:
    """The capture files in a container."""

    def __init__(self, connection_string: str) -> None:
        self.name = f"bronze-{uuid4().hex[:12]}"
        self._connection_string = connection_string

    def contents(self) -> dict[str, bytes]:
        """Every file by name, in the order of the names."""
        with BlobServiceClient.from_connection_string(self._connection_string) as service:
            container = service.get_container_client(self.name)
            try:
                names = sorted(container.list_blob_names())
            except ResourceNotFoundError:
                return {}
            return {name: container.download_blob(name).readall() for name in names}

    def records(self) -> list[tuple[int, Record]]:
        """(partition id, record) of all files."""
        return [
            (int(NAME.fullmatch(name)[1]), record)  # type: ignore[index]
            for name, content in self.contents().items()
            for record in records_of(content)
        ]


def records_of(content: bytes) -> Iterator[Record]:
    for record in fastavro.reader(io.BytesIO(content)):
        assert isinstance(record, dict)
        yield record


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Sockets that the SDK left open are collected here, where the warning is expected, not in another test."""
    yield
    gc.collect()


@pytest.fixture(name="files")
def _files(azurite: AzuriteServer) -> CaptureFiles:
    return CaptureFiles(azurite.connection_string)


type StartServer = Callable[..., EventHubsServer]


@pytest.fixture(name="start_server")
def _start_server(tmp_path: Path, azurite: AzuriteServer) -> Iterator[StartServer]:
    """Starts a broker with hubs; it is stopped at the end."""
    servers: list[EventHubsServer] = []

    def start(*hubs: dict[str, Any], storage: str = azurite.connection_string) -> EventHubsServer:
        server = EventHubsServer(tmp_path / f"broker-{len(servers)}", hubs, storage)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


def producer(server: EventHubsServer, **options: Any) -> EventHubProducerClient:
    return EventHubProducerClient.from_connection_string(server.connection_string, eventhub_name=HUB, **options)


def send(client: EventHubProducerClient, bodies: Iterable[bytes], **where: str) -> None:
    batch = client.create_batch(**where)
    for body in bodies:
        batch.add(EventData(body))
    client.send_batch(batch)


def bodies_of(records: Sequence[tuple[int, Record]]) -> list[bytes]:
    return [record["Body"] for _, record in records]


def contiguous(records: Sequence[tuple[int, Record]]) -> bool:
    """Whether each partition's events are in the files once each, in order, without a gap."""
    by_partition: dict[int, list[int]] = {}
    for partition, record in records:
        by_partition.setdefault(partition, []).append(record["SequenceNumber"])
    return all(numbers == list(range(len(numbers))) for numbers in by_partition.values())


def test_what_the_sdk_sent_is_in_the_files_after_a_flush(start_server: StartServer, files: CaptureFiles) -> None:
    server = start_server(hub(files.name))
    with producer(server) as client:
        batch = client.create_batch(partition_key="device-1")
        event = EventData(b'{"device_id":"device-1"}')
        event.properties = {"source": "test", "count": 3, "ratio": 0.5, "raw": b"\x00\xff"}
        batch.add(event)
        client.send_batch(batch)
        for partition in ("0", "1"):
            send(client, (b"%d" % number for number in range(500)), partition_id=partition)
    status, captured = server.post("/capture/flush")

    assert status == 200
    records = files.records()
    assert contiguous(records)
    assert len(records) == 1001
    assert captured == {HUB: {str(p): sum(part == p for part, _ in records) - 1 for p in (0, 1)}}
    (keyed,) = [record for _, record in records if record["Properties"]]
    assert keyed["Properties"] == {"source": "test", "count": 3, "ratio": 0.5, "raw": b"\x00\xff"}
    assert keyed["Body"] == b'{"device_id":"device-1"}'
    assert keyed["SystemProperties"]["x-opt-partition-key"] == "device-1"
    assert isinstance(keyed["SystemProperties"]["x-opt-enqueued-time"], int)
    assert re.fullmatch(r"\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d\d:\d\d [AP]M", keyed["EnqueuedTimeUtc"])


def test_windows_close_by_time_and_empty_ones_have_a_file_of_508_bytes(
    start_server: StartServer, files: CaptureFiles
) -> None:
    server = start_server(hub(files.name, partitions=1, IntervalInSeconds=1, SkipEmptyArchives=False))
    with producer(server) as client:
        send(client, [b"one", b"two"])
    wait_until(lambda: len(files.contents()) >= 4, 30, "four windows of a second")
    contents = list(files.contents().values())
    assert sum(len(content) == 508 for content in contents) == len(contents) - 1
    assert bodies_of(files.records()) == [b"one", b"two"]


def test_windows_close_by_size(start_server: StartServer, files: CaptureFiles) -> None:
    server = start_server(hub(files.name, partitions=1, SizeLimitInBytes=100_000))
    with producer(server) as client:
        for number in range(10):
            send(client, [b"%04d" % number + bytes(996)] * 50)
    wait_until(lambda: server.get("/stats")[HUB]["0"]["capture_backlog"] < 100, 30, "windows of about 100 events")
    sizes = [len(list(records_of(content))) for content in files.contents().values()]
    assert set(sizes) == {97}
    assert contiguous(files.records())


def test_a_window_of_many_megabytes_is_one_file_in_one_block(start_server: StartServer, files: CaptureFiles) -> None:
    server = start_server(hub(files.name, partitions=1))
    with producer(server) as client:
        for number in range(30):
            send(client, [bytes([number]) * 100_000] * 9)
    assert server.post("/capture/flush")[0] == 200
    (content,) = files.contents().values()
    (block,) = fastavro.block_reader(io.BytesIO(content))
    assert block.num_records == 270
    assert [record["Body"] for record in records_of(content)] == [bytes([at // 9]) * 100_000 for at in range(270)]


def test_after_an_outage_of_the_storage_the_windows_are_filled_in_order(
    start_server: StartServer, tmp_path: Path
) -> None:
    storage = AzuriteServer(tmp_path / "azurite")
    storage.start()
    files = CaptureFiles(storage.connection_string)
    server = start_server(hub(files.name, partitions=1, SizeLimitInBytes=5_000), storage=storage.connection_string)
    try:
        with producer(server) as client:
            send(client, [b"%d" % number for number in range(100)])
            assert server.post("/capture/flush")[0] == 200
            storage.kill()
            for start in range(100, 1000, 100):
                send(client, [b"%d" % number for number in range(start, start + 100)])
            status, answer = server.post("/capture/flush?timeout=2")
            assert status == 503
            assert "not flushed in 2 s" in answer["error"]
            assert str(storage.blob_port) in answer["error"]
            assert server.get("/health")["status"] == "healthy"
            storage.start()
            assert server.post("/capture/flush?timeout=60") == (200, {HUB: {"0": 999}})
        assert bodies_of(files.records()) == [b"%d" % number for number in range(1000)]
        assert len(files.contents()) > 5
        assert server.output.count("capture files wait") == server.output.count("takes capture files again") == 1
    finally:
        storage.stop()


def test_a_container_that_was_removed_is_made_again(start_server: StartServer, azurite: AzuriteServer) -> None:
    files = CaptureFiles(azurite.connection_string)
    server = start_server(hub(files.name, partitions=1))
    with producer(server) as client:
        for body in (b"before", b"after"):
            send(client, [body])
            assert server.post("/capture/flush")[0] == 200
            if body == b"before":
                with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
                    service.delete_container(files.name)
    assert bodies_of(files.records()) == [b"after"]


@pytest.mark.parametrize("size", [600, 9_000_000])
def test_a_file_that_was_stored_before_is_recognised_and_one_of_another_is_left_alone(
    azurite: AzuriteServer, files: CaptureFiles, size: int
) -> None:
    async def put_three_times() -> list[bool]:
        async with connect(azurite.connection_string) as service:
            container = CaptureContainer(service.get_container_client(files.name))
            await container.prepare()
            return [
                await container.put("a.avro", io.BytesIO(bytes(size) + marker), size + 16, marker)
                for marker in (b"0123456789abcdef", b"0123456789abcdef", b"another's marker")
            ]

    assert asyncio.run(put_three_times()) == [True, True, False]
    assert files.contents() == {"a.avro": bytes(size) + b"0123456789abcdef"}


class Sender(threading.Thread):
    """Sends batches of numbered events, each with one call; knows which were acknowledged, and how often each was sent.

    A batch whose call failed is given up. A call may send it twice all the same (see `Resends`).
    """

    def __init__(self, server: EventHubsServer, resends: Resends) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._resends = resends
        self.enough = threading.Event()
        self.acknowledged: list[bytes] = []
        self.attempts: Counter[bytes] = Counter()

    def run(self) -> None:
        while not self.enough.is_set():
            try:
                with producer(self._server, retry_total=0) as client:
                    self._send_until_it_fails(client)
            except (EventHubError, OSError):
                self.enough.wait(0.05)

    def _send_until_it_fails(self, client: EventHubProducerClient) -> None:
        while not self.enough.is_set():
            bodies = [b"%08d" % (len(self.attempts) + number) for number in range(40)]
            before = self._resends.of_this_thread()
            try:
                send(client, bodies)
            finally:
                self.attempts.update(dict.fromkeys(bodies, 1 + self._resends.of_this_thread() - before))
            self.acknowledged += bodies


@pytest.mark.slow
def test_killed_at_random_moments_every_acknowledged_event_is_in_exactly_one_file(
    start_server: StartServer, files: CaptureFiles
) -> None:
    server = start_server(hub(files.name, partitions=2, IntervalInSeconds=1, SizeLimitInBytes=20_000))
    random = Random(20260309)
    with count_resends() as resends:
        sender = Sender(server, resends)
        sender.start()
        for _ in range(10):
            goal = len(sender.acknowledged) + random.randint(40, 1500)
            wait_until(lambda goal=goal: len(sender.acknowledged) >= goal, 60, f"{goal} acknowledged events")
            threading.Event().wait(random.uniform(0, 0.1))
            server.kill()
            server.start()
        sender.enough.set()
        sender.join(timeout=60)
        assert not sender.is_alive(), "the last attempt is not counted yet"
    assert server.post("/capture/flush")[0] == 200

    records = files.records()
    assert contiguous(records)
    stats = server.get("/stats")[HUB]
    assert len(records) == sum(partition["next"] for partition in stats.values())
    times = Counter(bodies_of(records))
    assert set(sender.acknowledged) <= set(times)
    assert times <= sender.attempts  # once, and twice only where the SDK sent twice; nothing that was not sent


def test_a_restart_captures_nothing_twice(start_server: StartServer, files: CaptureFiles) -> None:
    server = start_server(hub(files.name, partitions=1))
    for body in (b"first", b"second"):
        with producer(server) as client:
            send(client, [body])
        assert server.post("/capture/flush")[0] == 200
        server.stop()
        server.start()
    assert server.post("/capture/flush") == (200, {HUB: {"0": 1}})
    assert bodies_of(files.records()) == [b"first", b"second"]


def test_retention_by_size_waits_for_capture(start_server: StartServer, files: CaptureFiles) -> None:
    kept = {"Name": "kept", "PartitionCount": 1, "RetentionSizeInBytes": 1_000}
    server = start_server(hub(files.name, partitions=1) | {"RetentionSizeInBytes": 1_000}, kept)
    with (
        producer(server) as client,
        EventHubProducerClient.from_connection_string(server.connection_string, eventhub_name="kept") as other,
    ):
        send(client, [bytes(1000)] * 50)
        send(other, [bytes(1000)] * 50)
        wait_until(lambda: server.get("/stats")["kept"]["0"]["first"] == 50, 30, "retention by size")
        assert server.get("/stats")[HUB]["0"]["first"] == 0
        assert server.post("/capture/flush") == (200, {HUB: {"0": 49}})
        wait_until(lambda: server.get("/stats")[HUB]["0"]["first"] == 50, 30, "retention after the capture")
    assert contiguous(files.records())


def test_the_health_port_answers_as_the_emulators_do_and_refuses_unknown_hubs(
    start_server: StartServer, files: CaptureFiles
) -> None:
    server = start_server(hub(files.name), {"Name": "other", "PartitionCount": 1})
    assert server.get("/health") == {"status": "healthy", "message": "Service is healthy."}
    status, answer = server.post("/capture/flush?hub=other")
    assert status == 404
    assert answer["error"] == f"no hub 'other' with Capture enabled; valid are: {HUB}"
    assert server.post("/capture/flush?timeout=soon")[0] == 400
    assert server.get("/stats")["other"]["0"] == {
        "first": 0,
        "next": 0,
        "size_bytes": 0,
        "last_enqueued_ms": 0,
        "captured_through": None,
        "capture_backlog": None,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"amqp_port": "taken"}, r"port \d+ of 127.0.0.1 is in use: choose another by --amqp-port"),
        ({"health_port": "taken"}, r"port \d+ of 127.0.0.1 is in use: choose another by --health-port"),
        ({}, r"in use by another broker \(process \d+\)"),
        ({"storage": "garbage"}, "connection string is malformed"),
        ({"storage": None}, "has Capture enabled: say where the files go by --storage"),
    ],
)
def test_what_keeps_it_from_starting_is_said_and_the_exit_code_is_2(
    start_server: StartServer, tmp_path: Path, change: dict[str, str | None], message: str
) -> None:
    server = start_server(hub("bronze"))
    taken = {"amqp_port": server.amqp_port, "health_port": server.health_port}
    second = EventHubsServer(tmp_path / ("second" if change else "broker-0"), [hub("bronze")], server.storage)
    for name, value in change.items():
        setattr(second, name, taken[name] if value == "taken" else value)
    ended = subprocess.run(second.command(), capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert re.search(message, ended.stderr.splitlines()[-1])


def test_sigterm_stops_it_cleanly_while_clients_are_connected(start_server: StartServer, files: CaptureFiles) -> None:
    server = start_server(hub(files.name))
    with producer(server) as client:
        send(client, [b"x"])
        process = server.process
        assert process is not None
        server.stop()
        assert process.returncode == 0
    assert "Traceback" not in server.output
