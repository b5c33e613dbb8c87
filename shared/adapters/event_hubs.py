"""What the pings hub says of itself: its partitions, and how far each has got."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from azure.eventhub import EventHubConsumerClient, parse_connection_string
from azure.eventhub.exceptions import EventHubError

from shared.adapters.azure_clients import identity
from shared.errors import ConfigurationError, HubUnavailable
from shared.settings import Connection
from shared.workflows.partition_state import HubPartition

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


@dataclass(frozen=True, slots=True)
class HubInfo:
    """The ports `PartitionCounter` and `HubProgress` of one hub; opens a connection for each question."""

    connection: Connection
    hub: str
    consumer_group: str

    def partition_count(self) -> int:
        """How many partitions the hub has. Raises HubUnavailable."""
        with self._client() as client:
            return len(client.get_partition_ids())

    def last_sequence_numbers(self) -> dict[HubPartition, int]:
        """The newest sequence number of each partition, -1 where nothing was ever sent. Raises HubUnavailable."""
        with self._client() as client:
            return {
                self.partition(partition_id): int(
                    client.get_partition_properties(partition_id)["last_enqueued_sequence_number"]
                )
                for partition_id in client.get_partition_ids()
            }

    def partition(self, partition_id: str) -> HubPartition:
        """The name under which a partition's state lies; asks nobody."""
        return HubPartition.named(self.consumer_group, self._namespace, self.hub, partition_id)

    @property
    def _namespace(self) -> str:
        text = self.connection.connection_string
        return parse_connection_string(text).fully_qualified_namespace if text else self.connection.endpoint

    @contextmanager
    def _client(self) -> Iterator[EventHubConsumerClient]:
        client = self._new_client()
        try:
            yield client
        except EventHubError as error:
            raise HubUnavailable(f"hub {self.hub} did not answer: {error}") from error
        finally:
            client.close()

    def _new_client(self) -> EventHubConsumerClient:
        connection = self.connection
        if connection.connection_string:
            return EventHubConsumerClient.from_connection_string(
                connection.connection_string, self.consumer_group, eventhub_name=self.hub, retry_total=1
            )
        if connection.endpoint:
            credential: TokenCredential = identity(connection)
            return EventHubConsumerClient(
                connection.endpoint, self.hub, self.consumer_group, credential=credential, retry_total=1
            )
        raise ConfigurationError(
            f"{connection.name} is not set: give a connection string, or {connection.name}__fullyQualifiedNamespace"
        )
