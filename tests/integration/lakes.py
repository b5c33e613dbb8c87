"""Lakes that a test may look into: in a folder, and on Azurite."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient
from deltalake import DeltaTable

from shared.adapters.delta_tables import DeltaTables
from shared.adapters.lake_storage import LakeStorage
from shared.medallion.tables import Layer, Table
from shared.settings import Connection
from tests.azurite import AzuriteServer
from tests.fakes_lake import REMEMBERED, unique


@dataclass
class Lake:
    """A lake that a test may look into, besides what the app sees."""

    storage: LakeStorage

    def tables(self) -> DeltaTables:
        """As a new worker opens them."""
        return DeltaTables(self.storage, remembered=REMEMBERED)

    def delta(self, table: Table) -> DeltaTable:
        """The table through delta-rs alone."""
        return DeltaTable(self.storage.location(table), storage_options=dict(self.storage.access().options))


def in_folder(tmp_path: Path, _: pytest.FixtureRequest) -> LakeStorage:
    return LakeStorage.in_folder(tmp_path)


def on_azurite(_: Path, request: pytest.FixtureRequest) -> LakeStorage:
    azurite: AzuriteServer = request.getfixturevalue("azurite")
    containers = {layer: unique(f"lake-{layer}-") for layer in Layer}
    with BlobServiceClient.from_connection_string(azurite.connection_string) as blobs:
        for name in containers.values():
            blobs.create_container(name)
    return LakeStorage.in_containers(containers, Connection("LakeStorage", azurite.connection_string))
