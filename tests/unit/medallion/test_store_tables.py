"""What gold tells of stores: hours, days, trips; and what it does not tell when too few devices were there."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.medallion.aggregated_trips import AGGREGATED_TRIPS
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import BuildContext
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.store_daily import STORE_DAILY, measure_days
from shared.medallion.store_hourly import STORE_HOURLY, measure_hours
from shared.medallion.tables import Table
from shared.medallion.trips_daily import TRIPS_DAILY, count_trips
from shared.medallion.visits import VISITS
from shared.workflows.build_gold import GoldBuilder
from tests.fakes_lake import FakeLake, unique

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ZONES = {"auckland": "Pacific/Auckland", "london": "Europe/London", "kolkata": "Asia/Kolkata"}


class Ping(NamedTuple):
    """A ping near a store."""

    tracked_at: datetime
    device: str = "a"
    store: str = "s"

    @property
    def at(self) -> datetime:
        return self.tracked_at


class Stay(NamedTuple):
    """A visit, its length None while it goes on."""

    entered_at: datetime
    dwell: timedelta | None = None
    device: str = "a"
    store: str = "s"

    @property
    def at(self) -> datetime:
        return self.entered_at


type Seen = Ping | Stay
type Cell = tuple[date, datetime, str]


def local_date(at: datetime, store: str) -> date:
    return at.astimezone(ZoneInfo(ZONES.get(store, "UTC"))).date()


def rows(table: Table, values: Iterable[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([dict.fromkeys(table.schema) | value for value in values], schema=table.schema)


def of_store(seen: Seen) -> dict[str, Any]:
    return {"device_key": seen.device, "store_id": seen.store}


def ping_rows(seen: Iterable[Seen]) -> pl.DataFrame:
    return rows(
        GPS_ENRICHED,
        (
            {
                **of_store(ping),
                "tracked_at": ping.tracked_at,
                "event_date": local_date(ping.tracked_at, ping.store),
                "location": "London" if ping.store in "st" else "elsewhere",
                "merchant": ping.store,
            }
            for ping in seen
            if isinstance(ping, Ping)
        ),
    )


def visit_rows(seen: Iterable[Seen]) -> pl.DataFrame:
    return rows(
        VISITS.table,
        (
            {
                **of_store(stay),
                "event_date": local_date(stay.entered_at, stay.store),
                "entered_at": stay.entered_at,
                "left_at": None if stay.dwell is None else stay.entered_at + stay.dwell,
                "dwell_s": None if stay.dwell is None else stay.dwell.total_seconds(),
            }
            for stay in seen
            if isinstance(stay, Stay)
        ),
    )


def hours(*seen: Seen, min_devices: int = 1) -> list[dict[str, Any]]:
    visits = visit_rows(seen).lazy()
    built = measure_hours(BuildContext(min_devices), ping_rows(seen).lazy(), visits, visits).collect()
    return STORE_HOURLY.table.conform(built).sort("event_date", "hour", "store_id").to_dicts()


def days(*seen: Seen, min_devices: int = 1) -> list[dict[str, Any]]:
    visits = visit_rows(seen).lazy()
    built = measure_days(BuildContext(min_devices), ping_rows(seen).lazy(), visits, visits).collect()
    return STORE_DAILY.table.conform(built).sort("event_date", "store_id").to_dicts()


def trips(*seen: Seen, min_devices: int = 1) -> list[tuple[Any, ...]]:
    built = count_trips(BuildContext(min_devices), ping_rows(seen).lazy(), visit_rows(seen).lazy()).collect()
    return TRIPS_DAILY.table.conform(built).sort("event_date", "location", "merchant").rows()


def column(name: str, measured: list[dict[str, Any]]) -> list[Any]:
    return [row[name] for row in measured]


def test_an_hour_counts_pings_devices_and_the_visits_that_began_in_it():
    seen = [
        Ping(NOON),
        Ping(NOON + HOUR - timedelta(microseconds=1)),
        Ping(NOON, "b"),
        Stay(NOON, 2 * HOUR),
        Stay(NOON + HOUR / 2),
        Stay(NOON, device="c"),
    ]
    assert hours(*seen, Ping(NOON + HOUR)) == [
        {
            "event_date": NOON.date(),
            "hour": NOON,
            "store_id": "s",
            "pings": 3,
            "devices": 3,
            "visits": 3,
            "new_devices": 2,
            "returning_devices": 0,
            "dwell_p50_s": 7200.0,
            "dwell_p90_s": 7200.0,
        },
        {
            "event_date": NOON.date(),
            "hour": NOON + HOUR,
            "store_id": "s",
            "pings": 1,
            "devices": 1,
            "visits": 0,
            "new_devices": 0,
            "returning_devices": 0,
            "dwell_p50_s": None,
            "dwell_p90_s": None,
        },
    ]


def test_a_day_counts_each_device_once():
    (day,) = days(Ping(NOON), Ping(NOON + HOUR), Stay(NOON), Stay(NOON + 2 * HOUR), Ping(NOON, "b"))
    assert (day["pings"], day["devices"], day["visits"], day["new_devices"]) == (3, 2, 2, 1)


def test_dwell_quantiles_are_those_of_the_visits_that_have_ended():
    stays = [Stay(NOON, minutes * HOUR / 60, str(minutes)) for minutes in (1, 2, 3, 4, 11)]
    (day,) = days(*stays, Stay(NOON, None, "open"))
    assert (day["dwell_p50_s"], day["dwell_p90_s"]) == (180.0, pytest.approx(60 * (4 + 0.6 * 7)))


def test_the_stores_date_counts_in_auckland():
    midnight = datetime(2026, 3, 2, 11, tzinfo=UTC)
    seen = [Ping(midnight - HOUR / 2, store="auckland"), Ping(midnight, store="auckland")]
    assert column("event_date", days(*seen)) == [date(2026, 3, 2), date(2026, 3, 3)]
    assert column("event_date", hours(*seen)) == [date(2026, 3, 2), date(2026, 3, 3)]
    assert column("hour", hours(*seen)) == [midnight - HOUR, midnight]
    assert [trip[0] for trip in trips(*seen)] == [date(2026, 3, 2), date(2026, 3, 3)]


def test_the_day_on_which_summer_time_ends_has_25_hours():
    midnight = datetime(2026, 10, 24, 23, tzinfo=UTC)
    seen = [Ping(midnight + number * HOUR, store="london") for number in range(-1, 26)]
    assert column("pings", days(*seen)) == [1, 25, 1]
    assert column("event_date", hours(*seen)).count(date(2026, 10, 25)) == 25


def test_an_hour_in_which_a_date_begins_by_half_is_a_row_of_each_date():
    half_past = datetime(2026, 3, 2, 18, 30, tzinfo=UTC)
    seen = [Ping(half_past - HOUR / 6, store="kolkata"), Ping(half_past, store="kolkata")]
    assert [(row["event_date"].day, row["hour"].hour, row["pings"]) for row in hours(*seen)] == [(2, 18, 1), (3, 18, 1)]


def test_who_was_there_in_the_28_days_before_the_day_returns():
    for days_before, is_returning in ((1, True), (28, True), (29, False)):
        *_, day = days(Stay(NOON), Stay(NOON - days_before * DAY))
        assert (day["new_devices"], day["returning_devices"]) == (not is_returning, is_returning)


def test_who_was_there_in_the_28_days_before_the_hour_returns():
    for before, is_returning in ((HOUR / 60, True), (28 * DAY, True), (28 * DAY + HOUR / 60, False)):
        *_, hour = hours(Stay(NOON + HOUR / 2), Stay(NOON - before))
        assert (hour["new_devices"], hour["returning_devices"]) == (not is_returning, is_returning)


def test_who_comes_twice_on_a_day_is_new_on_it_and_returns_in_the_later_hour():
    seen = Stay(NOON), Stay(NOON + HOUR)
    assert column("returning_devices", days(*seen)) == [0]
    assert column("returning_devices", hours(*seen)) == [0, 1]


def test_who_comes_twice_in_an_hour_is_new_in_it():
    assert column("returning_devices", hours(Stay(NOON), Stay(NOON + HOUR / 2))) == [0]


def test_who_was_at_another_store_is_new():
    (*_, day) = days(Stay(NOON - DAY, store="t"), Stay(NOON))
    assert day["new_devices"] == 1


MEASURES = tuple(name for name in STORE_DAILY.table.schema if name not in ("event_date", "store_id"))


def crowd(at: datetime, devices: str = "abc", **values: Any) -> list[Seen]:
    return [Ping(at, device, **values) for device in devices] + [Stay(at, HOUR, device, **values) for device in devices]


def test_an_hour_of_too_few_devices_is_there_and_tells_nothing():
    shown, withheld = hours(*crowd(NOON), *crowd(NOON + HOUR, "ab"), min_devices=3)
    assert shown["devices"] == 3
    assert [withheld[name] for name in MEASURES] == [None] * len(MEASURES)


def test_pings_and_visits_make_the_devices_of_an_hour_together():
    (hour,) = hours(Ping(NOON, "a"), Ping(NOON, "b"), Stay(NOON, None, "c"), min_devices=3)
    assert (hour["devices"], hour["pings"], hour["visits"]) == (3, 2, 1)


def test_a_day_counts_what_lies_in_the_hours_that_are_shown():
    seen = [*crowd(NOON), Ping(NOON + HOUR, "d"), Stay(NOON + HOUR, 9 * HOUR, "d")]
    assert days(*seen, min_devices=3) == days(*crowd(NOON))


def test_a_day_of_which_no_hour_is_shown_is_there_and_tells_nothing():
    (day,) = days(Ping(NOON, "a"), Ping(NOON + HOUR, "b"), Ping(NOON + 2 * HOUR, "c"), min_devices=3)
    assert [day[name] for name in MEASURES] == [None] * len(MEASURES)


def test_a_visit_that_is_withheld_makes_nobody_return():
    seen = [Stay(NOON - DAY, HOUR, "a"), Stay(NOON - DAY, HOUR, "b"), *crowd(NOON)]
    assert column("returning_devices", days(*seen, min_devices=3)) == [None, 0]
    seen.append(Stay(NOON - DAY, HOUR, "c"))
    assert column("returning_devices", days(*seen, min_devices=3)) == [0, 3]


def test_visits_of_which_pings_made_the_hour_large_enough_make_nobody_return():
    """The pings of four weeks are not read, so visits have to do it."""
    seen = [Stay(NOON - DAY, HOUR, "a"), Ping(NOON - DAY, "b"), Ping(NOON - DAY, "c"), *crowd(NOON)]
    assert column("returning_devices", days(*seen, min_devices=3)) == [0, 0]


def test_trips_are_the_pings_by_the_stores_date_location_and_merchant():
    midnight = datetime(2026, 3, 3, tzinfo=UTC)
    seen = Ping(NOON), Ping(midnight - HOUR), Ping(midnight), Ping(NOON, store="t")
    assert trips(*seen) == [
        (date(2026, 3, 2), "London", "s", 2),
        (date(2026, 3, 2), "London", "t", 1),
        (date(2026, 3, 3), "London", "s", 1),
    ]


def test_trips_of_too_few_devices_tell_nothing():
    seen = [*crowd(NOON), Ping(NOON + HOUR), Ping(NOON, store="t")]
    assert trips(*seen, min_devices=3) == [(NOON.date(), "London", "s", 3), (NOON.date(), "London", "t", None)]


# The same from plain loops over rows.

seen_anyhow = st.builds(
    lambda is_ping, days_before, minutes, dwell, device, store: (
        Ping(NOON - days_before * DAY + minutes, device, store)
        if is_ping
        else Stay(NOON - days_before * DAY + minutes, dwell, device, store)
    ),
    st.booleans(),
    st.sampled_from((0, 0, 0, 1, 27, 28, 29)),
    st.sampled_from((0, 1, 59, 60, 389, 390, 391)).map(lambda minutes: timedelta(minutes=minutes)),
    st.none() | st.sampled_from((0, 1, 7, 60, 600)).map(lambda minutes: timedelta(minutes=minutes)),
    st.sampled_from("abcde"),
    st.sampled_from(("s", "s", "kolkata")),
)


def cell_of(seen: Seen) -> Cell:
    return local_date(seen.at, seen.store), seen.at.replace(minute=0), seen.store


def by_cell(seen: Iterable[Seen]) -> dict[Cell, list[Seen]]:
    cells = defaultdict(list)
    for item in seen:
        cells[cell_of(item)].append(item)
    return cells


def count_devices(seen: Iterable[Seen]) -> int:
    return len({item.device for item in seen})


def stays(seen: Iterable[Seen]) -> list[Stay]:
    return [item for item in seen if isinstance(item, Stay)]


def is_known_before(stay: Stay, since: datetime | date, known: Sequence[Stay]) -> bool:
    def was_before(other: Stay) -> bool:
        at = other.entered_at if isinstance(since, datetime) else local_date(other.entered_at, other.store)
        return since - 28 * DAY <= at < since

    same = [other for other in known if (other.device, other.store) == (stay.device, stay.store)]
    return any(was_before(other) for other in same)


def measured_by_loops(seen: Sequence[Seen], since: datetime | date, known: Sequence[Stay]) -> dict[str, Any]:
    if not seen:
        return dict.fromkeys(MEASURES)
    here = stays(seen)
    returning = {stay.device for stay in here if is_known_before(stay, since, known)}
    dwell_s = [stay.dwell.total_seconds() for stay in here if stay.dwell is not None]
    return {
        "pings": len(seen) - len(here),
        "devices": count_devices(seen),
        "visits": len(here),
        "new_devices": len({stay.device for stay in here} - returning),
        "returning_devices": len(returning),
        "dwell_p50_s": pytest.approx(np.quantile(dwell_s, 0.5)) if dwell_s else None,
        "dwell_p90_s": pytest.approx(np.quantile(dwell_s, 0.9)) if dwell_s else None,
    }


@given(st.lists(seen_anyhow, max_size=40), st.integers(1, 3))
@settings(deadline=None, max_examples=120)
def test_hours_and_days_are_what_plain_loops_over_the_rows_find(seen, k):
    cells = by_cell(seen)
    shown = {cell: items if count_devices(items) >= k else [] for cell, items in cells.items()}
    known = [stay for items in cells.values() if count_devices(stays(items)) >= k for stay in stays(items)]
    assert hours(*seen, min_devices=k) == [
        {"event_date": cell[0], "hour": cell[1], "store_id": cell[2], **measured_by_loops(shown[cell], cell[1], known)}
        for cell in sorted(cells)
    ]
    of_day = {(cell[0], cell[2]): [] for cell in cells}
    for (day, _, store), items in shown.items():
        of_day[day, store] += items
    assert days(*seen, min_devices=k) == [
        {"event_date": day, "store_id": store, **measured_by_loops(of_day[day, store], day, known)}
        for day, store in sorted(of_day)
    ]


# The theorem: what lies in withheld cells changes nothing.

K = 3
TABLES = (VISITS, TRIPS_DAILY, AGGREGATED_TRIPS, STORE_HOURLY, STORE_DAILY)


@st.composite
def twins(draw: st.DrawFn) -> tuple[list[Seen], list[Seen]]:
    """Two sets of rows that differ in those of withheld cells only; each such cell has 1 to K - 1 devices in both."""
    seen = with_their_pings(draw(st.lists(seen_anyhow, min_size=10, max_size=40)))
    other: list[Seen] = []
    for cell, items in by_cell(seen).items():
        other += items if count_devices(items) >= K else draw(few_in(cell))
    return seen, other


def with_their_pings(seen: Iterable[Seen]) -> list[Seen]:
    """A visit begins with a ping."""
    return [*seen, *(Ping(item.at, item.device, item.store) for item in seen if isinstance(item, Stay))]


def few_in(cell: Cell) -> st.SearchStrategy[list[Seen]]:
    """Rows of too few devices in a cell."""
    day, hour, store = cell
    instants = [hour + minutes * HOUR / 60 for minutes in (0, 29, 30, 59)]
    at = st.sampled_from([instant for instant in instants if local_date(instant, store) == day])
    device = st.sampled_from("abcdefgh")
    ping = st.builds(Ping, at, device, st.just(store))
    stay = st.builds(Stay, at, st.sampled_from((None, HOUR)), device, st.just(store))
    few = st.lists(ping | stay, min_size=1, max_size=4).filter(lambda items: count_devices(items) < K)
    return few.map(with_their_pings)


def decision_rows(seen: Iterable[Seen]) -> pl.DataFrame:
    """The decisions that make the visits."""
    return rows(
        DECISIONS,
        chain.from_iterable(
            [
                {
                    **of_store(stay),
                    "entered_at": stay.entered_at,
                    "entered_date": local_date(stay.entered_at, stay.store),
                    "transition": transition,
                    "left_at": None if stay.dwell is None or transition == "ENTER" else stay.entered_at + stay.dwell,
                }
                for transition in ("ENTER", "EXIT")[: 1 if stay.dwell is None else 2]
            ]
            for stay in seen
            if isinstance(stay, Stay)
        ),
    )


def built(*files: Sequence[Seen], min_devices: int = K) -> dict[str, pl.DataFrame]:
    """Each gold table, from silver as it is built of such rows, with a build after each file."""
    lake = FakeLake()
    for seen in files:
        lake.commit(GPS_ENRICHED, ping_rows(seen), {unique("file"): 1})
        lake.commit(DECISIONS, decision_rows(seen), {unique("file"): 1})
        GoldBuilder(lake, BuildContext(min_devices), tables=TABLES).build()
    gold = (derived.table for derived in TABLES[1:])
    return {str(table): lake.rows(table).sort(pl.all()) for table in gold}


@given(twins())
@settings(deadline=None, max_examples=25)
def test_what_lies_in_withheld_cells_changes_nothing_in_gold(pair):
    one, other = (built(seen) for seen in pair)
    for table, rows_of_one in one.items():
        assert rows_of_one.equals(other[table]), table


@given(st.lists(st.lists(seen_anyhow, max_size=12), min_size=2, max_size=5), st.integers(1, 2))
@settings(deadline=None, max_examples=40)
def test_many_builds_end_in_what_one_build_finds_however_late_the_rows_come(files, min_devices):
    by_and_by = built(*files, min_devices=min_devices)
    at_once = built(list(chain.from_iterable(files)), min_devices=min_devices)
    for table, rows_at_once in at_once.items():
        assert rows_at_once.equals(by_and_by[table]), table


def test_a_visit_that_comes_late_makes_a_return_of_one_that_was_measured():
    gold = built([Stay(NOON)], [Stay(NOON - 28 * DAY)], min_devices=1)
    assert gold["gold.store_daily"]["returning_devices"].to_list() == [0, 1]


def test_a_visit_that_comes_late_shows_the_pings_beside_it():
    pings = [Ping(NOON, "a"), Ping(NOON, "b")]
    assert built(pings)["gold.trips_daily"]["count"].to_list() == [None]
    assert built(pings, [Stay(NOON, None, "c")])["gold.trips_daily"]["count"].to_list() == [2]
