"""silver.stores and silver.promotions: what was published, once for every entry of the catalogue."""

import json
import logging
from datetime import UTC, datetime

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.promotions_file import read_promotions
from shared.adapters.reference_files import parse_reference
from shared.domain.events import instant, microseconds
from shared.domain.local_time import ALL_DAYS, DayWindow, WeeklyHours, Window
from shared.domain.promotions import ContactPolicy, Promotion, StoreSelector, Transition
from shared.errors import LakeUnavailable, ReferenceUnavailable
from shared.medallion.reference_tables import (
    PROMOTION_VERSIONS,
    STORE_VERSIONS,
    definition,
    promotion_versions,
    store_versions,
)
from shared.workflows.reference import (
    PublishedVersion,
    ReferenceCatalogue,
    ReferenceFiles,
    StoresFormat,
    publish,
)
from shared.workflows.reference_tables import ReferenceTables
from tests.fakes_lake import FakeLake, reference
from tests.fakes_reference import MemoryReferenceStore, reference_files

NOON_US = microseconds(datetime(2026, 3, 29, 12, tzinfo=UTC))
ENTRY = PublishedVersion("v1", active_from_us=NOON_US, published_at_us=NOON_US - 60_000_000)
STORES = (
    {"store_id": "a", "latitude": 51.5, "longitude": -0.1, "time_zone": "Europe/London"},
    {"store_id": "b", "latitude": 10.0, "longitude": 20.0, "radius_m": 35.5, "merchant": "Costa"},
)


# The rows


def test_a_store_of_a_version_is_a_row():
    rows = store_versions(reference("v1", STORES), ENTRY, ENTRY.published_at_us)
    assert rows.schema == STORE_VERSIONS.schema
    assert rows.row(0, named=True) == {
        "reference_version": "v1",
        "active_from": instant(NOON_US),
        "published_at": instant(NOON_US - 60_000_000),
        "store_id": "a",
        "name": "a",
        "merchant": "Tesco",
        "service_type": "Retail",
        "location": "Camden",
        "latitude": 51.5,
        "longitude": -0.1,
        "radius_m": 100.0,
        "loitering_delay_s": 180.0,
        "time_zone": "Europe/London",
        "polygon": None,
    }
    assert rows["store_id"].to_list() == ["a", "b"]


def test_a_geofence_that_is_no_circle_is_kept_to_the_last_digit_of_its_text():
    corner = 0.123456789012345
    square = [[0.0, 0.0], [0.002, 0.0], [0.002, corner / 100], [0.0, 0.002], [0.0, 0.0]]
    properties = {"name": "n", "merchant": "m", "service_type": "t", "location": "l"}
    features = [
        {
            "type": "Feature",
            "properties": properties | {"store_id": store_id, **more},
            "geometry": geometry,
        }
        for store_id, geometry, more in (
            ("circle", {"type": "Point", "coordinates": [0.5, 0.5]}, {"subType": "Circle", "radius": 50}),
            ("square", {"type": "Polygon", "coordinates": [square]}, {}),
        )
    ]
    stores = json.dumps({"type": "FeatureCollection", "features": features}).encode()
    data = parse_reference(ReferenceFiles(stores, b'{"promotions": []}', stores_format=StoresFormat.GEOJSON))
    polygons = store_versions(data, ENTRY, 0)["polygon"].to_list()
    assert polygons[0] is None
    assert shapely.from_wkt(polygons[1]).equals_exact(data.stores.polygons[1], tolerance=1e-15)


def test_a_promotion_of_a_version_is_a_row():
    first = Promotion("p0", 10, "ten", StoreSelector(merchants=frozenset({"Tesco", "Costa"})), ends_at_us=NOON_US)
    second = Promotion("p1", 20.5, "twenty £", trigger=Transition.DWELL, priority=3, holdout_percent=5, max_offers=100)
    rows = promotion_versions(reference("v1", STORES, first, second), ENTRY, 0)
    assert rows.schema == PROMOTION_VERSIONS.schema
    assert rows.drop("definition", "reference_version", "active_from", "published_at").rows(named=True) == [
        {
            "promotion_id": "p0",
            "position": 0,
            "discount_percent": 10.0,
            "message": "ten",
            "trigger": "ENTER",
            "priority": 0,
            "starts_at": None,
            "ends_at": instant(NOON_US),
            "holdout_percent": 0.0,
            "max_offers": None,
            "stores": '{"merchants": ["Costa", "Tesco"]}',
        },
        {
            "promotion_id": "p1",
            "position": 1,
            "discount_percent": 20.5,
            "message": "twenty £",
            "trigger": "DWELL",
            "priority": 3,
            "starts_at": None,
            "ends_at": None,
            "holdout_percent": 5.0,
            "max_offers": 100,
            "stores": '"all"',
        },
    ]


def test_a_version_without_promotions_has_stores_only():
    assert promotion_versions(reference("v1", STORES), ENTRY, 0).schema == PROMOTION_VERSIONS.schema
    assert promotion_versions(reference("v1", STORES), ENTRY, 0).is_empty()


def windows(latest: int) -> st.SearchStrategy[Window]:
    pairs = st.tuples(st.integers(0, 1439), st.integers(0, latest)).filter(lambda pair: pair[0] != pair[1])
    return pairs.map(lambda pair: Window(*pair))


names = st.none() | st.frozensets(st.text(min_size=1, max_size=9), min_size=1, max_size=3)
days = st.frozensets(st.integers(0, 6), min_size=1)
seconds = st.integers(0, 3600)
policies = st.builds(ContactPolicy, seconds, st.none() | st.integers(1, 5), seconds, st.none() | windows(1439), seconds)
instants = st.none() | st.integers(0, 4_000_000_000).map(lambda second: second * 1_000_000)
promotions = st.builds(
    Promotion,
    promotion_id=st.text(min_size=1, max_size=9),
    discount_percent=st.floats(0.5, 100),
    message=st.text(min_size=1, max_size=9),
    stores=st.builds(StoreSelector, names, names, names),
    starts_at_us=instants,
    hours=st.none()
    | st.lists(st.builds(DayWindow, days | st.just(ALL_DAYS), windows(1440)), min_size=1, max_size=3).map(
        lambda found: WeeklyHours(tuple(found))
    ),
    trigger=st.sampled_from((Transition.ENTER, Transition.DWELL)),
    priority=st.integers(-1000, 1000),
    holdout_percent=st.floats(0, 100),
    max_offers=st.none() | st.integers(1, 1000),
    policy=st.none() | policies,
)


@given(promotions)
@settings(deadline=None, max_examples=100)
def test_the_definition_of_a_promotion_says_all_of_it_in_the_words_of_promotions_json(promotion):
    text = json.dumps({"promotions": [definition(promotion)]}).encode()
    campaigns, faults = read_promotions(text, None, {})
    assert faults == []
    assert campaigns is not None
    assert campaigns.promotions == (promotion,)


# Once for every entry


def tables_of(store: MemoryReferenceStore, lake: FakeLake) -> ReferenceTables:
    return ReferenceTables(store, ReferenceCatalogue(store, parse_reference, lambda: 0).load, lake)


def put(store: MemoryReferenceStore, files: ReferenceFiles, at_us: int) -> PublishedVersion:
    return publish(
        files, store=store, parse=parse_reference, clock=lambda: at_us, activation_delay_s=60, partition_count=1
    ).entry


def discounts(lake: FakeLake) -> list[tuple[str, float]]:
    return lake.rows(PROMOTION_VERSIONS).select("reference_version", "discount_percent").rows()


def test_before_anything_is_published_there_is_nothing_to_do():
    lake = FakeLake()
    assert tables_of(MemoryReferenceStore(), lake).sync() == 0
    assert lake.committed == []


def test_each_entry_is_appended_once_also_a_version_that_comes_back():
    store, lake = MemoryReferenceStore(), FakeLake()
    tables = tables_of(store, lake)
    entries = [put(store, reference_files(discount), NOON_US + at) for at, discount in enumerate((10, 20, 10))]
    assert tables.sync() == 3
    assert tables.sync() == tables_of(store, lake).sync() == 0
    last = put(store, reference_files(30), NOON_US + 86_400_000_000)
    assert tables.sync() == 1
    found = lake.rows(STORE_VERSIONS).select("reference_version", "active_from", "published_at").rows()
    assert found == [
        (entry.version, instant(entry.active_from_us), instant(entry.published_at_us)) for entry in (*entries, last)
    ]
    assert [discount for _, discount in discounts(lake)] == [10.0, 20.0, 10.0, 30.0]


@pytest.mark.parametrize("commits", [0, 1, 2, 3])
def test_a_worker_that_dies_between_two_commits_is_made_good_by_the_next(commits):
    store, lake = MemoryReferenceStore(), FakeLake(crash_after=commits)
    for discount in (10, 20):
        put(store, reference_files(discount), NOON_US)
    tables = tables_of(store, lake)
    with pytest.raises(LakeUnavailable):
        tables.sync()
    lake.crash_after = None
    tables.sync()
    assert [discount for _, discount in discounts(lake)] == [10.0, 20.0]
    assert lake.rows(STORE_VERSIONS).height == 2


def test_a_catalogue_that_did_not_change_costs_one_look_and_reads_no_version_again():
    store, lake = MemoryReferenceStore(), FakeLake()
    put(store, reference_files(), NOON_US)
    tables = tables_of(store, lake)
    tables.sync()
    store.reads.clear()
    tables.sync()
    assert store.reads == ["catalogue"]
    store.reads.clear()
    tables_of(store, lake).sync()
    assert store.reads == ["catalogue"], "another worker asks the tables, not the files"


def test_a_version_that_cannot_be_read_keeps_no_other_from_the_tables_and_is_tried_again(caplog):
    store, lake = MemoryReferenceStore(), FakeLake()
    first, second = (put(store, reference_files(discount), NOON_US) for discount in (10, 20))
    catalogue, is_lost = ReferenceCatalogue(store, parse_reference, lambda: 0), True

    def load(version: str) -> object:
        if is_lost and version == first.version:
            raise ReferenceUnavailable("its files were changed")
        return catalogue.load(version)

    tables = ReferenceTables(store, load, lake)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        assert tables.sync() == 1
    assert f"version {first.version} yet: its files were changed" in caplog.text
    assert discounts(lake) == [(second.version, 20.0)]
    is_lost = False
    assert tables.sync() == 1
    assert [version for version, _ in discounts(lake)] == [second.version, first.version]


def test_without_the_catalogue_nothing_is_brought_up_to_it():
    store = MemoryReferenceStore()
    store.is_away = True
    with pytest.raises(ReferenceUnavailable):
        tables_of(store, FakeLake()).sync()
