"""The page on the app's own functions in Microsoft's engine, and on gold that was built from silver, on Azurite."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from azure.storage.blob import BlobServiceClient
from playwright.sync_api import expect

from shared.adapters.delta_tables import DeltaTables
from shared.adapters.lake_storage import LakeStorage
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import BuildContext
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.offers_hourly import OFFERS_HOURLY
from shared.medallion.pings import PINGS
from shared.medallion.promotion_daily import PROMOTION_DAILY
from shared.medallion.reference_tables import STORE_VERSIONS
from shared.medallion.store_daily import STORE_DAILY
from shared.medallion.tables import INSTANT, Layer, Table
from shared.settings import Connection
from shared.workflows.build_gold import GoldBuilder
from tests.azurite import AzuriteServer
from tests.browser import Visit, chromium, visit
from tests.fakes_lake import REMEMBERED, unique
from tests.functions_host import FunctionsHost
from tests.silver_days import Days

pytestmark = pytest.mark.integration

APP = Path(__file__).parents[1] / "data" / "host_apps" / "analysts"
STORES = 6
NEVER = "0 0 0 1 1 *"


def add(tables: DeltaTables, table: Table, rows: pl.DataFrame) -> None:
    with tables.append_file(table, unique("file")) as file:
        file.add(rows)
        file.commit()


def store_versions(first: date) -> pl.DataFrame:
    numbers = range(STORES)
    known = pl.DataFrame(
        {
            "store_id": [f"s{number}" for number in numbers],
            "name": [f"Store {number}" for number in numbers],
            "merchant": ["Costa" if number % 2 else "Greggs" for number in numbers],
            "location": ["Camden"] * STORES,
            "latitude": [51.5 + number / 100 for number in numbers],
            "longitude": [-0.1] * STORES,
            "active_from": pl.Series(
                [datetime(first.year, first.month, first.day, tzinfo=UTC)] * STORES, dtype=INSTANT
            ),
        }
    ).with_columns(published_at="active_from", reference_version=pl.lit("v1"))
    return known.select(
        (pl.col(name) if name in known.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in STORE_VERSIONS.schema.items()
    )


def fill(tables: DeltaTables, today: date) -> None:
    days = Days(5, devices=40, stores=STORES)
    add(tables, STORE_VERSIONS, store_versions(today - timedelta(days=9)))
    for day in (today - timedelta(days=back) for back in (3, 2, 1)):
        add(tables, PINGS, days.pings(day, 60, (0, 1400)))
        add(tables, GPS_ENRICHED, days.near(day, 200, (0, 1400)))
        add(tables, DECISIONS, days.decisions(day, 120, (0, 1400)))
    GoldBuilder(tables, BuildContext(min_devices=1, attribution_days=1)).build()


@contextlib.contextmanager
def served(tmp_path: Path, azurite: AzuriteServer) -> Iterator[tuple[DeltaTables, str]]:
    """The lake's tables, and the address of the page over them."""
    containers = {layer: unique(f"page-{layer}-") for layer in Layer}
    with BlobServiceClient.from_connection_string(azurite.connection_string) as blobs:
        for name in containers.values():
            blobs.create_container(name)
    storage = LakeStorage.in_containers(containers, Connection("LakeStorage", azurite.connection_string))
    settings = {
        **{f"{layer.upper()}_CONTAINER": name for layer, name in containers.items()},
        "LakeStorage": azurite.connection_string,
        "AzureWebJobsStorage": azurite.connection_string,
        "BUILD_GOLD_SCHEDULE": NEVER,
        "GOLD_MIN_DEVICES": "1",
    }
    host = FunctionsHost(tmp_path / "host", APP, settings)
    host.start()
    try:
        page = f"http://127.0.0.1:{host.port}/api/dashboard?code={host.keys['default']}"
        yield DeltaTables(storage, remembered=REMEMBERED), page
    finally:
        host.stop()


def test_the_page_says_what_the_tables_of_gold_hold(tmp_path: Path, azurite: AzuriteServer):
    with served(tmp_path, azurite) as (tables, address), chromium() as browser:
        with visit(browser, address, datetime.now(UTC), zone="UTC") as page:
            expect(page.page.get_by_role("heading", name="Nothing here yet")).to_be_visible()
            assert page.console == []
        fill(tables, datetime.now(UTC).date())
        with visit(browser, address, datetime.now(UTC), zone="UTC") as page:
            page.choose_period("7 days")
            expect_figures_of(tables, page)
            expect_promotions_of(tables, page)
            page.choose_merchant("costa")
            assert {row[0] for row in page.table("stores-table")} == {f"Store {n}Camden" for n in (1, 3, 5)}
            visits = (
                gold(tables, STORE_DAILY.table).filter(pl.col("store_id").is_in(["s1", "s3", "s5"]))["visits"].sum()
            )
            assert page.text("kpi-visits") == f"{visits:,}"
            assert page.console == []
            assert page.leaves_the_origin() == []


def gold(tables: DeltaTables, table: Table) -> pl.DataFrame:
    return tables.scan(table).collect()


def expect_figures_of(tables: DeltaTables, page: Visit) -> None:
    visits, offers = gold(tables, STORE_DAILY.table), gold(tables, OFFERS_HOURLY.table)
    assert visits["visits"].sum()
    assert page.text("kpi-visits") == f"{visits['visits'].sum():,}"
    assert page.text("kpi-new") == f"{visits['new_devices'].sum():,}"
    assert page.text("kpi-sent") == f"{offers['sent'].sum():,}"
    by_store = (
        visits.group_by("store_id").agg(pl.col("visits").sum()).sort("visits", "store_id", descending=[True, False])
    )
    listed = [[row[0], row[1]] for row in page.table("stores-table")]
    assert sorted(listed) == sorted([f"Store {store[1:]}Camden", f"{count:,}"] for store, count in by_store.iter_rows())


def expect_promotions_of(tables: DeltaTables, page: Visit) -> None:
    offers = gold(tables, OFFERS_HOURLY.table).group_by("promotion_id").agg(pl.col("considered", "sent").sum())
    rows = {row[0]: row for row in page.table("promotions-table")}
    assert {name: row[1:3] for name, row in rows.items()} == {
        name: [f"{considered:,}", f"{sent:,}"] for name, considered, sent in offers.iter_rows()
    }
    days = gold(tables, PROMOTION_DAILY.table).drop_nulls(["dwelled_sent", "dwelled_held_out"])
    for promotion, sent, held_out in days.group_by("promotion_id").agg(pl.col("^devices_.*$").sum()).iter_rows():
        assert f" of {sent} sent, " in rows[promotion][4]
        assert f" of {held_out} held out" in rows[promotion][4]
