"""What gold tells of promotions is the same whatever the devices of withheld cells did: so nothing tells it.

Tables are published again and again, and an attacker keeps all of them. Who cannot see a difference between two worlds,
in any table of any build, cannot compute one.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from shared.medallion.assignments import ASSIGNMENTS, assign
from shared.medallion.gold import BuildContext
from shared.medallion.offers_hourly import OFFERS_HOURLY, count_offers
from shared.medallion.promotion_daily import PROMOTION_DAILY, measure_promotions
from shared.medallion.receipts import RECEIPTS
from tests.unit.medallion.decision_rows import DAY, HOUR, NOON, decision, decisions, dwell, held_out, rows

LEAST = 3
CONTEXT = BuildContext(min_devices=LEAST, newest=NOON + 9 * DAY)
HOURS = [NOON + hours * HOUR for hours in (0, 1, 25, 100)]


@dataclass(frozen=True, slots=True)
class Gold:
    """What is published of decisions and receipts."""

    offers_hourly: pl.DataFrame
    promotion_daily: pl.DataFrame

    @classmethod
    def of(cls, values: list[dict[str, Any]]) -> "Gold":
        there = decisions(*(value for value in values if "decision_id" in value))
        received = rows(RECEIPTS, *(value for value in values if "receipt_id" in value))
        assigned = assign(CONTEXT, there, rows(ASSIGNMENTS.table))
        hourly = OFFERS_HOURLY.table.conform(count_offers(CONTEXT, there, received).collect())
        daily = PROMOTION_DAILY.table.conform(measure_promotions(CONTEXT, assigned, there).collect())
        return cls(
            hourly.sort("event_date", "hour", "store_id", "promotion_id"), daily.sort("event_date", "promotion_id")
        )


def assert_same(one: Gold, other: Gold) -> None:
    assert_frame_equal(one.offers_hourly, other.offers_hourly)
    assert_frame_equal(one.promotion_daily, other.promotion_daily)


def of_cell(cell: dict[str, Any], devices: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Decisions in a cell, one or more of each device, and receipts of its offers."""
    cooled = st.builds(lambda device, **values: decision(device, "not_sent", "cooldown", **values), st.just("?"))
    kinds = st.sampled_from((decision, held_out, dwell)).map(lambda kind: kind("?")) | cooled
    one = st.tuples(kinds, st.sampled_from(HOURS), st.integers(0, 59), st.sampled_from(("delivered", "expired", None)))

    def placed(device: str, said: tuple[dict[str, Any], Any, int, str | None]) -> list[dict[str, Any]]:
        row, entered_at, minute, outcome = said
        at = cell["decided_at"] + timedelta(minutes=minute)
        row = row | cell | {"device_key": device, "decided_at": at, "entered_at": entered_at}
        row["decision_id"] = f"{row['decision_id']} {device} {at} {cell['store_id']} {cell['promotion_id']}"
        receipt = {"receipt_id": row["decision_id"], "offer_id": row["decision_id"], "offered_at": at}
        return [row] if outcome is None else [row, row | receipt | {"outcome": outcome}]

    return devices.flatmap(
        lambda names: st.tuples(*(st.lists(one, min_size=1, max_size=2) for _ in names)).map(
            lambda said: [
                row for name, ones in zip(names, said, strict=True) for item in ones for row in placed(name, item)
            ]
        )
    )


def cells_in_two_worlds(key: tuple[str, str, Any]) -> st.SearchStrategy[tuple[list[dict[str, Any]], ...]]:
    """A cell of enough devices, the same in both worlds, or one of too few, in each world another one."""
    store, promotion, hour = key
    cell = {"store_id": store, "promotion_id": promotion, "decided_at": hour, "event_date": hour.date()}
    names = st.sampled_from("abcdef")
    large = of_cell(cell, st.lists(names, min_size=LEAST, max_size=6, unique=True))
    small = of_cell(cell, st.lists(names, min_size=1, max_size=LEAST - 1, unique=True))
    return large.map(lambda rows_: (rows_, rows_)) | st.tuples(small, small)


keys = st.tuples(st.sampled_from("st"), st.sampled_from("pq"), st.sampled_from(HOURS))
worlds = st.lists(keys, min_size=1, max_size=7, unique=True).flatmap(
    lambda found: st.tuples(*(cells_in_two_worlds(key) for key in found))
)


@given(worlds, st.integers(0, 7))
@settings(deadline=None, max_examples=40)
def test_worlds_that_differ_only_in_withheld_cells_have_the_same_gold_in_each_build(cells, built):
    for so_far in (cells[:built], cells):
        one, other = ([row for cell in so_far for row in cell[world]] for world in (0, 1))
        assert_same(Gold.of(one), Gold.of(other))


# Three attacks: the numbers that an attacker would like to have, and what is there instead

SHOWN = [*(decision(device) for device in "abcd"), held_out("e"), held_out("f"), held_out("g")]


def test_the_offers_of_a_withheld_hour_are_not_the_days_total_less_the_hours_that_are_shown():
    hour = [decision(device, decided_at=NOON + HOUR) for device in "xy"]
    gold = Gold.of([*SHOWN, *hour])
    assert gold.offers_hourly.select("hour", "sent").rows() == [(NOON, 4), (NOON + HOUR, None)]
    assert gold.promotion_daily["devices_sent"].to_list() == [4]


def test_what_one_device_did_is_not_the_difference_of_two_builds():
    """The device comes back alone, before anybody else is there; it had been held out."""
    before, alone = Gold.of(SHOWN), decision("e", "not_sent", "held_out", decided_at=NOON + DAY)
    after = Gold.of([*SHOWN, alone])
    assert_frame_equal(after.promotion_daily, before.promotion_daily)
    assert after.offers_hourly.drop_nulls("considered").equals(before.offers_hourly)


def test_who_was_held_out_is_not_the_complement_of_who_was_sent():
    """Of three devices in a hidden cell and four elsewhere, no sum over arms, stores or days is told."""
    hidden = [held_out("x", store_id="t"), decision("y", store_id="t")]
    gold = Gold.of([*SHOWN[:5], *hidden, *(decision("x", decided_at=NOON + 2 * DAY, store_id="t") for _ in "12")])
    (row,) = gold.promotion_daily.rows(named=True)
    assert (row["devices_sent"], row["devices_held_out"]) == (4, 1)
    assert (row["returned_sent"], row["returned_held_out"], row["return_lift"]) == (0, None, None)
