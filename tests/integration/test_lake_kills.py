"""A worker killed at any storage request of refining a file, or any answer lost: every row is there once.

A sample of the requests is taken; all of them with `FOOTFALL_KILLS=all` (some ten minutes). Of a first file, for which
the tables are created, and of later ones.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count

import polars as pl
import pytest
from azure.storage.blob import BlobServiceClient

from shared.adapters.delta_tables import DeltaTables
from shared.adapters.lake_storage import LakeStorage
from shared.errors import LakeUnavailable
from shared.medallion.lake import LAKE_TABLES
from shared.medallion.tables import Layer, Table
from shared.settings import Connection
from tests.azurite import AzuriteServer
from tests.fakes_lake import (
    NOON,
    REMEMBERED,
    FakeCaptures,
    FakeReferences,
    at,
    capture_file,
    record,
    reference,
    refiner,
    unique,
)
from tests.storage_proxy import Fault, StorageProxy

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PING = b'{"device_id":"d","latitude":51.5,"longitude":-0.1}'
FILE = capture_file([record(0, PING), record(1, b"hostile"), record(2, PING)])


def path_of(number: int) -> str:
    """Where a capture file lies; all have the same content."""
    return at(NOON + timedelta(minutes=number))


CAPTURES = FakeCaptures({path_of(number): FILE for number in range(2)})
HERE = FakeReferences.always(reference("v1", [{"store_id": "s", "latitude": 51.5, "longitude": -0.1}]))
OF_THE_FILE = ("source_file", "capture_date", "window_start", "captured_at", "refined_at")
"""Columns that say which file it was and when it was refined; all others are the same for each of these files."""

EVERY_REQUEST = os.environ.get("FOOTFALL_KILLS") == "all"
STRIDES = {"tables are created": 24, "tables are there": 15}
"""Each fault begins at another request, so that together they meet one in eight, or more."""


class Lake:
    """A lake on Azurite, reached directly or through a proxy."""

    def __init__(self, azurite: AzuriteServer) -> None:
        self.azurite = azurite
        self.containers = {layer: unique(f"kill-{layer}-") for layer in Layer}
        with BlobServiceClient.from_connection_string(azurite.connection_string) as blobs:
            for name in self.containers.values():
                blobs.create_container(name)

    def tables(self, port: int) -> DeltaTables:
        """As a new worker that reaches the storage through that port."""
        connection = self.azurite.connection_string.replace(f":{self.azurite.blob_port}/", f":{port}/")
        storage = LakeStorage.in_containers(self.containers, Connection("LakeStorage", connection))
        return DeltaTables(storage, remembered=REMEMBERED)

    def refine(self, path: str, port: int | None = None) -> None:
        """As a new worker that reaches the storage through that port."""
        refiner(self.tables(port or self.azurite.blob_port), CAPTURES, HERE).refine(path)

    def rows(self, path: str, tables: Iterable[Table]) -> dict[Table, pl.DataFrame]:
        """What the tables have of a file."""
        reader = self.tables(self.azurite.blob_port)
        found = {table: reader.scan(table).filter(source_file=path).collect() for table in tables}
        return {table: in_order(rows.drop(OF_THE_FILE, strict=False)) for table, rows in found.items()}


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort(rows.columns)


def break_off(lake: Lake, path: str, fault: Fault, number: int) -> StorageProxy:
    """Refine a file, and have the fault at that request; what was asked."""
    with StorageProxy(lake.azurite.blob_port, fault, number) as proxy:
        with suppress(LakeUnavailable):
            lake.refine(path, proxy.port)
        return proxy


def requests_for(fault: Fault, tables: str) -> Iterator[int]:
    """The requests that the fault meets, until there are no more."""
    stride = 1 if EVERY_REQUEST else STRIDES[tables]
    return count(list(Fault).index(fault) * stride // len(Fault), stride)


@pytest.fixture(name="undisturbed", scope="module")
def _undisturbed(azurite: AzuriteServer) -> dict[Table, pl.DataFrame]:
    """What each table has of a file that was refined without a fault."""
    lake = Lake(azurite)
    lake.refine(path_of(0))
    summaries = zip(LAKE_TABLES, lake.tables(azurite.blob_port).summaries(LAKE_TABLES), strict=True)
    filled = [table for table, summary in summaries if summary.rows]
    assert len(filled) >= 3
    return lake.rows(path_of(0), filled)


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
@pytest.mark.parametrize("tables", STRIDES)
def test_whatever_request_the_fault_meets_every_row_is_there_once(
    azurite: AzuriteServer, undisturbed: dict[Table, pl.DataFrame], fault: Fault, tables: str
):
    number, path = 0, path_of(1)
    for number in requests_for(fault, tables):
        lake = Lake(azurite)
        if tables == "tables are there":
            lake.refine(path_of(0))
        proxy = break_off(lake, path, fault, number)
        lake.refine(path)
        for table, rows in lake.rows(path, list(undisturbed)).items():
            where = f"{table}, request {number}, where {fault}: {proxy.requests[number:]}"
            assert rows.equals(undisturbed[table]), where
        if not proxy.is_met:
            break
    assert number > 20, "refining a file takes more requests than that"
