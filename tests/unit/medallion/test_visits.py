"""Visits: what the decisions and the pings of a device say about its stays at a store."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.presence import Fix, Visit, follow
from shared.domain.promotions import PresenceParameters
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import BuildContext
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.pings import PINGS
from shared.medallion.visits import VISITS, pair_visits
from shared.workflows.build_gold import GoldBuilder
from tests.fakes_lake import FakeLake, unique

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Decided(NamedTuple):
    """One decision about a visit that began at `entered_at`."""

    transition: str | None
    entered_at: datetime | None
    left_at: datetime | None = None
    device: str = "d"
    store: str = "s"
    zone: str = "UTC"


class Inside(NamedTuple):
    """A ping inside the store's geofence."""

    tracked_at: datetime
    enqueued_at: datetime | None = None
    device: str = "d"
    store: str = "s"
    zone: str = "UTC"


def local(instant: datetime | None, zone: str) -> date | None:
    return None if instant is None else instant.astimezone(ZoneInfo(zone)).date()


def rows(table: Any, values: Iterable[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([dict.fromkeys(table.schema) | value for value in values], schema=table.schema)


def decision_rows(decided: Iterable[Decided]) -> pl.DataFrame:
    return rows(
        DECISIONS,
        (
            {
                "device_key": item.device,
                "store_id": item.store,
                "transition": item.transition,
                "entered_at": item.entered_at,
                "entered_date": local(item.entered_at, item.zone),
                "left_at": item.left_at,
            }
            for item in decided
        ),
    )


def ping_rows(inside: Iterable[Inside]) -> pl.DataFrame:
    return rows(
        GPS_ENRICHED,
        (
            {
                "device_key": item.device,
                "store_id": item.store,
                "tracked_at": item.tracked_at,
                "enqueued_at": item.enqueued_at or item.tracked_at,
                "event_date": local(item.tracked_at, item.zone),
            }
            for item in inside
        ),
    )


def visits(decided: Sequence[Decided], inside: Sequence[Inside], newest: datetime) -> list[dict[str, Any]]:
    decisions = decision_rows(decided).lazy()
    built = pair_visits(BuildContext(newest=newest), decisions, decisions, ping_rows(inside).lazy()).collect()
    return VISITS.table.conform(built).sort("device_key", "store_id", "entered_at").to_dicts()


def ends(decided: Sequence[Decided], inside: Sequence[Inside], newest: datetime) -> list[tuple[str | None, Any]]:
    """What closed each visit, and how long after noon."""
    built = visits(decided, inside, newest)
    return [(visit["closed_by"], visit["left_at"] and visit["left_at"] - NOON) for visit in built]


def test_a_visit_lasts_from_its_enter_to_its_exit():
    left_at = NOON + 7 * MINUTE
    decided = [Decided("ENTER", NOON), Decided("DWELL", NOON), Decided("EXIT", NOON, left_at)]
    assert visits(decided, [], NOON + HOUR) == [
        {
            "event_date": NOON.date(),
            "device_key": "d",
            "store_id": "s",
            "entered_at": NOON,
            "left_at": left_at,
            "dwell_s": 420.0,
            "dwelled": True,
            "closed_by": "exit",
            "seen_inside_at": NOON,
        }
    ]


def test_who_drove_past_did_not_dwell():
    (visit,) = visits([Decided("ENTER", NOON), Decided("EXIT", NOON, NOON + MINUTE)], [], NOON + HOUR)
    assert visit["dwelled"] is False


def test_decisions_that_were_published_twice_change_nothing():
    decided = [Decided("ENTER", NOON), Decided("DWELL", NOON), Decided("EXIT", NOON, NOON + HOUR)]
    assert visits(decided * 2, [], NOON + HOUR) == visits(decided, [], NOON + HOUR)


def test_a_geofence_that_came_to_the_device_begins_a_visit():
    (visit,) = visits([Decided(None, NOON), Decided("DWELL", NOON)], [], NOON)
    assert (visit["entered_at"], visit["dwelled"], visit["left_at"]) == (NOON, True, None)


def test_what_is_decided_about_no_visit_is_none():
    assert visits([Decided(None, None), Decided("EXIT", None)], [], NOON) == []


def test_a_visit_over_midnight_is_one_of_the_day_it_began_on():
    entered_at = datetime(2026, 3, 2, 23, 50, tzinfo=UTC)
    (visit,) = visits([Decided("ENTER", entered_at), Decided("EXIT", entered_at, entered_at + HOUR)], [], NOON)
    assert (visit["event_date"], visit["dwell_s"]) == (date(2026, 3, 2), 3600.0)


def test_a_visit_in_auckland_is_one_of_the_day_there():
    (visit,) = visits([Decided("ENTER", NOON, zone="Pacific/Auckland")], [], NOON)
    assert visit["event_date"] == date(2026, 3, 3)


def test_an_open_visit_ends_in_silence_at_its_last_ping_inside():
    pings = [Inside(NOON), Inside(NOON + 2 * HOUR), Inside(NOON + 5 * HOUR)]
    assert ends([Decided("ENTER", NOON)], pings, NOON + 9 * HOUR) == [(None, None)]
    assert ends([Decided("ENTER", NOON)], pings, NOON + 9 * HOUR + MINUTE) == [("silence", 5 * HOUR)]


def test_an_open_visit_says_when_its_last_ping_inside_was():
    (visit,) = visits([Decided("ENTER", NOON)], [Inside(NOON + HOUR)], NOON + 4.5 * HOUR)
    assert (visit["left_at"], visit["dwell_s"], visit["seen_inside_at"]) == (None, None, NOON + HOUR)


def test_what_comes_after_the_silence_does_not_prolong_the_visit():
    afterwards = Inside(NOON + 5 * HOUR + MINUTE)
    assert ends([Decided("ENTER", NOON)], [Inside(NOON + HOUR), afterwards], NOON + 30 * HOUR) == [("silence", HOUR)]


def test_a_ping_that_a_phone_kept_for_long_does_not_prolong_the_visit_either():
    kept = Inside(NOON + 2 * HOUR, enqueued_at=NOON + 8 * HOUR)
    assert ends([Decided("ENTER", NOON)], [kept], NOON + 30 * HOUR) == [("silence", 0 * HOUR)]


def test_a_ping_that_came_late_and_in_time_does_prolong_the_visit():
    late = Inside(NOON + 2 * HOUR, enqueued_at=NOON + 3 * HOUR)
    afterwards = Inside(NOON + 6 * HOUR)
    assert ends([Decided("ENTER", NOON)], [afterwards, late], NOON + 30 * HOUR) == [("silence", 6 * HOUR)]


def test_pings_are_taken_in_the_order_in_which_they_came():
    kept = Inside(NOON + HOUR, enqueued_at=NOON + 6 * HOUR)
    assert ends([Decided("ENTER", NOON)], [kept, Inside(NOON + 3 * HOUR)], NOON + 30 * HOUR) == [("silence", 3 * HOUR)]


def test_an_exit_that_was_decided_after_the_silence_knows_better():
    decided = [Decided("ENTER", NOON), Decided("EXIT", NOON, NOON + 2 * HOUR)]
    assert ends(decided, [Inside(NOON + HOUR)], NOON + 30 * HOUR) == [("exit", 2 * HOUR)]


def test_an_exit_after_24_hours_cuts_the_visit():
    decided = [Decided("ENTER", NOON), Decided("EXIT", NOON, NOON + 25 * HOUR)]
    assert ends(decided, [], NOON + 30 * HOUR) == [("cut", 24 * HOUR)]


def test_an_exit_at_24_hours_is_one():
    decided = [Decided("ENTER", NOON), Decided("EXIT", NOON, NOON + 24 * HOUR)]
    assert ends(decided, [], NOON + 30 * HOUR) == [("exit", 24 * HOUR)]


@pytest.mark.parametrize(("last", "closed_by"), [(23, "silence"), (24, "cut"), (60, "cut")])
def test_a_visit_whose_pings_go_on_for_24_hours_is_cut(last, closed_by):
    pings = [Inside(NOON + hours * HOUR) for hours in range(last + 1)]
    assert ends([Decided("ENTER", NOON)], pings, NOON + 90 * HOUR) == [(closed_by, min(last, 24) * HOUR)]


def test_24_hours_are_24_hours_when_the_clocks_are_changed():
    zone, midnight = "Europe/London", datetime(2026, 10, 24, 23, tzinfo=UTC)  # 25 October, a day of 25 hours
    decided = [Decided("ENTER", midnight, zone=zone)]
    pings = [Inside(midnight + hours * HOUR, zone=zone) for hours in range(26)]
    (visit,) = visits(decided, pings, midnight + 40 * HOUR)
    assert (visit["event_date"], visit["dwell_s"]) == (date(2026, 10, 25), 24 * 3600.0)


def test_what_a_rotation_of_the_device_keys_splits_is_one_visit_that_ends_in_silence():
    decided = [Decided("ENTER", NOON, device="old"), Decided("EXIT", NOON, NOON + 3 * HOUR, device="new")]
    pings = [Inside(NOON + HOUR, device="old"), Inside(NOON + 2 * HOUR, device="new")]
    assert ends(decided, pings, NOON + 30 * HOUR) == [("silence", HOUR)]


def test_a_ping_is_of_the_visit_that_began_last():
    """A visit has a successor and no EXIT when the state of the hub's partition was lost."""
    decided = [Decided("ENTER", NOON), Decided("ENTER", NOON + 2 * HOUR)]
    pings = [Inside(NOON + hours * HOUR) for hours in range(5)]
    assert ends(decided, pings, NOON + 30 * HOUR) == [("silence", HOUR), ("silence", 4 * HOUR)]


def test_a_ping_of_a_later_visit_that_has_ended_does_not_prolong_an_earlier_one():
    decided = [
        Decided("ENTER", NOON),
        Decided("ENTER", NOON + 2 * HOUR),
        Decided("EXIT", NOON + 2 * HOUR, NOON + 3 * HOUR),
    ]
    pings = [Inside(NOON + hours * HOUR) for hours in range(4)]
    assert ends(decided, pings, NOON + 30 * HOUR) == [("silence", HOUR), ("exit", 3 * HOUR)]


def test_pings_of_another_date_after_the_zone_of_a_store_was_corrected_tell_nothing():
    """A build of the visit's own date is not given them, so one of all dates must not go by them."""
    entered_at = datetime(2026, 3, 2, 1, tzinfo=UTC)
    moved = Inside(entered_at + HOUR, zone="America/New_York")
    (visit,) = visits([Decided("ENTER", entered_at)], [moved], NOON)
    assert visit["left_at"] == entered_at


def test_pings_at_another_store_and_of_another_device_tell_nothing():
    pings = [Inside(NOON + HOUR, store="t"), Inside(NOON + HOUR, device="e")]
    assert ends([Decided("ENTER", NOON)], pings, NOON + 30 * HOUR) == [("silence", 0 * HOUR)]


def test_no_ping_is_read_while_no_visit_can_have_ended_in_silence():
    decided = [Decided("ENTER", NOON), Decided("ENTER", NOON - 9 * HOUR), Decided("EXIT", NOON - 9 * HOUR, NOON)]
    decisions, nowhere = decision_rows(decided).lazy(), pl.scan_parquet("there-is-no-such-file.parquet")
    context = BuildContext(newest=NOON + 4 * HOUR)
    assert pair_visits(context, decisions, decisions, nowhere).collect().height == 2
    with pytest.raises(FileNotFoundError):
        pair_visits(BuildContext(newest=NOON + 5 * HOUR), decisions, decisions, nowhere)


def test_a_visit_is_looked_at_again_when_it_may_be_over():
    built = pl.DataFrame(visits([Decided("ENTER", NOON)], [Inside(NOON + HOUR)], NOON + 4.5 * HOUR))
    is_due = VISITS.due.is_due
    assert built.filter(is_due(BuildContext(newest=NOON + 5 * HOUR))).is_empty()
    assert built.filter(is_due(BuildContext(newest=NOON + 5 * HOUR + MINUTE))).height == 1


# The same from plain loops over rows.

HALVES = st.integers(0, 80).map(lambda number: NOON + number * HOUR / 2)
decided_anyhow = st.builds(
    Decided,
    st.sampled_from(("ENTER", "ENTER", "DWELL", "EXIT", None)),
    st.integers(0, 6).map(lambda number: NOON + number * 5 * HOUR) | st.none(),
    HALVES,
    st.sampled_from("ddde"),
    st.sampled_from("ssst"),
    st.just("UTC"),
)
inside_anyhow = st.builds(
    lambda enqueued_at, late, device, store: Inside(enqueued_at - late * HOUR / 2, enqueued_at, device, store),
    HALVES,
    st.sampled_from((0, 0, 0, 1, 8, 12)),
    st.sampled_from("ddde"),
    st.sampled_from("ssst"),
)


def ends_by_loops(
    decided: Sequence[Decided], inside: Sequence[Inside], newest: datetime
) -> dict[tuple[str, str, datetime], tuple[str | None, datetime | None]]:
    """What closed each visit, and when."""
    of_visit = defaultdict(list)
    for item in decided:
        if item.entered_at is not None:
            of_visit[item.device, item.store, item.entered_at].append(item)
    begun = {key: of for key, of in of_visit.items() if any(item.transition in ("ENTER", None) for item in of)}
    return {key: end_by_loops(key, of, sorted(begun), inside, newest) for key, of in begun.items()}


def end_by_loops(
    key: tuple[str, str, datetime], decided: Sequence[Decided], begun: Any, inside: Sequence[Inside], newest: datetime
) -> tuple[str | None, datetime | None]:
    device, store, entered_at = key
    exits = [item.left_at for item in decided if item.transition == "EXIT" and item.left_at is not None]
    if exits:
        left_at = min(exits)
        is_long = left_at > entered_at + 24 * HOUR
        return ("cut", entered_at + 24 * HOUR) if is_long else ("exit", left_at)
    if newest <= entered_at + 4 * HOUR:
        return None, None
    later = [other[2] for other in begun if other[:2] == key[:2] and other[2] > entered_at]
    until = min(later, default=datetime.max.replace(tzinfo=UTC))
    mine = [p for p in inside if (p.device, p.store) == (device, store) and entered_at <= p.tracked_at < until]
    last = entered_at
    for ping in sorted(mine, key=lambda ping: ping.enqueued_at):
        if ping.enqueued_at > last + 4 * HOUR:
            break
        last = max(last, ping.tracked_at)
    if last >= entered_at + 24 * HOUR:
        return "cut", entered_at + 24 * HOUR
    return ("silence", last) if newest > last + 4 * HOUR else (None, None)


@given(st.lists(decided_anyhow, max_size=12), st.lists(inside_anyhow, min_size=20, max_size=60), HALVES)
@settings(deadline=None, max_examples=150)
def test_visits_are_what_plain_loops_over_the_rows_find(decided, inside, newest):
    built = visits(decided, inside, newest)
    keyed = {(v["device_key"], v["store_id"], v["entered_at"]): (v["closed_by"], v["left_at"]) for v in built}
    assert len(keyed) == len(built)
    assert keyed == ends_by_loops(decided, inside, newest)


# What the decision says about pings, ping by ping, and builds in between.

ZONES = {"s": "Pacific/Auckland", "t": "UTC"}


class Sent(NamedTuple):
    """A ping: so long after the one before it, so late, at a store, and where it lies there."""

    after: timedelta
    late: timedelta
    device: str
    store: str
    fix: Fix | None
    """None: the state of the partition is lost instead."""


sent = st.builds(
    Sent,
    st.sampled_from((0 * HOUR, HOUR / 2, 3 * HOUR, 3 * HOUR, 5 * HOUR, 9 * HOUR)),
    st.sampled_from((0 * HOUR, 0 * HOUR, 0 * HOUR, 0 * HOUR, MINUTE, HOUR, 6 * HOUR)),
    st.sampled_from("ddde"),
    st.sampled_from("ssst"),
    st.sampled_from((*[Fix.WITHIN] * 8, Fix.AWAY, Fix.MARGIN, *[None] * 4)),
)


def us(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000


def instant(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC)


class Said(NamedTuple):
    """What one ping led to."""

    enqueued_at: datetime
    decided: list[Decided]
    inside: list[Inside]


def played(pings: Iterable[Sent]) -> list[Said]:
    """The decisions of the domain about the pings, in the order of enqueueing."""
    here: dict[tuple[str, str], Visit] = {}
    newest_us: dict[tuple[str, str], int] = {}
    said, now = [], NOON
    for ping in pings:
        now += ping.after
        tracked_at, at = now - ping.late, (ping.device, ping.store)
        if ping.fix is None:
            here, newest_us = {}, {}
            continue
        inside = [Inside(tracked_at, now, *at, ZONES[ping.store])] if ping.fix is Fix.WITHIN else []
        known_us = newest_us.get(at)
        is_moving = ping.late <= 2 * MINUTE if known_us is None else us(tracked_at) >= known_us
        said.append(Said(now, decided(here, at, ping.fix, us(tracked_at)) if is_moving else [], inside))
        if is_moving:
            newest_us[at] = us(tracked_at)
    return said


def decided(here: dict[tuple[str, str], Visit], at: tuple[str, str], fix: Fix, at_us: int) -> list[Decided]:
    following, ended, transitions = follow(
        here.get(at), fix, at_us, loitering_us=600_000_000, parameters=PresenceParameters()
    )
    said = []
    if ended is not None:
        said.append(Decided("EXIT", instant(ended.entered_us), instant(ended.left_us), *at, ZONES[at[1]]))
    here.pop(at, None)
    if following is not None:
        here[at] = following
        began = instant(following.entered_us)
        said += [Decided(str(name), began, None, *at, ZONES[at[1]]) for name in transitions if name != "EXIT"]
    return said


def commit(lake: FakeLake, said: Sequence[Said]) -> None:
    """What a capture file of each hub brings to silver."""
    for table, frame in (
        (DECISIONS, decision_rows(decided for item in said for decided in item.decided)),
        (GPS_ENRICHED, ping_rows(inside for item in said for inside in item.inside)),
        (PINGS, rows(PINGS, ({"enqueued_at": item.enqueued_at} for item in said))),
    ):
        lake.commit(table, frame, {unique("file"): 1})


def closed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("left_at").is_not_null()).sort("device_key", "store_id", "entered_at")


@given(st.lists(sent, min_size=8, max_size=40), st.lists(st.integers(0, 40), max_size=6))
@settings(deadline=None, max_examples=80)
def test_any_number_of_builds_on_the_way_ends_in_the_visits_of_one_build_at_the_end(pings, builds):
    said = [*played(pings), Said(NOON + 2000 * HOUR, [], [])]
    cuts = [0, *sorted(builds), len(said)]
    lake = FakeLake()
    for first, after in pairwise(cuts):
        commit(lake, said[first:after])
        GoldBuilder(lake, tables=(VISITS,)).build()
    at_once = FakeLake()
    commit(at_once, said)
    GoldBuilder(at_once, tables=(VISITS,)).build()
    assert closed(lake.rows(VISITS.table)).equals(closed(at_once.rows(VISITS.table)))


def ended_after(*files: Sequence[Said]) -> list[tuple[str | None, Any]]:
    """What closed each visit, and how long after noon, when each of the files was followed by a build."""
    lake = FakeLake()
    for file in files:
        commit(lake, file)
        GoldBuilder(lake, tables=(VISITS,)).build()
    built = lake.rows(VISITS.table).sort("entered_at").to_dicts()
    return [(visit["closed_by"], visit["left_at"] and visit["left_at"] - NOON) for visit in built]


def at(hours: float, decided: Sequence[Decided] = (), inside: Sequence[Inside] = ()) -> Said:
    return Said(NOON + hours * HOUR, list(decided), list(inside))


ENTERED_AT_TEN = at(10, [Decided("ENTER", NOON + 10 * HOUR)], [Inside(NOON + 11 * HOUR)])


def test_a_visit_is_followed_into_the_next_day():
    after_midnight = at(13, inside=[Inside(NOON + 13 * HOUR)])
    assert ended_after([ENTERED_AT_TEN, after_midnight], [at(17.5)]) == [("silence", 13 * HOUR)]


def test_a_visit_of_the_next_day_takes_its_pings_from_that_of_the_day_before():
    again = at(13, [Decided("ENTER", NOON + 13 * HOUR)], [Inside(NOON + 14 * HOUR)])
    assert ended_after([ENTERED_AT_TEN, again, at(14.5)], [at(15.5)]) == [("silence", 11 * HOUR), (None, None)]


def test_what_came_days_late_from_the_day_after_corrects_a_visit_that_is_closed():
    late, again = Inside(NOON + 13 * HOUR), Decided("ENTER", NOON + 14 * HOUR)
    files = [ENTERED_AT_TEN], [at(90)], [at(90, inside=[late])]
    assert ended_after(*files[:2]) == [("silence", 11 * HOUR)]
    assert ended_after(*files) == [("silence", 13 * HOUR)]
    follows = at(90, [again], [Inside(NOON + 14 * HOUR)])
    assert ended_after(*files, [follows])[0] == ("silence", 13 * HOUR)


def test_a_decision_that_came_days_late_takes_pings_from_the_visit_before_it():
    pings = [Inside(NOON + hours * HOUR) for hours in (11, 13, 14)]
    files = [ENTERED_AT_TEN, at(14, inside=pings)], [at(90)], [at(90, [Decided("ENTER", NOON + 13 * HOUR)])]
    assert ended_after(*files[:2]) == [("silence", 14 * HOUR)]
    assert ended_after(*files) == [("silence", 11 * HOUR), ("silence", 14 * HOUR)]
