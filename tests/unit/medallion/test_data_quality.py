"""gold.data_quality_hourly: what was captured, hub by hub, by the hour of enqueueing."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from shared.domain.pings import Reason
from shared.medallion.captures import CAPTURES
from shared.medallion.data_quality_hourly import DATA_QUALITY_HOURLY, count_events
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import BuildContext
from shared.medallion.offers import OFFERS
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.medallion.receipts import RECEIPTS
from shared.medallion.tables import Table
from tests.unit.medallion.decision_rows import HOUR, NOON, rows

ONE = NOON + HOUR
SOURCES = (PINGS, OFFERS, DECISIONS, RECEIPTS, BODIES, CAPTURES)
PLAIN, WITHHELD = BuildContext(), BuildContext(min_devices=3)


def counted(there: dict[Table, list[dict[str, Any]]], context: BuildContext = PLAIN) -> pl.DataFrame:
    table = count_events(context, *(rows(source, *there.get(source, ())) for source in SOURCES)).collect()
    return DATA_QUALITY_HOURLY.table.conform(table).sort("hub", "hour")


def ping(delay_s: float = 1.0, **values: Any) -> dict[str, Any]:
    usual = {"enqueued_at": NOON, "hub": "pings", "is_duplicate": False, "delay_s": delay_s, "device_key": "a"}
    return usual | values


def test_data_quality_counts_each_hub_by_the_hour_of_enqueueing():
    table = counted(
        {
            PINGS: [ping(), ping(is_duplicate=True), ping(enqueued_at=ONE)],
            OFFERS: [{"enqueued_at": NOON, "hub": "offers", "offer_id": name} for name in "aab"],
            DECISIONS: [{"enqueued_at": NOON, "hub": "decisions", "decision_id": "d"}],
            RECEIPTS: [{"enqueued_at": NOON, "hub": "decisions", "receipt_id": name} for name in "rrr"],
            BODIES: [
                {"enqueued_at": NOON, "hub": "pings", "reason": "not_utf8"},
                {"enqueued_at": NOON, "hub": "pings", "reason": "too_late"},
                {"enqueued_at": ONE, "hub": "offers", "reason": "not_understood"},
            ],
        }
    )
    assert table.select("hub", "hour", "captured", "accepted", "rejected", "duplicates").rows() == [
        ("decisions", NOON, 4, 4, 0, 2),
        ("offers", NOON, 3, 3, 0, 1),
        ("offers", ONE, 1, 0, 1, 0),
        ("pings", NOON, 4, 2, 2, 1),
        ("pings", ONE, 1, 1, 0, 0),
    ]
    reasons = table.select(rejected=pl.sum_horizontal(f"rejected_{reason}" for reason in Reason))
    assert reasons["rejected"].to_list() == table["rejected"].to_list()


def test_the_delays_of_all_accepted_pings_count_and_other_hubs_have_none():
    pings = [ping(delay_s, is_duplicate=delay_s > 90) for delay_s in range(101)]
    table = counted({PINGS: pings, OFFERS: [{"enqueued_at": NOON, "hub": "offers", "offer_id": "o"}]})
    assert table.select("hub", "delay_p50_s", "delay_p95_s").rows() == [("offers", None, None), ("pings", 50.0, 95.0)]


def test_the_delay_to_silver_is_that_of_the_capture_files_whose_window_began_in_the_hour():
    captured_at = ONE + timedelta(minutes=5)
    files = [
        {
            "hub": "offers",
            "window_start": NOON + timedelta(minutes=29 * number),
            "captured_at": captured_at,
            "refined_at": captured_at + timedelta(seconds=seconds),
        }
        for number, seconds in enumerate((2.0, 4.0, 12.0))
    ]
    table = counted({CAPTURES: files, OFFERS: [{"enqueued_at": NOON, "hub": "offers", "offer_id": "o"}]})
    (row,) = table.select("captured", "silver_delay_p50_s", "silver_delay_p95_s").rows()
    assert row == (1, 4.0, pytest.approx(11.2))


@pytest.mark.parametrize(("accepted", "shown"), [(49, 0), (50, 100), (149, 100), (250, 300)])
def test_where_anything_is_withheld_each_count_is_rounded_to_hundreds_on_its_own(accepted, shown):
    bodies = [{"enqueued_at": NOON, "hub": "pings", "reason": "not_utf8"}] * 40
    there = {PINGS: [ping()] * accepted, BODIES: bodies}
    (row,) = counted(there, WITHHELD).rows(named=True)
    assert (row["accepted"], row["rejected"], row["rejected_not_utf8"]) == (shown, 0, 0)
    assert row["captured"] == (accepted + 40 + 50) // 100 * 100
    (exact,) = counted(there).rows(named=True)
    assert (exact["accepted"], exact["rejected"], exact["captured"]) == (accepted, 40, accepted + 40)


def test_the_delays_of_too_few_devices_are_withheld():
    two = [ping(device_key=name) for name in "abab"]
    assert counted({PINGS: two}, WITHHELD)["delay_p50_s"].to_list() == [None]
    assert counted({PINGS: [*two, ping(device_key="c")]}, WITHHELD)["delay_p50_s"].to_list() == [1.0]


def test_a_table_without_a_row_is_built_of_none():
    assert counted({}, WITHHELD).is_empty()
