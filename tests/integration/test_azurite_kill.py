"""Azurite, killed with -9 in the middle of writing, keeps all that it acknowledged, and transactions whole."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.data.tables import TableClient, TableServiceClient
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient
from azure.storage.queue import QueueClient, QueueServiceClient

from tests.azurite import AzuriteServer
from tests.polling import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

KILLS = 8
KILLED = (ServiceRequestError, ServiceResponseError)


class Writer:
    """Writes until the server is gone: `known` was acknowledged, `in_flight` may or may not have happened."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.known: dict[str, Any] = {}
        self.in_flight: dict[str, Any] = {}
        self.acknowledged = 0

    def run(self) -> None:
        while True:
            self.in_flight, request = self.next_request()
            try:
                request()
            except KILLED:
                return
            self.known |= self.in_flight
            self.in_flight = {}
            self.acknowledged += 1

    def next_request(self) -> tuple[dict[str, Any], Callable[[], object]]:
        """What will be true once the request is acknowledged, by key (None: gone), and the request."""
        raise NotImplementedError

    def stored(self) -> dict[str, Any]:
        raise NotImplementedError

    def settle(self) -> None:
        """After a restart: stored is what was acknowledged, with the request in flight done wholly or not at all."""
        stored = self.stored()
        without = _present(self.known)
        assert stored in (without, _present(self.known | self.in_flight)), "acknowledged changes are missing"
        self.known, self.in_flight = stored, {}


class BlobWriter(Writer):
    """New blobs with If-None-Match (as Delta commits), blobs of two blocks, overwritten and deleted ones."""

    def __init__(self, seed: int, container: ContainerClient) -> None:
        super().__init__(seed)
        self.container = container
        self.count = 0

    def next_request(self) -> tuple[dict[str, Any], Callable[[], object]]:
        self.count += 1
        content = self.random.randbytes(self.random.choice([1, 900, 70_000]))
        old = self.random.choice(sorted(_present(self.known)) or [""])
        match self.random.choice(["new", "new", "blocks", "overwrite", "delete"]) if old else "new":
            case "overwrite":
                return {old: content}, lambda: self.container.upload_blob(old, content, overwrite=True)
            case "delete":
                return {old: None}, lambda: self.container.delete_blob(old)
            case "blocks":
                return {f"{self.count}": content}, lambda: self._upload_blocks(f"{self.count}", content)
        return {f"{self.count}": content}, lambda: self.container.upload_blob(f"{self.count}", content)

    def _upload_blocks(self, name: str, content: bytes) -> None:
        blob = self.container.get_blob_client(name)
        blob.stage_block("a", content[: len(content) // 2])
        blob.stage_block("b", content[len(content) // 2 :])
        blob.commit_block_list([BlobBlock("a"), BlobBlock("b")])

    def stored(self) -> dict[str, Any]:
        return {name: self.container.download_blob(name).readall() for name in self.container.list_blob_names()}


class TableWriter(Writer):
    """Entity-group transactions that create, update and delete up to 100 rows."""

    def __init__(self, seed: int, table: TableClient) -> None:
        super().__init__(seed)
        self.table = table

    def next_request(self) -> tuple[dict[str, Any], Callable[[], object]]:
        value = self.random.randrange(1_000_000)
        rows = self.random.sample(range(120), self.random.choice([2, 30, 100]))
        changes: dict[str, Any] = {f"r{row}": value for row in rows}
        for key in rows[: len(rows) // 3]:
            if self.known.get(f"r{key}") is not None:
                changes[f"r{key}"] = None
        operations = [
            ("delete" if new is None else "upsert", {"PartitionKey": "p", "RowKey": key, "value": new})
            for key, new in changes.items()
        ]
        return changes, lambda: self.table.submit_transaction(operations)

    def stored(self) -> dict[str, Any]:
        return {row["RowKey"]: row["value"] for row in self.table.list_entities()}


class QueueWriter(Writer):
    """Messages sent and deleted."""

    def __init__(self, seed: int, queue: QueueClient) -> None:
        super().__init__(seed)
        self.queue = queue
        self.count = 0
        self.receipts: dict[str, Any] = {}

    def next_request(self) -> tuple[dict[str, Any], Callable[[], object]]:
        if len(self.receipts) > 10:
            message, sent = self.receipts.popitem()
            return {message: None}, lambda: self.queue.delete_message(sent.id, sent.pop_receipt)
        self.count += 1
        message = f"message {self.count}"

        def send() -> None:
            self.receipts[message] = self.queue.send_message(message)

        return {message: True}, send

    def stored(self) -> dict[str, Any]:
        return {message.content: True for message in self.queue.peek_messages(32)}


def test_what_was_acknowledged_survives_kill_9(server: AzuriteServer) -> None:
    chance = random.Random(20260101)
    writers = _writers(server.connection_string)
    for _ in range(KILLS):
        _write_until_killed(writers, server, after=chance.randrange(20, 300))
        server.start()
        for writer in writers:
            writer.settle()


def test_what_was_acknowledged_survives_a_snapshot_and_a_kill(server: AzuriteServer) -> None:
    # More than the 16 MiB of journal that make a snapshot due: 100 rows of 30 KB, written six times.
    with TableServiceClient.from_connection_string(server.connection_string) as service:
        table = service.create_table("large")
        for number in range(6):
            _write_hundred_rows(table, number)
        snapshot = server.location / "__azurite_db_table__.json"
        wait_until(lambda: snapshot.stat().st_size > 3_000_000, 30, "a snapshot that was taken while running")
        _write_hundred_rows(table, 6)
        server.kill()
        server.start()
        assert {row["number"] for row in table.list_entities()} == {6}
        server.stop()
        server.start()
        assert {row["number"] for row in table.list_entities()} == {6}


@pytest.mark.parametrize("moment", ["after-write", "torn-write"])
@pytest.mark.parametrize("write", [1, 2])
def test_an_entity_group_transaction_is_whole_or_not_there(server: AzuriteServer, moment: str, write: int) -> None:
    with TableServiceClient.from_connection_string(server.connection_string, retry_total=0) as service:
        table = service.create_table("fenced")
        _write_hundred_rows(table, 0)
        server.kill()
        server.start(f"{moment}:{write}", "__azurite_db_table__")
        _write_until_refused(table, first=1)
        server.wait()
        server.start()
        rows = list(table.list_entities())
        assert len(rows) == 100
        # What stood in the journal counts, acknowledged or not; half a line does not.
        assert {row["number"] for row in rows} == {write if moment == "after-write" else write - 1}


@pytest.mark.parametrize("moment", ["before-rename", "after-rename"])
def test_nothing_is_lost_when_the_kill_hits_a_snapshot(server: AzuriteServer, moment: str) -> None:
    server.stop()
    server.start(f"{moment}:2", "__azurite_db_table__")  # the first snapshot is the one at the start
    with TableServiceClient.from_connection_string(server.connection_string, retry_total=0) as service:
        table = service.create_table("large")
        acknowledged = _write_until_refused(table, first=0)
        server.wait()
        server.start()
        assert {row["number"] for row in table.list_entities()} <= {acknowledged, acknowledged + 1}
        assert acknowledged > 3


def test_ids_are_not_given_twice_after_a_kill(server: AzuriteServer) -> None:
    """Paging goes by an internal id; were one given twice, a listing would skip a blob."""
    with BlobServiceClient.from_connection_string(server.connection_string) as service:
        container = service.create_container("ids")
        for name in "abc":
            container.upload_blob(name, b"1")
        container.delete_blob("c")
        server.kill()
        server.start()
        container.upload_blob("d", b"2")
        pages = container.list_blobs(results_per_page=1).by_page()
        assert [blob.name for page in pages for blob in page] == ["a", "b", "d"]


def _write_until_killed(writers: list[Writer], server: AzuriteServer, after: int) -> None:
    goal = sum(writer.acknowledged for writer in writers) + after
    with ThreadPoolExecutor(len(writers)) as threads:
        runs = [threads.submit(writer.run) for writer in writers]
        try:
            wait_until(lambda: sum(writer.acknowledged for writer in writers) >= goal, 60, f"{goal} acknowledged")
        finally:
            server.kill()  # which ends the threads
    for run in runs:
        run.result()


def _write_until_refused(table: TableClient, first: int) -> int:
    """Write transactions until the server is gone; returns the number of the last acknowledged one."""
    for number in range(first, first + 20):
        try:
            _write_hundred_rows(table, number)
        except KILLED:
            return number - 1
    raise AssertionError("the server did not crash")


def _write_hundred_rows(table: TableClient, number: int) -> None:
    text = "x" * 30_000
    table.submit_transaction(
        [("upsert", {"PartitionKey": "p", "RowKey": f"{row}", "number": number, "text": text}) for row in range(100)]
    )


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[AzuriteServer]:
    server = AzuriteServer(tmp_path / "azurite")
    server.start()
    yield server
    server.stop()


def _writers(connection: str) -> list[Writer]:
    blobs = BlobServiceClient.from_connection_string(connection, retry_total=0)
    tables = TableServiceClient.from_connection_string(connection, retry_total=0)
    queues = QueueServiceClient.from_connection_string(connection, retry_total=0)
    return [
        BlobWriter(1, blobs.create_container("first")),
        BlobWriter(2, blobs.create_container("second")),
        TableWriter(3, tables.create_table("first")),
        TableWriter(4, tables.create_table("second")),
        QueueWriter(5, queues.create_queue("first")),
    ]
