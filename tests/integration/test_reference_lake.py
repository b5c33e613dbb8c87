"""The reference data's tables on real storage: each entry of the catalogue once, and never forgotten."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from shared.adapters.reference_files import parse_reference
from shared.domain.events import instant
from shared.medallion.reference_tables import PROMOTION_VERSIONS, STORE_VERSIONS
from shared.workflows.reference import PublishedVersion, ReferenceCatalogue, publish
from shared.workflows.reference_tables import ReferenceTables
from tests.fakes_reference import MemoryReferenceStore, reference_files
from tests.integration.lakes import Lake

pytestmark = pytest.mark.integration


def published(*discounts: float) -> tuple[MemoryReferenceStore, list[PublishedVersion]]:
    store = MemoryReferenceStore()
    return store, [
        publish(
            reference_files(discount),
            store=store,
            parse=parse_reference,
            clock=lambda: 0,
            activation_delay_s=60,
            partition_count=1,
        ).entry
        for discount in discounts
    ]


def worker(store: MemoryReferenceStore, lake: Lake) -> ReferenceTables:
    return ReferenceTables(store, ReferenceCatalogue(store, parse_reference, lambda: 0).load, lake.tables())


def test_workers_at_once_append_each_entry_once(lake: Lake):
    store, entries = published(10, 20, 10)
    start = threading.Barrier(3)

    def sync(_: int) -> None:
        start.wait()
        worker(store, lake).sync()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(sync, range(3)))
    assert worker(store, lake).sync() == 0
    for table in (STORE_VERSIONS, PROMOTION_VERSIONS):
        rows = lake.tables().scan(table).select("reference_version", "active_from").sort("active_from").collect()
        expected = [(entry.version, instant(entry.active_from_us)) for entry in entries]
        assert sorted(rows.rows()) == sorted(expected)


def test_an_entry_is_never_forgotten(disk: Lake):
    store, (entry,) = published(10)
    worker(store, disk).sync()
    (log,) = Path(disk.storage.location(STORE_VERSIONS), "_delta_log").glob("*1.json")
    (found,) = (json.loads(line)["txn"] for line in log.read_text().splitlines() if "txn" in line)
    assert found["appId"] == f"reference:{entry.version}:{entry.active_from_us}"
    assert found.get("lastUpdated") is None


def test_a_store_reads_back_as_it_was_published(lake: Lake):
    store, _ = published(10)
    worker(store, lake).sync()
    (row,) = lake.tables().scan(STORE_VERSIONS).collect().rows(named=True)
    assert (row["store_id"], row["name"], row["latitude"], row["radius_m"]) == ("1", "Shop 1", 51.5, 50.0)
    assert (row["time_zone"], row["polygon"]) == ("Europe/London", None)
    promotion = lake.tables().scan(PROMOTION_VERSIONS).select(pl.col("definition").str.json_path_match("$.message"))
    assert promotion.collect().item() == "off"
