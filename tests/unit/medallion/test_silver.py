"""Silver: what a captured frame means, row by row."""

import hashlib
import hmac
import json
from datetime import UTC, date, datetime, timedelta
from itertools import product

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.decision import Decision, DecisionReason, Offer, Outcome, SeenPing
from shared.domain.events import DECISION_TYPE, RECEIPT_TYPE, ReceiptEvent
from shared.domain.local_time import ALL_DAYS, DayWindow, WeeklyHours, Window, local_date, local_time
from shared.domain.pings import PingBatch, Reason, RejectedPing
from shared.domain.promotions import Promotion, StoreSelector, Transition
from shared.domain.reference import ReferenceData
from shared.errors import CaptureFileUnreadable, ConfigurationError
from shared.medallion.bronze import CapturePath
from shared.medallion.cloud_events import rows_by_type
from shared.medallion.decisions import DECISIONS, decode_decisions, refine_decisions
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.event_dates import event_dates
from shared.medallion.gps_enriched import GPS_ENRICHED, NO_PROMOTION, best_promotion, enrich
from shared.medallion.lake import CAPTURED_TABLES, LAKE_TABLES
from shared.medallion.offers import OFFERS, decode_offers, refine_offers
from shared.medallion.pings import PINGS, Repeats, refine_pings
from shared.medallion.quarantine import BODIES, quarantine
from shared.medallion.receipts import RECEIPTS, decode_receipts, refine_receipts
from shared.medallion.tables import INSTANT, PROVENANCE, Layer
from shared.settings import DeviceKey
from shared.workflows.messages import encode_decision, encode_offer
from tests.fakes_lake import KEYS, NOON, at, captured, reference

FILE = CapturePath.parse(at(NOON))
SECRET = b"a secret of 16 bytes or more"


def us(instant: datetime) -> int:
    return round(instant.timestamp() * 1_000_000)


def batch(*pings: tuple[str, float, float, datetime], rows: list[int] | None = None) -> PingBatch:
    device_id, latitude, longitude, tracked_at = zip(*pings, strict=True) if pings else ((), (), (), ())
    return PingBatch(
        row=np.array(range(len(pings)) if rows is None else rows, dtype=np.int64),
        device_id=list(device_id),
        latitude=np.array(latitude, dtype=np.float64),
        longitude=np.array(longitude, dtype=np.float64),
        tracked_at_us=np.array([us(instant) for instant in tracked_at], dtype=np.int64),
        accuracy_m=np.full(len(pings), np.nan),
        consent=np.full(len(pings), -1, dtype=np.int8),
        ping_id=[None] * len(pings),
        rejected=[],
    )


def pings_of(*pings: tuple[str, float, float, datetime], repeats: Repeats | None = None) -> pl.DataFrame:
    return refine_pings(captured([b"{}"] * len(pings)), batch(*pings), FILE, KEYS, repeats or Repeats())


# Where a row comes from


def test_a_capture_path_says_hub_partition_and_the_start_of_its_window():
    path = CapturePath.parse("ns/dev-readfrom/12/2026/03/29/23/59/07.avro")
    assert (path.namespace, path.hub, path.partition_id) == ("ns", "dev-readfrom", "12")
    assert path.window_start == datetime(2026, 3, 29, 23, 59, 7, tzinfo=UTC)
    assert path.capture_date.isoformat() == "2026-03-29"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "file.avro",
        "ns/hub/0/2026/03/29/23/59/07",
        "ns/hub/0/2026/3/29/23/59/07.avro",
        "ns/hub/zero/2026/03/29/23/59/07.avro",
        "a/ns/hub/0/2026/03/29/23/59/07.avro",
        "ns/hub/0/2026/02/30/23/59/07.avro",
        "ns/hub/0/2026/03/29/24/00/00.avro",
        "ns/hub/٣/2026/03/29/23/59/07.avro",
    ],
)
def test_a_foreign_path_is_refused_with_its_name(path):
    with pytest.raises(CaptureFileUnreadable, match=r"capture file's path|UTC date") as refused:
        CapturePath.parse(path)
    assert repr(path) in str(refused.value)


def test_every_silver_row_says_where_it_came_from():
    row = pings_of(("d", 51.5, -0.1, NOON)).row(0, named=True)
    assert {name: row[name] for name in PROVENANCE} == {
        "hub": "dev-readfrom",
        "partition_id": "0",
        "sequence_number": 0,
        "enqueued_at": NOON,
        "source_file": FILE.path,
        "capture_date": NOON.date(),
    }


@pytest.mark.parametrize("table", LAKE_TABLES, ids=str)
def test_no_table_but_the_quarantine_holds_what_a_device_sent(table):
    assert "device_id" not in table.schema
    assert ("body" in table.schema) == (table.layer is Layer.QUARANTINE)


@pytest.mark.parametrize("table", CAPTURED_TABLES, ids=str)
def test_what_capture_files_are_refined_into_carries_its_provenance(table):
    assert PROVENANCE.items() <= dict(table.schema).items()
    assert table.partition_by == "capture_date"


# device_key


def test_a_device_key_is_the_hmac_of_the_device_id_under_its_secret():
    key = KEYS.key(["shopper"], np.array([0]))[0]
    assert key == "k1:" + hmac.new(SECRET, b"shopper", hashlib.sha256).hexdigest()[:32]


def test_the_secret_is_chosen_by_enqueued_time():
    keys = DeviceKeys([DeviceKey("a", b"x" * 16), DeviceKey("b", b"y" * 16, from_us=100)])
    made = keys.key(["d", "d", "d", "e"], np.array([0, 99, 100, 101]))
    assert [key.partition(":")[0] for key in made] == ["a", "a", "b", "b"]
    assert made[0] == made[1] != made[2]
    assert keys.key(["d"], np.array([100]))[0] == made[2]


def test_an_event_before_the_first_secret_is_served_by_the_first():
    keys = DeviceKeys([DeviceKey("late", b"x" * 16, from_us=100)])
    assert keys.key(["d"], np.array([5]))[0].startswith("late:")


def test_without_a_secret_nothing_is_refined():
    with pytest.raises(ConfigurationError, match="DEVICE_KEYS"):
        DeviceKeys([])


@given(st.lists(st.text(min_size=1, max_size=5), max_size=30))
@settings(deadline=None, max_examples=50)
def test_two_devices_have_the_same_key_only_if_they_are_the_same(device_ids):
    keys = KEYS.key(device_ids, np.zeros(len(device_ids), dtype=np.int64)).to_list()
    assert len(set(keys)) == len(set(device_ids))
    assert all(device_id not in key for device_id, key in zip(device_ids, keys, strict=True) if len(device_id) > 4)


# silver.pings


def test_delay_is_enqueued_minus_tracked_and_unknown_accuracy_is_null():
    early, late = NOON - timedelta(seconds=90, milliseconds=250), NOON + timedelta(seconds=2)
    pings = pings_of(("d", 51.5, -0.1, early), ("d", 51.5, -0.1, late))
    assert pings["delay_s"].to_list() == [90.25, -2.0]
    assert pings["tracked_at"].to_list() == [early, late]
    assert pings["accuracy_m"].to_list() == [None, None]


def test_a_ping_keeps_the_sequence_number_of_its_own_event():
    frame = captured([b"bad", b"good", b"bad", b"good"])
    pings = refine_pings(frame, batch(("a", 1.0, 1.0, NOON), ("b", 2.0, 2.0, NOON), rows=[1, 3]), FILE, KEYS, Repeats())
    assert pings["sequence_number"].to_list() == [1, 3]


def test_a_ping_said_again_is_a_duplicate_in_the_same_frame_and_in_a_later_one_of_the_file():
    said, elsewhere = ("d", 51.5, -0.1, NOON), ("d", 51.5, -0.2, NOON)
    later = ("d", 51.5, -0.1, NOON + timedelta(seconds=1))
    other_device, repeats = ("e", 51.5, -0.1, NOON), Repeats()
    first = pings_of(said, elsewhere, said, later, other_device, repeats=repeats)
    assert first["is_duplicate"].to_list() == [False, False, True, False, False]
    assert pings_of(later, ("f", 51.5, -0.1, NOON), repeats=repeats)["is_duplicate"].to_list() == [True, False]
    assert pings_of(said)["is_duplicate"].to_list() == [False], "another file starts anew"


@given(st.lists(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), max_size=8), max_size=5))
@settings(deadline=None, max_examples=60)
def test_however_a_file_is_cut_into_frames_the_same_pings_are_duplicates(frames):
    repeats = Repeats()
    cut = [pings_of(*((d, 51.0, float(x), NOON) for d, x in frame), repeats=repeats) for frame in frames if frame]
    seen: set[tuple[str, int]] = set()
    expected = []
    for ping in (ping for frame in frames for ping in frame):
        expected.append(ping in seen)
        seen.add(ping)
    assert [flag for frame in cut for flag in frame["is_duplicate"]] == expected


# silver.gps_enriched

STORES = (
    {"store_id": "near", "latitude": 51.5, "longitude": -0.1, "merchant": "Tesco", "location": "Camden"},
    {"store_id": "beside", "latitude": 51.5005, "longitude": -0.1, "merchant": "Costa", "location": "Soho"},
    {"store_id": "far", "latitude": 52.0, "longitude": -0.1},
)


def promotion(promotion_id: str, discount: float, *merchants: str, **window: int) -> Promotion:
    return Promotion(
        promotion_id, discount, "hi", StoreSelector(merchants=frozenset(merchants) if merchants else None), **window
    )


def test_a_ping_near_two_stores_is_two_rows_and_one_near_none_is_no_row():
    enriched = enrich(pings_of(("d", 51.5, -0.1, NOON), ("e", 51.7, -0.1, NOON)), reference("v7", STORES))
    assert enriched.schema == GPS_ENRICHED.schema
    assert enriched["store_id"].to_list() == ["near", "beside"]
    assert enriched["merchant"].to_list() == ["Tesco", "Costa"]
    assert enriched["location"].to_list() == ["Camden", "Soho"]
    assert enriched["distance_m"].round(2).to_list() == [0.0, 55.63]
    assert enriched["reference_version"].to_list() == ["v7", "v7"]
    assert enriched["sequence_number"].to_list() == [0, 0]


def test_the_exit_margin_is_not_near():
    just_outside = {"store_id": "s", "latitude": 51.5, "longitude": -0.1, "radius_m": 50.0}
    assert enrich(pings_of(("d", 51.5005, -0.1, NOON)), reference("v", [just_outside])).is_empty()


def test_the_best_discount_that_ran_in_the_store_then_is_joined_and_the_row_stays_without_one():
    data = reference(
        "v",
        STORES,
        promotion("all", 10.0),
        promotion("tesco", 30.0, "Tesco", ends_at_us=us(NOON)),
        promotion("future", 90.0, starts_at_us=us(NOON) + 1),
    )
    before = enrich(pings_of(("d", 51.5, -0.1, NOON - timedelta(microseconds=1))), data)
    after = enrich(pings_of(("d", 51.5, -0.1, NOON)), data)
    assert before["promotion_id"].to_list() == ["tesco", "all"]
    assert before["discount_percent"].to_list() == [30.0, 10.0]
    assert after["promotion_id"].to_list() == ["all", "all"], "the end is exclusive"
    none = enrich(pings_of(("d", 51.5, -0.1, NOON)), reference("v", STORES))
    assert none.select("promotion_id", "discount_percent").rows() == [(None, None)] * 2


def test_of_equal_discounts_the_first_id_wins():
    data = reference("v", STORES, promotion("b", 20.0), promotion("a", 20.0))
    assert enrich(pings_of(("d", 51.5, -0.1, NOON)), data)["promotion_id"].to_list() == ["a", "a"]


LATE = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)


def test_the_event_date_is_the_day_at_the_store():
    zones = ("Europe/London", "Asia/Tokyo", "America/New_York", "", "Asia/Tokyo")
    stores = [
        {"store_id": str(n), "latitude": 51.5, "longitude": -0.1, "time_zone": zone} for n, zone in enumerate(zones)
    ]
    enriched = enrich(pings_of(("d", 51.5, -0.1, LATE), ("e", 51.5, -0.1, NOON)), reference("v", stores))
    days = {(row["tracked_at"], row["store_id"]): row["event_date"].day for row in enriched.rows(named=True)}
    assert [days[LATE, str(number)] for number in range(5)] == [28, 29, 28, 28, 29]
    assert [days[NOON, str(number)] for number in range(5)] == [29, 29, 29, 29, 29]


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(us(datetime(2015, 1, 1, tzinfo=UTC)), us(datetime(2037, 1, 1, tzinfo=UTC))),
            st.sampled_from(("Europe/London", "Asia/Tokyo", "America/St_Johns", "America/Sao_Paulo", "UTC", "")),
        ),
        max_size=30,
    )
)
@settings(deadline=None, max_examples=60)
def test_an_event_date_in_columns_is_the_one_that_the_clock_on_the_wall_shows(events):
    dates = event_dates(
        pl.Series([at_us for at_us, _ in events], dtype=pl.Int64).cast(INSTANT),
        pl.Series([zone for _, zone in events], dtype=pl.String),
    )
    assert dates.to_list() == [at_us and local_date(at_us, zone or "UTC") for at_us, zone in events]


instants = st.integers(0, 20).map(lambda hours: hours * 3_600_000_000)
windows = st.none() | instants
daily_hours = st.builds(Window, st.sampled_from((0, 120, 1320)), st.sampled_from((60, 600, 1440)))
promotions = st.builds(
    lambda number, discount, merchants, start, end, priority, window: Promotion(
        f"p{number}",
        discount,
        "",
        StoreSelector(merchants=merchants),
        start,
        end,
        priority=priority,
        hours=window and WeeklyHours((DayWindow(ALL_DAYS, window),)),
    ),
    st.integers(0, 99),
    st.sampled_from((10.0, 20.0, 30.0)),
    st.none() | st.frozensets(st.sampled_from(("Tesco", "Costa"))),
    windows,
    windows,
    st.integers(0, 1),
    st.none() | daily_hours,
)
IN_ZONES = tuple(
    {"store_id": str(row), "latitude": 51.5, "longitude": -0.1, "merchant": merchant, "time_zone": zone}
    for row, (merchant, zone) in enumerate(product(("Tesco", "Costa"), ("Asia/Tokyo", "UTC", "")))
)


def is_on(item: Promotion, store: int, instant_us: int, data: ReferenceData) -> bool:
    zone = data.stores.time_zone[store]
    in_hours = item.hours is None or (zone != "" and item.hours.contains(local_time(instant_us, zone)))
    return item.runs_at(instant_us) and in_hours and bool(item.stores.selected(data.stores)[store])


@given(
    st.lists(promotions, max_size=6, unique_by=lambda item: item.promotion_id),
    st.lists(st.tuples(st.integers(0, len(IN_ZONES) - 1), instants), max_size=20),
)
@settings(deadline=None, max_examples=100)
def test_the_promotion_in_columns_is_the_one_that_the_domain_says_one_by_one(offered, visits):
    data = reference("v", IN_ZONES, *offered)
    stores = np.array([store for store, _ in visits], dtype=np.int64)
    instants = np.array([instant for _, instant in visits], dtype=np.int64)
    expected = []
    for store, instant in visits:
        running = [
            (-item.priority, -item.discount_percent, item.promotion_id, row)
            for row, item in enumerate(offered)
            if is_on(item, store, instant, data)
        ]
        expected.append(min(running)[3] if running else NO_PROMOTION)
    assert best_promotion(stores, instants, data).tolist() == expected


# quarantine.bodies


def test_a_rejected_body_keeps_its_reason_and_its_event():
    frame = captured([b"ok", b"\xff\x00", None])
    rejected = [RejectedPing(2, Reason.NOT_UNDERSTOOD, "no body"), RejectedPing(1, Reason.NOT_UTF8, "byte 0")]
    bodies = quarantine(frame, rejected, FILE)
    assert bodies.schema == BODIES.schema
    assert bodies.select("reason", "detail", "body", "body_bytes", "sequence_number").rows() == [
        ("not_understood", "no body", None, None, 2),
        ("not_utf8", "byte 0", b"\xff\x00", 2, 1),
    ]


def test_of_a_large_body_the_first_4096_bytes_are_kept():
    row = quarantine(captured([b"x" * 10_000]), [RejectedPing(0, Reason.TOO_LARGE, "")], FILE).row(0, named=True)
    assert (len(row["body"]), row["body_bytes"]) == (4096, 10_000)


# silver.offers and silver.decisions


def decision(**changed: object) -> Decision:
    ping = SeenPing("shopper", 51.5, -0.1, us(NOON) - 1_500_000, us(NOON), 5.0, "3", 77, ())
    values: dict[str, object] = {
        "ping": ping,
        "reference_version": "v7",
        "outcome": Outcome.SENT,
        "reason": None,
        "store_id": "near",
        "transition": Transition.ENTER,
        "promotion_id": "p1",
        "distance_m": 12.34567,
        "entered_us": us(NOON),
    }
    return Decision(**(values | changed))  # type: ignore[arg-type]


def test_an_offer_as_it_is_published_becomes_its_row():
    sent = Offer(decision(), Promotion("p1", 20.0, "20 % off", ends_at_us=us(NOON) + 10), "Tesco", "Camden")
    body = encode_offer(sent, delivery_window_s=300).encode()
    row = refine_offers(captured([body]), decode_offers([body]), FILE, KEYS).row(0, named=True)
    assert row == {
        "offer_id": str(sent.decision.offer_id),
        "offered_at": NOON,
        "device_key": KEYS.key(["shopper"], np.array([us(NOON)]))[0],
        "store_id": "near",
        "merchant": "Tesco",
        "location": "Camden",
        "promotion_id": "p1",
        "discount_percent": 20.0,
        "message": "20 % off",
        "transition": "ENTER",
        "distance_m": 12.346,
        "latitude": 51.5,
        "longitude": -0.1,
        "valid_until": NOON + timedelta(microseconds=10),
        "deliver_by": NOON + timedelta(minutes=5),
        **{name: row[name] for name in PROVENANCE},
    }


UNSENT = {"outcome": Outcome.NOT_SENT, "promotion_id": None}
PUBLISHED = {
    "sent": decision(),
    "not sent": decision(outcome=Outcome.NOT_SENT, reason=DecisionReason.COOLDOWN),
    "an exit": decision(**UNSENT, reason=DecisionReason.NO_PROMOTION, transition=Transition.EXIT, left_us=us(NOON) + 7),
    "a geofence that came": decision(outcome=Outcome.NOT_SENT, reason=DecisionReason.GEOFENCE_CHANGED, transition=None),
    "low accuracy": decision(**UNSENT, reason=DecisionReason.LOW_ACCURACY, transition=None, entered_us=None),
    "failed": Decision(decision().ping, "v7", Outcome.FAILED, DecisionReason.INTERNAL_ERROR),
}


@pytest.mark.parametrize("made", PUBLISHED.values(), ids=PUBLISHED.keys())
def test_a_decision_as_it_is_published_becomes_its_row(made):
    body = encode_decision(made).encode()
    decoded = decode_decisions([body])
    assert decoded.rejected == []
    zones = pl.Series(["Europe/London"])
    row = refine_decisions(captured([body]), decoded, zones, FILE, KEYS).row(0, named=True)
    assert row["decision_id"] == str(made.decision_id)
    assert row["offer_id"] == (None if made.offer_id is None else str(made.offer_id))
    assert (row["outcome"], row["reason"]) == (str(made.outcome), None if made.reason is None else str(made.reason))
    assert (row["store_id"], row["promotion_id"]) == (made.store_id, made.promotion_id)
    assert row["transition"] == (None if made.transition is None else str(made.transition))
    visit = [
        None if at_us is None else datetime.fromtimestamp(at_us / 1e6, UTC) for at_us in (made.entered_us, made.left_us)
    ]
    assert [row["entered_at"], row["left_at"]] == visit
    assert (row["ping_partition_id"], row["ping_sequence_number"]) == ("3", 77)
    assert (row["partition_id"], row["sequence_number"]) == ("0", 0)
    assert (row["decided_at"], row["tracked_at"]) == (NOON, NOON - timedelta(seconds=1.5))
    assert "shopper" not in map(str, row.values())


RECEIPT = {
    "specversion": "1.0",
    "id": "r1",
    "source": "footfall/deliver_offers",
    "type": "footfall.receipt.v1",
    "subject": "shopper",
    "time": "2026-03-29T12:00:09Z",
    "datacontenttype": "application/json",
    "data": {
        "offer_id": "o1",
        "device_id": "shopper",
        "store_id": "near",
        "promotion_id": "p1",
        "offered_at": "2026-03-29T23:30:00+01:00",
        "outcome": "delivered",
        "attempts": 2,
        "status": 204,
    },
}


def receipt(**data: object) -> bytes:
    return json.dumps(RECEIPT | {"data": RECEIPT["data"] | data}).encode()  # type: ignore[operator]


def test_a_receipt_becomes_its_row():
    body = receipt()
    row = refine_receipts(captured([body]), decode_receipts([body]), pl.Series(["Asia/Tokyo"]), FILE, KEYS)
    assert row.schema == RECEIPTS.schema
    assert row.row(0, named=True) == {
        "receipt_id": "r1",
        "receipt_at": NOON + timedelta(seconds=9),
        "device_key": KEYS.key(["shopper"], np.array([us(NOON)]))[0],
        "offer_id": "o1",
        "store_id": "near",
        "promotion_id": "p1",
        "outcome": "delivered",
        "attempts": 2,
        "status": 204,
        "offered_at": datetime(2026, 3, 29, 22, 30, tzinfo=UTC),
        "event_date": date(2026, 3, 30),
        **{name: row[name].item() for name in PROVENANCE},
    }


@pytest.mark.parametrize("outcome", ["delivered", "expired", "given_up"])
def test_a_receipt_may_lack_the_status_of_a_receiver_that_never_answered(outcome):
    (event,) = decode_receipts([receipt(outcome=outcome, attempts=0, status=None)]).events
    assert (event.data.outcome, event.data.attempts, event.data.status) == (outcome, 0, None)
    assert msgspec.json.decode(msgspec.json.encode(event), type=ReceiptEvent) == event


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"outcome": "sent"}, "outcome"),
        ({"attempts": -1}, "attempts"),
        ({"attempts": "2"}, "attempts"),
        ({"status": 20}, "status"),
        ({"offered_at": "2026-03-29T12:00:00"}, "offered_at"),
        ({"store_id": None}, "store_id"),
    ],
    ids=str,
)
def test_a_receipt_that_is_not_as_agreed_is_rejected_and_says_where(wrong, detail):
    (rejected,) = decode_receipts([receipt(**wrong)]).rejected
    assert f"`$.data.{detail}`" in rejected.detail


def test_the_bodies_of_the_decisions_hub_are_told_apart_by_their_type():
    bodies = [receipt(), encode_decision(decision()).encode(), receipt(), None, b"x", json.dumps(OFFER).encode(), b"{}"]
    rows, rejected = rows_by_type(bodies, (DECISION_TYPE, RECEIPT_TYPE))
    assert rows == {DECISION_TYPE: [1], RECEIPT_TYPE: [0, 2]}
    assert sorted(item.row for item in rejected) == [3, 4, 5, 6]
    details = {item.row: item.detail for item in rejected}
    assert details[5] == "type is none of footfall.decision.v1, footfall.receipt.v1: 'footfall.offer.v1'"
    assert "`type`" in details[6]


def test_an_endless_type_is_quoted_in_part():
    (rejected,) = rows_by_type([json.dumps({"type": "x" * 100_000}).encode()], (DECISION_TYPE,))[1]
    assert len(rejected.detail) <= 200


OFFER = json.loads(encode_offer(Offer(decision(), Promotion("p1", 20.0, ""), "M", "L"), delivery_window_s=300))
NOT_UNDERSTOOD = {
    "null body": None,
    "empty": b"",
    "no json": b"offer",
    "no utf-8": b'{"id":"\xff"}',
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "another type": json.dumps(OFFER | {"type": "footfall.receipt.v1"}).encode(),
    "another version": json.dumps(OFFER | {"specversion": "0.3"}).encode(),
    "no data": json.dumps({key: OFFER[key] for key in OFFER if key != "data"}).encode(),
    "a time without offset": json.dumps(OFFER | {"time": "2026-03-29T12:00:00"}).encode(),
    "a number as text": json.dumps(OFFER | {"data": OFFER["data"] | {"distance_m": "12"}}).encode(),
    "a lone surrogate": json.dumps(OFFER | {"id": "\ud800"}).encode(),
    "an endless type": json.dumps(OFFER | {"type": "x" * 100_000}).encode(),
}


@pytest.mark.parametrize("body", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD.keys())
def test_what_is_no_offer_goes_to_quarantine_as_not_understood(body):
    decoded = decode_offers([body])
    assert [item.reason for item in decoded.rejected] == [Reason.NOT_UNDERSTOOD]
    assert 0 < len(decoded.rejected[0].detail) <= 200
    assert quarantine(captured([body]), decoded.rejected, FILE).height == 1
    assert refine_offers(captured([body]), decoded, FILE, KEYS).schema == OFFERS.schema


changes = st.dictionaries(st.sampled_from(sorted(OFFER)), st.none() | st.integers() | st.text())


@given(st.binary(max_size=50) | changes.map(lambda changed: json.dumps(OFFER | changed).encode()))
@settings(deadline=None, max_examples=200)
def test_no_body_of_the_offers_hub_is_lost_or_raises(body):
    decoded = decode_offers([body])
    offers = refine_offers(captured([body]), decoded, FILE, KEYS)
    assert offers.height + quarantine(captured([body]), decoded.rejected, FILE).height == 1


def test_times_at_the_ends_of_the_calendar_are_kept():
    for text in ("0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59.999999-05:00"):
        body = json.dumps(OFFER | {"time": text}).encode()
        assert refine_offers(captured([body]), decode_offers([body]), FILE, KEYS).height == 1


def test_a_sequence_number_of_more_than_64_bits_is_not_understood():
    event = json.loads(encode_decision(decision()))
    event["data"]["sequence_number"] = 2**64
    assert decode_decisions([json.dumps(event).encode()]).rejected[0].reason == Reason.NOT_UNDERSTOOD


def test_a_repeated_offer_is_kept_as_a_row_each_time():
    body = json.dumps(OFFER).encode()
    offers = refine_offers(captured([body, body]), decode_offers([body, body]), FILE, KEYS)
    assert (offers.height, offers["offer_id"].n_unique()) == (2, 1)


def test_an_empty_frame_gives_empty_tables():
    nothing = captured([])
    assert refine_pings(nothing, batch(), FILE, KEYS, Repeats()).schema == PINGS.schema
    assert refine_offers(nothing, decode_offers([]), FILE, KEYS).schema == OFFERS.schema
    no_zones = pl.Series(dtype=pl.String)
    assert refine_decisions(nothing, decode_decisions([]), no_zones, FILE, KEYS).schema == DECISIONS.schema
    assert refine_receipts(nothing, decode_receipts([]), no_zones, FILE, KEYS).schema == RECEIPTS.schema
