"""Assignments and what a promotion changed: each device once, in its first arm, with the outcomes that came in time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from statsmodels.stats.proportion import confint_proportions_2indep

from shared.medallion.assignments import ASSIGNMENTS, assign
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import BuildContext
from shared.medallion.pings import PINGS
from shared.medallion.promotion_daily import PROMOTION_DAILY, measure_promotions
from shared.workflows.build_gold import GoldBuilder
from tests.fakes_lake import FakeLake, unique
from tests.unit.medallion.decision_rows import DAY, HOUR, NOON, decision, decisions, dwell, held_out, rows

TODAY = NOON.date()
SECOND = timedelta(seconds=1)
NOBODY = rows(ASSIGNMENTS.table)
PLAIN, WITHHELD = BuildContext(), BuildContext(min_devices=3)


def measured(*values: dict[str, Any], context: BuildContext = PLAIN) -> pl.DataFrame:
    """The table, of all history."""
    there = decisions(*values)
    assigned = assign(context, there, NOBODY)
    table = measure_promotions(context, assigned, there).collect()
    return PROMOTION_DAILY.table.conform(table).sort("event_date", "promotion_id")


def devices(table: pl.DataFrame) -> list[tuple[Any, ...]]:
    return table.select("event_date", "promotion_id", "devices_sent", "devices_held_out").rows()


# Assignments


def test_an_assignment_is_a_device_that_was_sent_a_promotion_or_held_out_of_it():
    there = decisions(
        decision("a", decision_id="1"),
        held_out("b", decision_id="2"),
        decision("c", "not_sent", "cooldown"),
        decision("d", "failed", "internal_error", promotion_id=None),
    )
    found = ASSIGNMENTS.table.conform(assign(PLAIN, there, NOBODY).collect()).sort("device_key")
    assert found.rows() == [
        ("p", "a", "sent", NOON, TODAY, "s", NOON, "ENTER", "1"),
        ("p", "b", "held_out", NOON, TODAY, "s", NOON, "ENTER", "2"),
    ]


def test_a_device_is_assigned_to_a_promotion_once_by_its_earliest_decision_in_whatever_order_they_come():
    there = decisions(
        decision("a", decided_at=NOON + 3 * DAY),
        held_out("a", decided_at=NOON + HOUR),
        decision("a", decision_id="first"),
        decision("a", decision_id="first"),
        decision("a", decision_id="other", promotion_id="q", decided_at=NOON + HOUR),
    )
    found = assign(PLAIN, there, NOBODY).sort("promotion_id").collect()
    assert found["decision_id"].to_list() == ["first", "other"]


def test_a_device_that_was_assigned_earlier_is_not_assigned_again():
    earlier = assign(PLAIN, decisions(decision("a"), decision("b", promotion_id="q")), NOBODY)
    tomorrow = decisions(*(held_out(device, decided_at=NOON + DAY) for device in "ab"))
    assert assign(PLAIN, tomorrow, earlier).collect()["device_key"].to_list() == ["b"]


# Devices


def test_a_device_counts_on_the_day_of_its_first_assignment_and_in_its_arm_whatever_came_later():
    table = measured(
        decision("a"),
        held_out("a", decided_at=NOON + DAY),
        held_out("b", decided_at=NOON + DAY),
        decision("b", decided_at=NOON + 2 * DAY),
        decision("a", promotion_id="q", decided_at=NOON + DAY),
    )
    assert devices(table) == [
        (TODAY, "p", 1, 0),
        (TODAY + DAY, "p", 0, 1),
        (TODAY + DAY, "q", 1, 0),
    ]


def test_a_decision_that_was_published_twice_is_one_device():
    twice = decision("a")
    assert devices(measured(twice, twice)) == [(TODAY, "p", 1, 0)]


# Dwelling


def dwelled(*values: dict[str, Any], context: BuildContext = PLAIN) -> list[tuple[Any, ...]]:
    return measured(*values, context=context).select("dwelled_sent", "dwelled_held_out").rows()


def test_a_device_dwelled_if_a_dwell_was_decided_in_the_visit_of_its_assignment():
    table = dwelled(
        decision("a"),
        dwell("a", decided_at=NOON + HOUR, entered_at=NOON),
        decision("b"),
        dwell("b", decided_at=NOON + HOUR, entered_at=NOON, store_id="another store"),
        decision("c"),
        dwell("c", decided_at=NOON + 2 * HOUR, entered_at=NOON + HOUR),
        held_out("d"),
        dwell("d", decided_at=NOON + HOUR, entered_at=NOON, promotion_id="another promotion"),
    )
    assert table == [(1, 1)]


def test_dwelling_is_no_outcome_of_a_promotion_that_waits_for_it():
    waiting = {"transition": "DWELL", "entered_at": NOON - HOUR}
    (row,) = measured(decision("a", **waiting), held_out("b", **waiting)).rows(named=True)
    assert {value for name, value in row.items() if "dwell" in name} == {None}
    assert (row["returned_sent"], row["return_rate_sent"]) == (0, 0.0)


# Returning


def returned(*values: dict[str, Any], context: BuildContext = PLAIN) -> list[int]:
    return measured(*values, context=context)["returned_sent"].to_list()


def again(after: timedelta, **values: Any) -> dict[str, Any]:
    """A later visit of device a: its cooldown is not over."""
    return decision("a", "not_sent", "cooldown", decided_at=NOON + after, **values)


@pytest.mark.parametrize(
    ("after", "count"),
    [(HOUR, 1), (7 * DAY, 1), (7 * DAY + SECOND, 0), (timedelta(0), 0)],
    ids=["an hour", "the last moment", "a second too late", "the same moment"],
)
def test_a_device_returned_if_it_entered_one_of_the_promotions_stores_within_the_days_of_attribution(after, count):
    assert returned(decision("a"), again(after, store_id="another store"))[0] == count


def test_the_days_of_attribution_are_a_setting_that_is_told():
    table = measured(decision("a"), again(2 * DAY), context=BuildContext(attribution_days=1))
    assert table.select("returned_sent", "attribution_days").rows() == [(0, 1)]


@pytest.mark.parametrize("other", [{"promotion_id": "q"}, {"transition": "DWELL"}, {"device_key": "b"}], ids=str)
def test_it_takes_the_device_itself_to_enter_a_store_of_the_promotion(other):
    assert returned(decision("a"), again(DAY) | other)[0] == 0


def test_entering_two_stores_at_once_is_no_return_though_the_phones_clock_is_fast():
    """The offer was decided when the ping was enqueued, cut to the second; the visit began when the phone says."""
    entered_at = NOON + timedelta(milliseconds=400)
    beside = decision("a", "not_sent", "outranked", store_id="beside", entered_at=entered_at)
    assert returned(decision("a", entered_at=entered_at), beside) == [0]


def test_what_is_decided_after_the_day_is_final_changes_nothing():
    midnight = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    late, final_at = {"entered_at": NOON + 6 * DAY}, midnight + 9 * DAY
    assert returned(decision("a"), again(DAY) | late | {"decided_at": final_at - SECOND}) == [1]
    assert returned(decision("a"), again(DAY) | late | {"decided_at": final_at}) == [0]


def test_who_flies_over_the_date_line_to_the_day_before_does_not_return_on_that_day():
    """A build of the day of assignment does not read the day before, and a build of everything must say the same."""
    assert returned(decision("a"), again(HOUR) | {"event_date": TODAY - DAY}) == [0]


# Rates, lift, final


def test_the_lift_is_the_difference_of_the_rates_with_newcombes_interval():
    sent, held = [f"s{number}" for number in range(40)], [f"h{number}" for number in range(10)]
    back = [decision(name, "not_sent", "cooldown", decided_at=NOON + DAY) for name in (*sent[:18], *held[:2])]
    stayed = [dwell(name, decided_at=NOON + HOUR, entered_at=NOON) for name in (*sent[:30], *held[:7])]
    (row,) = measured(*map(decision, sent), *map(held_out, held), *back, *stayed).rows(named=True)
    for name, outcome, counts in (("dwell", "dwelled", (30, 7)), ("return", "returned", (18, 2))):
        assert (row[f"{outcome}_sent"], row[f"{outcome}_held_out"]) == counts
        rates = counts[0] / 40, counts[1] / 10
        assert (row[f"{name}_rate_sent"], row[f"{name}_rate_held_out"]) == rates
        assert row[f"{name}_lift"] == pytest.approx(rates[0] - rates[1])
        interval = confint_proportions_2indep(counts[0], 40, counts[1], 10, method="newcomb")
        assert (row[f"{name}_lift_low"], row[f"{name}_lift_high"]) == pytest.approx(interval)


def test_an_arm_without_devices_has_no_outcome_and_so_there_is_no_lift():
    (row,) = measured(decision("a"), again(DAY)).rows(named=True)
    assert (row["devices_held_out"], row["returned_held_out"], row["return_rate_held_out"]) == (0, None, None)
    assert (row["returned_sent"], row["return_rate_sent"]) == (1, 1.0)
    assert {row[f"return_lift{bound}"] for bound in ("", "_low", "_high")} == {None}


@pytest.mark.parametrize(("later", "is_final"), [(timedelta(0), True), (-SECOND, False)])
def test_a_day_is_final_two_days_after_the_days_of_attribution(later, is_final):
    newest = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC) + 9 * DAY + later
    assert measured(decision("a"), context=BuildContext(newest=newest))["is_final"].to_list() == [is_final]


# Withholding


def test_devices_of_a_cell_of_too_few_are_assigned_nowhere():
    table = measured(*map(decision, "abc"), decision("d", store_id="t"), held_out("e", store_id="t"), context=WITHHELD)
    assert devices(table) == [(TODAY, "p", 3, 0)]


def test_a_device_whose_first_assignment_is_withheld_is_new_when_it_comes_to_a_cell_that_is_shown():
    """Else the shown count, less than the offers that gold shows, would tell that it had been somewhere before."""
    tomorrow = [decision(name, decided_at=NOON + DAY) for name in "abc"]
    assert devices(measured(decision("a"), *tomorrow, context=WITHHELD)) == [(TODAY + DAY, "p", 3, 0)]
    assert devices(measured(*tomorrow, context=WITHHELD)) == [(TODAY + DAY, "p", 3, 0)]


def test_an_arm_of_too_few_devices_has_no_outcome():
    (row,) = measured(
        *map(decision, "abc"), held_out("d"), *(again(DAY, device_key=name) for name in "abd"), context=WITHHELD
    ).rows(named=True)
    assert (row["devices_sent"], row["returned_sent"]) == (3, 2)
    assert (row["devices_held_out"], row["returned_held_out"], row["return_lift"]) == (1, None, None)


def test_a_return_in_a_cell_of_too_few_devices_counts_nowhere():
    first = [decision(name) for name in "abc"]
    alone = decision("a", "not_sent", "cooldown", decided_at=NOON + DAY)
    together = [again(DAY, device_key=name) for name in "xyz"]
    assert returned(*first, alone, context=WITHHELD) == [0]
    assert returned(*first, alone, *together, context=WITHHELD) == [1]


# Building


moments = st.tuples(st.integers(0, 40), st.sampled_from((0, 1, 13))).map(lambda at: NOON + at[0] * DAY + at[1] * HOUR)
some_decisions = st.builds(
    lambda device, kind, at, entered, store: kind(
        device, decided_at=at, entered_at=min(at, entered), store_id=store, event_date=(at + 14 * HOUR).date()
    ),
    st.sampled_from("abcd"),
    st.sampled_from((decision, held_out, dwell)),
    moments,
    moments,
    st.sampled_from("st"),
)


@given(st.lists(st.lists(some_decisions, max_size=5), max_size=5), st.sampled_from((1, 2)), st.integers(1, 30))
@settings(deadline=None, max_examples=50)
def test_in_whatever_order_and_builds_the_decisions_come_in_the_tables_are_those_of_one_build(files, least, days):
    tables = (ASSIGNMENTS, PROMOTION_DAILY)
    by_and_by, at_once = FakeLake(), FakeLake()
    context = BuildContext(min_devices=least, attribution_days=days)
    for file in files:
        for lake in (by_and_by, at_once):
            lake.commit(DECISIONS, decisions(*file).collect(), {unique("file"): 1})
            pings = rows(PINGS, *({"enqueued_at": item["decided_at"]} for item in file))
            lake.commit(PINGS, pings.collect(), {unique("file"): 1})
        GoldBuilder(by_and_by, context, tables).build()
    GoldBuilder(at_once, context, tables).build()
    for table in (ASSIGNMENTS.table, PROMOTION_DAILY.table):
        assert_frame_equal(by_and_by.rows(table), at_once.rows(table), check_row_order=False)


def test_a_day_is_computed_again_when_it_becomes_final():
    lake = FakeLake()
    lake.commit(DECISIONS, decisions(decision("a")).collect(), {"one": 1})
    for newest, is_final in ((NOON + 8 * DAY, False), (NOON + 9 * DAY, True)):
        lake.commit(PINGS, rows(PINGS, {"enqueued_at": newest}).collect(), {unique("file"): 1})
        GoldBuilder(lake, PLAIN, (ASSIGNMENTS, PROMOTION_DAILY)).build()
        assert lake.rows(PROMOTION_DAILY.table)["is_final"].to_list() == [is_final]


def test_a_table_without_a_row_is_built_of_none():
    table = measured()
    assert (table.schema, table.height) == (PROMOTION_DAILY.table.schema, 0)
