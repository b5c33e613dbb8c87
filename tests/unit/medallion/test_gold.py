"""Gold: what each table counts, from frames by hand."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from shared.domain.decision import DecisionReason
from shared.domain.pings import Reason
from shared.medallion.data_quality_hourly import count_events
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import BuildContext, GoldTable
from shared.medallion.lake import DERIVED_TABLES
from shared.medallion.offers import OFFERS
from shared.medallion.offers_hourly import OFFERS_HOURLY, count_decisions
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.medallion.tables import Table
from shared.workflows.build_gold import GoldBuilder
from tests.fakes_lake import FakeLake

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
ONE = datetime(2026, 3, 29, 13, tzinfo=UTC)


def rows(table: Table, *values: dict[str, Any]) -> pl.LazyFrame:
    """Rows of a silver table; what is not given is null."""
    return pl.DataFrame([dict.fromkeys(table.schema) | value for value in values], schema=table.schema).lazy()


def decision(number: int, outcome: str, reason: str | None = None, **values: Any) -> dict[str, Any]:
    usual = {"decision_id": f"d{number}", "tracked_at": NOON, "store_id": "s", "promotion_id": "p"}
    return usual | {"outcome": outcome, "reason": reason} | values


def test_a_promotion_counts_distinct_decisions_by_what_became_of_them():
    decisions = rows(
        DECISIONS,
        decision(1, "sent"),
        decision(1, "sent"),
        decision(2, "not_sent", "cooldown"),
        decision(3, "not_sent", "outranked"),
        decision(4, "not_sent", "outranked"),
        decision(5, "not_sent", "a reason of a later version"),
        decision(6, "failed", "internal_error"),
    )
    (row,) = count_decisions(decisions).collect().rows(named=True)
    counts = {name: value for name, value in row.items() if isinstance(value, int) and value}
    assert counts == {
        "considered": 6,
        "sent": 1,
        "failed": 1,
        "not_sent_cooldown": 1,
        "not_sent_outranked": 2,
        "not_sent_other": 1,
    }


def test_a_decision_about_no_promotion_is_none_of_a_promotion():
    decisions = rows(DECISIONS, decision(1, "not_sent", "no_promotion", promotion_id=None))
    assert count_decisions(decisions).collect().is_empty()


def test_what_is_recorded_without_a_promotion_or_a_store_counts_in_a_row_without_it():
    decisions = rows(
        DECISIONS,
        decision(1, "not_sent", "low_accuracy", promotion_id=None),
        decision(2, "not_sent", "geofence_changed"),
        decision(3, "failed", "internal_error", store_id=None, promotion_id=None),
    )
    columns = ("store_id", "promotion_id", "not_sent_low_accuracy", "not_sent_geofence_changed", "failed", "considered")
    assert set(count_decisions(decisions).collect().select(columns).rows()) == {
        ("s", None, 1, 0, 0, 1),
        ("s", "p", 0, 1, 0, 1),
        (None, None, 0, 0, 1, 1),
    }


@pytest.mark.parametrize(
    "reason", sorted(set(DecisionReason) - {DecisionReason.NO_PROMOTION, DecisionReason.INTERNAL_ERROR})
)
def test_every_reason_of_the_decision_has_its_column(reason):
    (row,) = count_decisions(rows(DECISIONS, decision(1, "not_sent", str(reason)))).collect().rows(named=True)
    assert (row[f"not_sent_{reason}"], row["not_sent_other"]) == (1, 0)
    assert f"not_sent_{reason}" in OFFERS_HOURLY.table.schema


def test_data_quality_counts_each_hub_by_the_hour_of_enqueueing():
    pings = rows(
        PINGS,
        {"enqueued_at": NOON, "hub": "pings", "is_duplicate": False},
        {"enqueued_at": NOON, "hub": "pings", "is_duplicate": True},
        {"enqueued_at": ONE, "hub": "pings", "is_duplicate": False},
    )
    offers = rows(OFFERS, *({"enqueued_at": NOON, "hub": "offers", "offer_id": name} for name in "aab"))
    decisions = rows(DECISIONS, {"enqueued_at": NOON, "hub": "decisions", "decision_id": "d"})
    bodies = rows(
        BODIES,
        {"enqueued_at": NOON, "hub": "pings", "reason": "not_utf8"},
        {"enqueued_at": NOON, "hub": "pings", "reason": "too_late"},
        {"enqueued_at": ONE, "hub": "offers", "reason": "not_understood"},
    )
    counted = count_events(pings, offers, decisions, bodies).sort("hub", "hour").collect()
    shown = ["hub", "hour", "captured", "accepted", "rejected", "duplicates"]
    assert counted.select(shown).rows() == [
        ("decisions", NOON, 1, 1, 0, 0),
        ("offers", NOON, 3, 3, 0, 1),
        ("offers", ONE, 1, 0, 1, 0),
        ("pings", NOON, 4, 2, 2, 1),
        ("pings", ONE, 1, 1, 0, 0),
    ]
    reasons = counted.select(rejected=pl.sum_horizontal(f"rejected_{reason}" for reason in Reason))
    assert reasons["rejected"].to_list() == counted["rejected"].to_list()


@pytest.mark.parametrize("derived", DERIVED_TABLES, ids=lambda derived: derived.table.name)
def test_a_table_of_no_source_row_has_its_schema_and_no_row(derived):
    lake = FakeLake()
    GoldBuilder(lake, BuildContext(min_devices=5), tables=(derived,)).build()
    assert lake.rows(derived.table).equals(derived.table.empty())


def test_a_table_is_built_after_those_that_it_is_computed_from():
    for row, derived in enumerate(DERIVED_TABLES):
        later = {later.table for later in DERIVED_TABLES[row:]}
        sources = derived.sources if isinstance(derived, GoldTable) else (derived.source,)
        assert not later & {source.table for source in sources}
