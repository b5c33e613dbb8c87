"""gold.stores: the version of the stores that is in force."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from shared.medallion.gold import NO_EVENT, BuildContext
from shared.medallion.gold_stores import STORES, current_stores
from shared.medallion.reference_tables import STORE_VERSIONS

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


def published(version: str, active_from: datetime, *, at: datetime = NOON) -> list[dict[str, Any]]:
    of_entry = {"reference_version": version, "active_from": active_from, "published_at": at}
    stores = ({"store_id": f"{version}-{number}", "name": "Costa", "latitude": 51.5} for number in range(2))
    return [dict.fromkeys(STORE_VERSIONS.schema) | of_entry | store for store in stores]


def stores(newest: datetime, *versions: list[dict[str, Any]]) -> pl.DataFrame:
    rows = pl.DataFrame([row for version in versions for row in version], schema=STORE_VERSIONS.schema)
    return STORES.table.conform(current_stores(BuildContext(newest=newest), rows.lazy()).collect())


FIRST, SECOND_VERSION = published("a", NO_EVENT), published("b", NOON, at=NOON - SECOND)


@pytest.mark.parametrize(
    ("newest", "version"), [(NO_EVENT, "a"), (NOON - SECOND, "a"), (NOON, "b"), (NOON + HOUR, "b")]
)
def test_the_version_in_force_for_the_newest_event_is_shown(newest, version):
    assert stores(newest, SECOND_VERSION, FIRST)["store_id"].to_list() == [f"{version}-0", f"{version}-1"]


def test_before_any_version_is_in_force_the_first_is_shown():
    later = published("c", NOON + HOUR)
    assert stores(NOON - SECOND, later, SECOND_VERSION)["reference_version"].unique().to_list() == ["b"]


def test_of_versions_in_force_from_the_same_instant_on_the_one_published_last_is_shown():
    corrected = published("c", NOON, at=NOON + SECOND)
    assert stores(NOON, corrected, SECOND_VERSION)["reference_version"].unique().to_list() == ["c"]


def test_a_version_that_is_published_again_is_shown_once():
    again = published("a", NOON + HOUR)
    assert stores(NOON + HOUR, FIRST, SECOND_VERSION, again)["store_id"].to_list() == ["a-0", "a-1"]


def test_the_table_is_due_when_the_next_version_comes_into_force():
    rows = stores(NOON - SECOND, FIRST, SECOND_VERSION)
    is_due = STORES.due.is_due
    assert rows.filter(is_due(BuildContext(newest=NOON - SECOND))).is_empty()
    assert rows.filter(is_due(BuildContext(newest=NOON))).height == rows.height
    assert stores(NOON, FIRST, SECOND_VERSION).filter(is_due(BuildContext(newest=NOON + 99 * HOUR))).is_empty()


def test_without_a_version_there_is_no_store():
    assert stores(NOON).is_empty()
