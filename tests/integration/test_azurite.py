"""Azurite as the laptop cloud runs it."""

import pytest
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from tests.azurite import AzuriteServer

pytestmark = pytest.mark.integration


def test_blobs_tables_and_queues_answer_on_free_ports(azurite: AzuriteServer) -> None:
    with (
        BlobServiceClient.from_connection_string(azurite.connection_string) as blobs,
        TableServiceClient.from_connection_string(azurite.connection_string) as tables,
        QueueServiceClient.from_connection_string(azurite.connection_string) as queues,
    ):
        blobs.create_container("three-doors").upload_blob("b", b"bytes")
        tables.create_table("threedoors").create_entity({"PartitionKey": "p", "RowKey": "r"})
        queues.create_queue("three-doors").send_message("m")
        assert blobs.get_blob_client("three-doors", "b").download_blob().readall() == b"bytes"
        assert tables.get_table_client("threedoors").get_entity("p", "r")["RowKey"] == "r"
        assert queues.get_queue_client("three-doors").receive_message()["content"] == "m"
