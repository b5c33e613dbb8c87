"""Refining a capture file: once in every table of its hub, whatever happens in between."""

import io
import json
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import fastavro
import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.decision import Decision, DecisionReason, Outcome, SeenPing
from shared.domain.events import RECEIPT_TYPE, ReceiptData, ReceiptEvent, microseconds
from shared.domain.promotions import Transition
from shared.errors import CaptureFileTooOld, CaptureFileUnreadable, LakeUnavailable, ReferenceUnavailable
from shared.medallion.captures import CAPTURES, CaptureProperties
from shared.medallion.decisions import DECISIONS
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.lake import CAPTURED_TABLES
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.medallion.receipts import RECEIPTS
from shared.workflows.messages import encode_decision
from shared.workflows.refine import Status
from tests.fakes_lake import (
    HUBS,
    NOON,
    REMEMBERED,
    WINDOW,
    FakeCaptures,
    FakeLake,
    FakeReferences,
    at,
    capture_file,
    record,
    reference,
    refiner,
)

STORE = {"store_id": "s", "latitude": 51.5, "longitude": -0.1}
HERE = FakeReferences.always(reference("v1", [STORE]))
TABLES = (PINGS, GPS_ENRICHED, BODIES)


def ping(device_id: str = "d", latitude: float = 51.5, **values: object) -> bytes:
    usual = {"device_id": device_id, "latitude": latitude, "longitude": -0.1, "tracked_at": NOON.isoformat()}
    return json.dumps(usual | values).encode()


def decision_event(decided_at: datetime, store_id: str | None, entered_at: datetime | None = None) -> bytes:
    us = microseconds(decided_at)
    seen = SeenPing("shopper", 51.5, -0.1, us, us, 5.0, "0", 7, ())
    reason = DecisionReason.NO_PROMOTION
    entered_us = None if entered_at is None else microseconds(entered_at)
    made = Decision(seen, "v1", Outcome.NOT_SENT, reason, store_id, Transition.ENTER, entered_us=entered_us)
    return encode_decision(made).encode()


BODIES_OF_A_FILE = [ping("a"), b"hostile", ping("b", 10.0), None, ping("a"), ping("c")]
PATH = at(NOON)


def captures(bodies: list[bytes | None] = BODIES_OF_A_FILE, **values: int) -> FakeCaptures:
    return FakeCaptures({PATH: capture_file([record(row, body) for row, body in enumerate(bodies)])}, **values)


def test_a_file_becomes_pings_those_near_a_store_and_quarantined_bodies():
    lake = FakeLake()
    report = refiner(lake, captures(), HERE).refine(PATH)
    assert report.rows == {"quarantine.bodies": 2, "silver.gps_enriched": 3, "silver.pings": 4}
    assert (report.status, report.events) == (Status.REFINED, 6)
    assert lake.rows(PINGS)["sequence_number"].to_list() == [0, 2, 4, 5]
    assert lake.rows(PINGS)["is_duplicate"].to_list() == [False, False, True, False]
    assert lake.rows(BODIES)["sequence_number"].to_list() == [1, 3]
    assert lake.rows(GPS_ENRICHED)["store_id"].to_list() == ["s", "s", "s"]


def test_every_event_is_in_exactly_one_of_pings_and_quarantine():
    lake = FakeLake()
    refiner(lake, captures(), HERE).refine(PATH)
    numbers = pl.concat([lake.rows(table)["sequence_number"] for table in (PINGS, BODIES)])
    assert sorted(numbers) == list(range(6))


def test_a_file_that_is_delivered_again_is_not_even_read():
    lake, files = FakeLake(), captures()
    refiner(lake, files, HERE).refine(PATH)
    again = refiner(lake, files, HERE).refine(PATH)
    assert (again.status, again.rows, files.reads) == (Status.ALREADY_DONE, {}, 1)


def test_the_ledger_is_committed_after_every_table_and_says_that_the_file_is_done():
    lake = FakeLake()
    refiner(lake, captures(), HERE).refine(PATH)
    assert lake.committed == ["quarantine.bodies", "silver.gps_enriched", "silver.pings", "silver.captures"]


def test_the_ledger_says_what_the_file_held_and_when_it_was_captured_and_refined():
    lake, refined_at, last = FakeLake(), NOON + timedelta(hours=2, microseconds=7), NOON + timedelta(seconds=50)
    file = capture_file(
        [record(0, ping(), last), record(1, b"bad", NOON), record(2, None, NOON + timedelta(seconds=9))]
    )
    refiner(lake, FakeCaptures({PATH: file}, frame_rows=2), HERE, now=refined_at).refine(PATH)
    assert lake.rows(CAPTURES).rows(named=True) == [
        {
            "hub": "dev-readfrom",
            "partition_id": "0",
            "source_file": PATH,
            "capture_date": NOON.date(),
            "window_start": NOON,
            "captured_at": NOON + WINDOW,
            "refined_at": refined_at,
            "bytes": len(file),
            "events": 3,
            "first_enqueued_at": NOON,
            "last_enqueued_at": last,
        }
    ]


@pytest.mark.parametrize("commits", [0, 1, 2, 3])
def test_a_worker_that_dies_between_two_commits_is_made_good_by_the_next_delivery(commits):
    whole, lake = FakeLake(), FakeLake(crash_after=commits)
    refiner(whole, captures(), HERE).refine(PATH)
    with pytest.raises(LakeUnavailable):
        refiner(lake, captures(), HERE).refine(PATH)
    assert not lake.has_file(CAPTURES, PATH), "nobody may take the file for done"
    lake.crash_after = None
    report = refiner(lake, captures(), HERE).refine(PATH)
    assert (report.status, len(report.rows)) == (Status.REFINED, 3 - commits)
    assert all(lake.rows(table).equals(whole.rows(table)) for table in (*TABLES, CAPTURES))
    assert refiner(lake, captures(), HERE).refine(PATH).status is Status.ALREADY_DONE


def test_a_file_of_which_the_storage_does_not_tell_the_size_commits_nothing():
    class Gone(FakeCaptures):
        def properties(self, path: str) -> CaptureProperties:
            raise LakeUnavailable(f"no answer about {path}")

    lake = FakeLake()
    with pytest.raises(LakeUnavailable):
        refiner(lake, Gone(captures().files), HERE).refine(PATH)
    assert lake.committed == []


@given(st.lists(st.sampled_from((ping("a"), ping("b", 10.0), b"bad", None)), max_size=12), st.lists(st.integers(0, 3)))
@settings(deadline=None, max_examples=40)
def test_whatever_deaths_and_redeliveries_each_event_is_there_once(bodies, deaths):
    lake, files = FakeLake(), captures(bodies, frame_rows=5)
    for commits in deaths:
        lake.crash_after = len(lake.committed) + commits
        with suppress(LakeUnavailable):
            refiner(lake, files, HERE).refine(PATH)
    lake.crash_after = None
    refiner(lake, files, HERE).refine(PATH)
    numbers = pl.concat([lake.rows(table)["sequence_number"] for table in (PINGS, BODIES)])
    assert sorted(numbers) == list(range(len(bodies)))


def test_a_file_of_which_no_ping_can_be_used_is_done_all_the_same():
    lake = FakeLake()
    report = refiner(lake, captures([b"bad"]), HERE).refine(PATH)
    assert report.rows == {"quarantine.bodies": 1}
    assert lake.has_file(CAPTURES, PATH)
    assert refiner(lake, captures(), HERE).refine(PATH).status is Status.ALREADY_DONE


def test_an_empty_window_leaves_no_trace():
    lake = FakeLake()
    report = refiner(lake, captures([]), HERE).refine(PATH)
    assert (report.status, report.events, lake.committed) == (Status.EMPTY, 0, [])


def test_each_ping_is_enriched_by_the_version_in_force_when_it_was_enqueued():
    noon, one = NOON, NOON + timedelta(hours=1)
    old, new = reference("old", [STORE]), reference("new", [STORE | {"store_id": "t"}])
    references = FakeReferences([(old, datetime(1970, 1, 1, tzinfo=UTC)), (new, one)])
    times = [noon, one - timedelta(seconds=1), one, one + timedelta(minutes=1)]
    data = capture_file([record(row, ping(tracked_at=NOON.isoformat()), time) for row, time in enumerate(times)])
    lake = FakeLake()
    refiner(lake, FakeCaptures({PATH: data}), references).refine(PATH)
    enriched = lake.rows(GPS_ENRICHED).sort("sequence_number")
    assert enriched["reference_version"].to_list() == ["old", "old", "new", "new"]
    assert enriched["store_id"].to_list() == ["s", "s", "t", "t"]
    assert references.refreshed_to_us == round(times[-1].timestamp() * 1_000_000)


def test_a_decision_has_the_dates_at_its_store_by_the_version_in_force_when_it_was_decided():
    tokyo, unknown = STORE | {"time_zone": "Asia/Tokyo"}, STORE | {"store_id": "other"}
    at_20, at_21 = (datetime(2026, 3, 29, hour, tzinfo=UTC) for hour in (20, 21))
    references = FakeReferences(
        [(reference("old", [tokyo]), datetime(1970, 1, 1, tzinfo=UTC)), (reference("new", [unknown]), at_21)]
    )
    entered = datetime(2026, 3, 29, 14, 59, tzinfo=UTC)
    bodies = [decision_event(at_20, "s", entered), decision_event(at_21, "s", entered), decision_event(at_20, None)]
    path, lake = at(at_21, HUBS.decisions), FakeLake()
    data = capture_file([record(row, body, at_21) for row, body in enumerate(bodies)])
    refiner(lake, FakeCaptures({path: data}), references, now=at_21).refine(path)
    assert lake.rows(DECISIONS).select("event_date", "entered_date").rows() == [
        (date(2026, 3, 30), date(2026, 3, 29)),
        (date(2026, 3, 29), date(2026, 3, 29)),
        (date(2026, 3, 29), None),
    ]
    assert references.refreshed_to_us == microseconds(at_21)


def test_what_is_no_event_of_its_hub_is_quarantined():
    offers, decisions = at(NOON, HUBS.offers), at(NOON, HUBS.decisions)
    data = capture_file([record(0, b"no event of ours")])
    files, lake = FakeCaptures({offers: data, decisions: data}), FakeLake()
    for path in (offers, decisions):
        assert refiner(lake, files, HERE).refine(path).rows == {"quarantine.bodies": 1}
        assert lake.has_file(CAPTURES, path)
    assert lake.rows(BODIES)["reason"].to_list() == ["not_understood"] * 2


def receipt_event(offered_at: datetime, store_id: str) -> bytes:
    data = ReceiptData(
        offer_id="o",
        device_id="shopper",
        store_id=store_id,
        promotion_id="p",
        offered_at=offered_at,
        outcome="delivered",
        attempts=1,
        status=200,
    )
    return msgspec.json.encode(ReceiptEvent(id="r", type=RECEIPT_TYPE, time=offered_at, data=data))


def test_decisions_and_receipts_of_one_hub_go_to_their_tables_each_with_the_date_at_its_own_store():
    tokyo = STORE | {"store_id": "t", "time_zone": "Asia/Tokyo"}
    then = datetime(2026, 3, 29, 20, tzinfo=UTC)
    bodies = [
        receipt_event(then, "t"),
        decision_event(then, "s"),
        b"bad",
        receipt_event(then, "s"),
        b'{"type":"other"}',
    ]
    path, lake = at(then, HUBS.decisions), FakeLake()
    files = FakeCaptures({path: capture_file([record(row, body, then) for row, body in enumerate(bodies)])})
    refiner(lake, files, FakeReferences.always(reference("v1", [STORE, tokyo])), now=then).refine(path)
    assert lake.rows(RECEIPTS).select("sequence_number", "event_date").rows() == [
        (0, date(2026, 3, 30)),
        (3, date(2026, 3, 29)),
    ]
    assert lake.rows(DECISIONS).select("sequence_number", "event_date").rows() == [(1, date(2026, 3, 29))]
    assert sorted(lake.rows(BODIES)["sequence_number"]) == [2, 4]
    assert lake.committed == ["quarantine.bodies", "silver.receipts", "silver.decisions", "silver.captures"]


def test_a_file_that_the_lake_may_have_forgotten_is_refused_with_its_reason():
    lake = FakeLake()
    with pytest.raises(CaptureFileTooOld, match=r"older than 37 days .* could count its events twice"):
        refiner(lake, captures(), HERE, now=NOON + REMEMBERED + timedelta(seconds=1)).refine(PATH)
    assert lake.committed == []
    assert refiner(lake, captures(), HERE, now=NOON + REMEMBERED).refine(PATH).status is Status.REFINED


def test_a_file_of_a_hub_that_is_none_of_ours_is_refused_by_name():
    with pytest.raises(CaptureFileUnreadable, match="hub 'other' is none of ours"):
        refiner(FakeLake(), captures(), HERE).refine(at(NOON, "other"))


def people() -> bytes:
    data = io.BytesIO()
    schema = {"type": "record", "name": "Person", "fields": [{"name": "name", "type": "string"}]}
    fastavro.writer(data, fastavro.parse_schema(schema), [{"name": "Ada"}])
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"device_id,latitude\n", "not .*Avro"),
        (b"", "the file has no bytes"),
        (capture_file([record(0, ping()), record(1, ping())])[:-20], "cut short"),
        (people(), "no capture file: its records have no SequenceNumber"),
    ],
    ids=["no Avro", "nothing at all", "cut short", "Avro of something else"],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_reason_and_the_rest_of_the_lake_is_not_touched(data, reason):
    files, lake, broken = captures(frame_rows=1), FakeLake(), at(NOON, partition_id=1)
    files.files[broken] = data
    refiner(lake, files, HERE).refine(PATH)
    before = {table: lake.rows(table) for table in (*CAPTURED_TABLES, CAPTURES)}
    with pytest.raises(CaptureFileUnreadable, match=f"{broken}.*{reason}"):
        refiner(lake, files, HERE).refine(broken)
    assert all(lake.rows(table).equals(rows) for table, rows in before.items())
    assert not any(lake.has_file(table, broken) for table in before)


def test_a_ping_more_than_seven_days_late_goes_to_quarantine_as_too_late():
    week_ago = NOON - timedelta(days=7)
    times = [week_ago, week_ago - timedelta(microseconds=1)]
    lake = FakeLake()
    refiner(lake, captures([ping(tracked_at=time.isoformat()) for time in times]), HERE).refine(PATH)
    assert lake.rows(PINGS).select("sequence_number", "delay_s").rows() == [(0, 7 * 86_400.0)]
    assert lake.rows(BODIES).select("sequence_number", "reason").rows() == [(1, "too_late")]


def test_without_reference_data_the_file_waits():
    class Nothing(FakeReferences):
        def refresh(self, newest_enqueued_us: int) -> None:
            raise ReferenceUnavailable("nothing was ever published")

    lake = FakeLake()
    with pytest.raises(ReferenceUnavailable):
        refiner(lake, captures(), Nothing([])).refine(PATH)
    assert lake.committed == []


def test_the_report_has_every_figure_as_a_field():
    fields = refiner(FakeLake(), captures(), HERE).refine(PATH).fields()
    assert fields == {
        "file": PATH, "status": "refined", "events": 6,
        "quarantine.bodies": 2, "silver.gps_enriched": 3, "silver.pings": 4,
    }  # fmt: skip
