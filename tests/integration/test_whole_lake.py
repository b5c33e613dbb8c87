"""All derived tables together, on Delta: many small builds end in what one of everything gives."""

from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from shared.adapters.delta_tables import DeltaTables
from shared.adapters.lake_storage import LakeStorage
from shared.domain.reference import CatalogueEntry
from shared.errors import LakeUnavailable
from shared.medallion.captures import CAPTURES
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import BuildContext
from shared.medallion.gold_stores import STORES
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.lake import DERIVED_TABLES
from shared.medallion.pings import PINGS
from shared.medallion.receipts import RECEIPTS
from shared.medallion.reference_tables import STORE_VERSIONS, store_versions
from shared.medallion.tables import Table
from shared.workflows.build_gold import GoldBuilder
from tests.fakes_lake import REMEMBERED, reference, unique
from tests.silver_days import Days

pytestmark = pytest.mark.integration

FIRST_DAY = date(2026, 3, 20)
DAYS = 12
SOURCES = (PINGS, GPS_ENRICHED, DECISIONS, RECEIPTS, CAPTURES, STORE_VERSIONS)
AS_OF_A_BUILD = {"seen_inside_at"}
"""What an open visit's last look has seen depends on when it was."""


class DyingBuild(DeltaTables):
    """A build that dies right after it has committed its table number `tables`."""

    def __init__(self, storage: LakeStorage, tables: int) -> None:
        super().__init__(storage, remembered=REMEMBERED)
        self.left = tables

    @contextmanager
    def derived(self, table: Table):
        with super().derived(table) as writer:
            yield writer
        self.left -= 1
        if self.left == 0:
            raise LakeUnavailable("dies here")


def add(tables: DeltaTables, table: Table, rows: pl.DataFrame) -> None:
    with tables.append_file(table, unique("file")) as file:
        file.add(rows)
        file.commit()


def build_day_by_day(storage: LakeStorage, context: BuildContext, seed: int) -> DeltaTables:
    """Capture files in the order of their decisions, some with pings of days ago, and builds, one in three of which
    dies somewhere.
    """
    random, source = np.random.default_rng(seed), Days(seed, devices=30, stores=6)
    tables = DeltaTables(storage, remembered=REMEMBERED)
    add(tables, STORE_VERSIONS, stores("v1", 0))
    add(tables, STORE_VERSIONS, stores("v2", DAYS // 2))
    for day in (FIRST_DAY + timedelta(days=number) for number in range(DAYS)):
        for minutes in ((0, 500), (500, 1400)):
            late = day - timedelta(days=int(random.integers(0, 7)))
            add(tables, PINGS, source.pings(day, 40, minutes))
            add(tables, GPS_ENRICHED, source.near(day, 120, minutes))
            add(tables, GPS_ENRICHED, source.near(late, 10, minutes).with_columns(capture_date=pl.lit(day)))
            decisions = source.decisions(day, 60, minutes)
            add(tables, DECISIONS, decisions)
            add(tables, RECEIPTS, source.receipts(decisions))
            add(tables, CAPTURES, source.captures(day, minutes))
            if random.random() < 0.33:
                with suppress(LakeUnavailable):
                    GoldBuilder(DyingBuild(storage, int(random.integers(1, 12))), context).build()
            if random.random() < 0.7:
                GoldBuilder(tables, context).build()
    GoldBuilder(tables, context).build()
    return tables


def stores(version: str, after_days: int) -> pl.DataFrame:
    """Six stores, in force from so many days after the first on."""
    data = reference(version, [{"store_id": f"s{row}", "latitude": 51.5, "longitude": -0.1} for row in range(6)])
    since = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC) + timedelta(days=after_days)
    since_us = round(since.timestamp() * 1e6) if after_days else 0
    return store_versions(data, CatalogueEntry(version, since_us), since_us)


def build_at_once(storage: LakeStorage, context: BuildContext, like: DeltaTables) -> DeltaTables:
    tables = DeltaTables(storage, remembered=REMEMBERED)
    for table in SOURCES:
        add(tables, table, like.scan(table).collect())
    GoldBuilder(tables, context).build()
    return tables


@pytest.mark.parametrize(("min_devices", "seed"), [(1, 1), (3, 2)])
def test_many_small_builds_some_of_which_die_end_in_what_one_of_everything_gives(
    tmp_path: Path, min_devices: int, seed: int
):
    context = BuildContext(min_devices, attribution_days=3)
    step_by_step = build_day_by_day(LakeStorage.in_folder(tmp_path / "steps"), context, seed)
    at_once = build_at_once(LakeStorage.in_folder(tmp_path / "once"), context, step_by_step)
    for derived in DERIVED_TABLES:
        found, expected = (
            lake.scan(derived.table).select(pl.all().exclude(*AS_OF_A_BUILD)).collect()
            for lake in (step_by_step, at_once)
        )
        order = found.columns
        assert found.sort(order).equals(expected.sort(order)), str(derived.table)
        assert found.height, f"{derived.table} has no row to compare"
    assert step_by_step.scan(STORES.table).collect()["reference_version"].unique().to_list() == ["v2"]
