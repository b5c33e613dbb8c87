"""gold.offers_hourly: distinct decisions and offers by hour, store and promotion, by what became of them."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.decision import DecisionReason
from shared.medallion.gold import BuildContext
from shared.medallion.offers_hourly import OFFERS_HOURLY, count_offers
from shared.medallion.receipts import RECEIPTS
from tests.unit.medallion.decision_rows import HOUR, NOON, decision, decisions, held_out, rows

PLAIN, WITHHELD = BuildContext(), BuildContext(min_devices=3)
CELL = ["hour", "store_id", "promotion_id"]


def receipt(offer: str, outcome: str, **values: Any) -> dict[str, Any]:
    usual = {"offer_id": offer, "store_id": "s", "promotion_id": "p", "offered_at": NOON, "event_date": NOON.date()}
    return usual | {"receipt_id": f"{offer} {outcome}", "device_key": "a", "outcome": outcome} | values


def counted(
    *values: dict[str, Any], receipts: list[dict[str, Any]] | None = None, context: BuildContext = PLAIN
) -> list[dict[str, Any]]:
    """The rows in the order of their cells; a column that is 0 in a row is left out of it."""
    table = count_offers(context, decisions(*values), rows(RECEIPTS, *(receipts or ())))
    found = OFFERS_HOURLY.table.conform(table.collect()).sort(CELL).drop("event_date")
    return [{name: value for name, value in row.items() if value != 0} for row in found.rows(named=True)]


def test_a_promotion_counts_distinct_decisions_by_what_became_of_them():
    sent = decision("a")
    other = decision("f", "not_sent", "a reason of a later version")
    outranked = [decision(device, "not_sent", "outranked") for device in "cd"]
    failed = decision("e", "failed", "internal_error")
    (row,) = counted(sent, sent, decision("b", "not_sent", "cooldown"), *outranked, other, failed)
    assert row == {
        "hour": NOON,
        "store_id": "s",
        "promotion_id": "p",
        "considered": 6,
        "sent": 1,
        "failed": 1,
        "not_sent_cooldown": 1,
        "not_sent_outranked": 2,
        "not_sent_other": 1,
    }


def test_a_decision_counts_in_the_hour_in_which_it_was_made_and_on_the_stores_date():
    late = decision("a", decided_at=NOON + HOUR - timedelta(microseconds=1), tracked_at=NOON - HOUR)
    tomorrow = NOON.date() + timedelta(days=1)
    table = count_offers(PLAIN, decisions(late | {"event_date": tomorrow}), rows(RECEIPTS)).collect()
    assert table.select("event_date", "hour", "sent").rows() == [(tomorrow, NOON, 1)]


def test_a_decision_about_no_promotion_is_none_of_a_promotion():
    assert counted(decision("a", "not_sent", "no_promotion", promotion_id=None, transition="EXIT")) == []


def test_what_is_recorded_without_a_promotion_or_a_store_counts_in_a_row_without_it():
    found = counted(
        decision("a", "not_sent", "low_accuracy", promotion_id=None),
        decision("a", "not_sent", "geofence_changed"),
        decision("a", "failed", "internal_error", store_id=None, promotion_id=None),
    )
    assert found == [
        {"hour": NOON, "store_id": None, "promotion_id": None, "considered": 1, "failed": 1},
        {"hour": NOON, "store_id": "s", "promotion_id": None, "considered": 1, "not_sent_low_accuracy": 1},
        {"hour": NOON, "store_id": "s", "promotion_id": "p", "considered": 1, "not_sent_geofence_changed": 1},
    ]


@pytest.mark.parametrize(
    "reason", sorted(set(DecisionReason) - {DecisionReason.NO_PROMOTION, DecisionReason.INTERNAL_ERROR})
)
def test_every_reason_of_the_decision_has_its_column(reason):
    (row,) = counted(decision("a", "not_sent", str(reason)))
    assert row[f"not_sent_{reason}"] == 1
    assert "not_sent_other" not in row
    assert f"not_sent_{reason}" in OFFERS_HOURLY.table.schema


def test_an_offer_that_was_delivered_twice_is_delivered_once():
    twice = [receipt("o", "delivered"), receipt("o", "delivered"), receipt("o", "delivered", receipt_id="another")]
    (row,) = counted(decision("a"), receipts=twice)
    assert (row["sent"], row["delivered"]) == (1, 1)


@pytest.mark.parametrize(
    ("outcomes", "counts"),
    [
        (("given_up", "delivered"), "delivered"),
        (("delivered", "expired"), "delivered"),
        (("given_up", "expired"), "expired"),
        (("given_up", "given_up"), "given_up"),
    ],
    ids=["delivered at last", "a second attempt too late", "expired at last", "given up twice"],
)
def test_an_offer_that_was_given_up_and_tried_again_counts_once(outcomes, counts):
    (row,) = counted(decision("a"), receipts=[receipt("o", outcome) for outcome in outcomes])
    assert {name for name in ("delivered", "expired", "given_up") if name in row} == {counts}
    assert row[counts] == 1


def test_a_receipt_counts_in_the_hour_of_its_offer():
    later = receipt("o", "delivered", receipt_at=NOON + 2 * HOUR, offered_at=NOON + timedelta(minutes=59))
    (row,) = counted(decision("a"), receipts=[later])
    assert (row["hour"], row["delivered"]) == (NOON, 1)


def test_a_receipt_counts_before_its_decision_has_come():
    assert counted(receipts=[receipt("o", "expired")]) == [
        {"hour": NOON, "store_id": "s", "promotion_id": "p", "expired": 1}
    ]


# Withholding


def test_a_cell_of_too_few_devices_has_a_row_and_tells_nothing():
    few = [decision("a"), decision("a", "not_sent", "cooldown"), held_out("b")]
    (row,) = counted(*few, receipts=[receipt("o", "delivered")], context=WITHHELD)
    assert {name for name, value in row.items() if value is not None} == set(CELL)
    assert set(OFFERS_HOURLY.table.schema) - set(row) == {"event_date"}


def test_a_cell_of_enough_devices_tells_what_became_of_each():
    (row,) = counted(*map(decision, "ab"), held_out("c"), receipts=[receipt("o", "delivered")], context=WITHHELD)
    assert (row["sent"], row["delivered"], row["not_sent_held_out"], row["considered"]) == (2, 1, 1, 3)


def test_devices_at_no_store_are_a_cell_of_their_own():
    lost = {"store_id": None, "promotion_id": None}
    failed = [decision(device, "failed", "internal_error", **lost) for device in "abc"]
    (row,) = counted(*failed, context=WITHHELD)
    assert row["failed"] == 3


def test_passers_by_do_not_make_a_cell_large_enough():
    """No promotion was looked at for them: they say nothing about whose ping was blurred."""
    nothing = [decision(device, "not_sent", "no_promotion", promotion_id=None) for device in "bcd"]
    (row,) = counted(decision("a", "not_sent", "low_accuracy", promotion_id=None), *nothing, context=WITHHELD)
    assert row["considered"] is None


def test_receipts_alone_make_no_cell_where_small_ones_are_withheld():
    alone = [receipt(device, "delivered", device_key=device) for device in "abcd"]
    assert counted(receipts=alone, context=WITHHELD) == []


some_decisions = st.builds(
    lambda device, outcome, minute, store: decision(
        device, *outcome, decided_at=NOON + timedelta(minutes=minute), store_id=store
    ),
    st.sampled_from("abcdef"),
    st.sampled_from((("sent", None), ("not_sent", "held_out"), ("not_sent", "x"), ("failed", "internal_error"))),
    st.integers(0, 119),
    st.sampled_from(("s", "t", None)),
)


@given(st.lists(some_decisions, max_size=20), st.lists(some_decisions, max_size=4), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_what_was_considered_is_what_was_sent_failed_or_not_sent_and_repeats_count_nowhere(values, repeated, least):
    context = BuildContext(min_devices=least)
    parts = ("sent", "failed", *(name for name in OFFERS_HOURLY.table.schema if name.startswith("not_sent_")))
    for row in counted(*values, context=context):
        assert row["considered"] is None or row["considered"] == sum(row.get(part, 0) for part in parts)
    twice = counted(*values, *repeated, *repeated, context=context)
    assert twice == counted(*values, *repeated, context=context)


def test_a_table_without_a_row_is_built_of_none():
    table = count_offers(WITHHELD, decisions(), rows(RECEIPTS)).collect()
    assert OFFERS_HOURLY.table.conform(table).is_empty()
    assert table.schema["sent"] == pl.Int64()
