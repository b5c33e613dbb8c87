"""Which geofences changed of late: what the catalogue says of it for an event."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.reference_files import parse_reference
from shared.domain.deciding import CHANGED_FOR_US
from shared.domain.reference import CatalogueEntry, ReferenceData, changed_geofences, number_in_force, successions
from shared.domain.stores import StoreTable
from shared.errors import ReferenceUnavailable
from shared.workflows.reference import (
    VERSIONS_IN_MEMORY,
    PublishedVersion,
    ReferenceCatalogue,
    ReferenceFiles,
    StoresFormat,
    publish,
)
from tests.fakes_reference import MemoryReferenceStore

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOON = 1_800_000_000 * SECOND
CIRCLE = {"type": "Point", "coordinates": [-0.1, 51.5]}
MOVED = {"type": "Point", "coordinates": [-0.1, 51.6]}
RING = [[-0.1, 51.5], [-0.099, 51.5], [-0.099, 51.501], [-0.1, 51.501], [-0.1, 51.5]]
SQUARE = {"type": "Polygon", "coordinates": [RING]}
SQUARE_BEGUN_ELSEWHERE = {"type": "Polygon", "coordinates": [[*RING[2:], *RING[1:3]]]}
LARGER = {"type": "Polygon", "coordinates": [[*RING[:2], [-0.099, 51.502], [-0.1, 51.502], RING[0]]]}

type Stores = dict[str, tuple[dict, float]]
"""Geometry and radius by store id."""


def files(stores: Stores, discount_percent: float = 20) -> ReferenceFiles:
    features = [
        {
            "type": "Feature",
            "id": store_id,
            "geometry": geometry,
            "properties": {"name": "n", "merchant": "m", "service_type": "s", "location": "l", "radius": radius_m},
        }
        for store_id, (geometry, radius_m) in stores.items()
    ]
    promotion = {"promotion_id": "p", "discount_percent": discount_percent, "message": "off", "stores": "all"}
    return ReferenceFiles(
        json.dumps({"type": "FeatureCollection", "features": features}).encode(),
        json.dumps({"promotions": [promotion]}).encode(),
        stores_format=StoresFormat.GEOJSON,
    )


def stores_of(stores: Stores) -> StoreTable:
    return parse_reference(files(stores)).stores


@dataclass
class World:
    """A catalogue that is published to at given times, and a worker who reads it."""

    store: MemoryReferenceStore = field(default_factory=MemoryReferenceStore)

    def __post_init__(self) -> None:
        self.worker = ReferenceCatalogue(self.store, parse_reference, lambda: NOON)

    def publish(self, published: ReferenceFiles, in_force_us: int) -> PublishedVersion:
        return publish(
            published,
            store=self.store,
            parse=parse_reference,
            clock=lambda: in_force_us - MINUTE - 1,
            activation_delay_s=60,
            partition_count=4,
        ).entry

    def changed(self, at_us: int) -> dict[str, int]:
        """Since when the geofences are as they are that changed of late, by store id, for an event enqueued then."""
        self.worker.refresh(at_us, force=True)
        reference = self.worker.version_for(at_us)
        return {reference.stores.store_id[row]: since_us for row, since_us in reference.changed_us.items()}


@pytest.fixture(name="world")
def _world() -> World:
    return World()


BEFORE: Stores = {"a": (CIRCLE, 50), "b": (MOVED, 50)}


@pytest.mark.parametrize(
    ("after", "changed"),
    [
        (BEFORE, []),
        ({"b": BEFORE["b"], "a": BEFORE["a"]}, []),
        ({"a": BEFORE["a"]}, []),
        ({**BEFORE, "a": (CIRCLE, 51)}, ["a"]),
        ({**BEFORE, "a": (CIRCLE, 49)}, ["a"]),
        ({"b": BEFORE["b"], "a": ({"type": "Point", "coordinates": [-0.1, 51.5000001]}, 50)}, ["a"]),
        ({**BEFORE, "c": (CIRCLE, 50)}, ["c"]),
        ({**BEFORE, "a": (SQUARE, 50)}, ["a"]),
        ({"a": BEFORE["b"], "b": BEFORE["a"]}, ["a", "b"]),
    ],
    ids=["same", "other order", "removed", "grown", "shrunk", "moved", "new", "now a polygon", "exchanged"],
)
def test_a_geofence_changed_if_it_was_not_there_as_it_is(after: Stores, changed: list[str]) -> None:
    now = stores_of(after)
    assert [now.store_id[row] for row in changed_geofences(stores_of(BEFORE), now)] == changed


@pytest.mark.parametrize(
    ("was", "now", "changed"),
    [
        (SQUARE, SQUARE, False),
        (SQUARE, SQUARE_BEGUN_ELSEWHERE, False),
        (SQUARE, LARGER, True),
        (SQUARE, CIRCLE, True),
        (SQUARE, {"type": "MultiPolygon", "coordinates": [SQUARE["coordinates"]]}, False),
    ],
    ids=["same", "same from another corner", "larger", "now a circle", "same as a multipolygon"],
)
def test_a_polygon_is_the_same_if_it_covers_the_same(was: dict, now: dict, *, changed: bool) -> None:
    others: Stores = {"x": (CIRCLE, 50)}
    before, after = stores_of(others | {"mall": (was, 60)}), stores_of({"mall": (now, 60)} | others)
    assert changed_geofences(before, after) == ([0] if changed else [])


def test_a_polygon_that_became_the_circle_around_it_has_changed() -> None:
    before = stores_of({"mall": (SQUARE, 0)})
    middle = {"type": "Point", "coordinates": [before.longitude[0], before.latitude[0]]}
    assert changed_geofences(before, stores_of({"mall": (middle, float(before.radius_m[0]))})) == [0]


def test_in_the_first_version_nothing_changed(world: World) -> None:
    world.publish(files(BEFORE), NOON)
    assert world.changed(0) == world.changed(NOON) == world.changed(NOON + MINUTE) == {}


def test_a_change_is_known_until_ten_minutes_after_it_came_in_force(world: World) -> None:
    world.publish(files(BEFORE), 0)
    entry = world.publish(files({**BEFORE, "a": (CIRCLE, 60)}), NOON)
    assert entry.active_from_us == NOON
    assert world.changed(NOON - SECOND) == {}
    assert world.changed(NOON) == world.changed(NOON + CHANGED_FOR_US - SECOND) == {"a": NOON}
    assert world.changed(NOON + CHANGED_FOR_US) == {}


def test_with_other_promotions_only_no_geofence_changed_and_the_version_is_the_plain_one(world: World) -> None:
    world.publish(files(BEFORE), 0)
    world.publish(files(BEFORE, discount_percent=30), NOON)
    assert world.changed(NOON) == {}
    assert world.worker.version_for(NOON) is world.worker.version_for(NOON + CHANGED_FOR_US)


def test_what_changed_twice_has_changed_at_the_newest_change_and_the_others_at_theirs(world: World) -> None:
    world.publish(files(BEFORE), 0)
    world.publish(files({"a": (CIRCLE, 60), "b": (MOVED, 60)}), NOON)
    world.publish(files({"a": (CIRCLE, 70), "b": (MOVED, 60)}), NOON + 5 * MINUTE)
    assert world.changed(NOON + 5 * MINUTE) == {"a": NOON + 5 * MINUTE, "b": NOON}


def test_a_change_ten_minutes_before_another_is_forgotten(world: World) -> None:
    for gap_us, remembered in ((CHANGED_FOR_US - SECOND, {"a": NOON}), (CHANGED_FOR_US, {})):
        world = World()
        world.publish(files(BEFORE), 0)
        world.publish(files({**BEFORE, "a": (CIRCLE, 60)}), NOON)
        world.publish(files({"a": (CIRCLE, 60), "b": (MOVED, 60)}), NOON + gap_us)
        assert world.changed(NOON + gap_us) == remembered | {"b": NOON + gap_us}


def test_a_store_that_was_closed_and_opened_again_is_new(world: World) -> None:
    world.publish(files(BEFORE), 0)
    world.publish(files({"b": BEFORE["b"]}), NOON)
    world.publish(files(BEFORE), NOON + MINUTE)
    assert world.changed(NOON) == {}
    assert world.changed(NOON + MINUTE) == {"a": NOON + MINUTE}


def test_a_version_that_comes_back_has_changed_back_whatever_was_known_of_it_before(world: World) -> None:
    world.publish(files(BEFORE), 0)
    assert world.changed(NOON - MINUTE) == {}
    world.publish(files({**BEFORE, "a": (CIRCLE, 60)}), NOON)
    world.publish(files(BEFORE), NOON + MINUTE)
    assert world.changed(NOON + MINUTE) == {"a": NOON + MINUTE}
    assert world.changed(NOON - MINUTE) == {}
    assert world.changed(NOON) == {"a": NOON}


def test_what_is_derived_from_the_files_is_built_once_whether_or_not_something_changed(world: World) -> None:
    world.publish(files(BEFORE), 0)
    world.publish(files({**BEFORE, "a": (CIRCLE, 60)}), NOON)
    world.worker.refresh(NOON, force=True)
    recent, plain = world.worker.version_for(NOON), world.worker.version_for(NOON + CHANGED_FOR_US)
    assert recent is not plain
    assert recent.index is plain.index
    assert recent.loitering_us is plain.loitering_us
    assert recent.promotions_at(0) is plain.promotions_at(0)
    assert recent.store_rows is plain.store_rows
    assert recent.version == plain.version
    assert world.worker.version_for(NOON) is recent


def test_while_the_version_before_cannot_be_read_nothing_is_decided(world: World) -> None:
    first = world.publish(files(BEFORE), 0)
    world.publish(files({**BEFORE, "a": (CIRCLE, 60)}), NOON)
    kept = world.store._files.pop(first.version)
    world.worker.refresh(NOON, force=True)
    with pytest.raises(ReferenceUnavailable):
        world.worker.version_for(NOON)
    world.worker.version_for(NOON + CHANGED_FOR_US)
    world.store._files[first.version] = kept
    assert world.changed(NOON) == {"a": NOON}


def test_however_often_is_published_few_versions_stay_in_memory(world: World) -> None:
    count = 4 * VERSIONS_IN_MEMORY
    for number in range(count):
        world.publish(files({**BEFORE, "a": (CIRCLE, 50 + number)}), NOON + number * MINUTE)
    for number in (*range(1, count), *reversed(range(1, count))):
        assert world.changed(NOON + number * MINUTE) == {"a": NOON + number * MINUTE}
        assert len(world.worker._versions) <= VERSIONS_IN_MEMORY
        held = {reference.version for reference in world.worker._recent.values()}
        assert held <= set(world.worker._versions)


def test_threads_that_ask_at_once_get_the_same_answer(world: World) -> None:
    world.publish(files(BEFORE), 0)
    world.publish(files({**BEFORE, "a": (CIRCLE, 60)}), NOON)
    world.worker.refresh(NOON, force=True)
    together = threading.Barrier(4)

    def ask(_: int) -> ReferenceData:
        together.wait()
        return world.worker.version_for(NOON)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert len({id(answer) for answer in answers}) == 1
    assert world.store.reads.count(answers[0].version) == 1


@given(starts=st.lists(st.integers(0, 12), min_size=1, max_size=8), within=st.integers(1, 6), event=st.integers(-1, 13))
@settings(max_examples=200, deadline=None)
def test_successions_are_those_of_who_watches_the_clock(starts: list[int], within: int, event: int) -> None:
    """Watch each instant go by: what is in force changes, and who remembers the last of it says the same."""
    catalogue = [CatalogueEntry(str(number), start) for number, start in enumerate(sorted(starts))]
    number = number_in_force(catalogue, event)
    began = catalogue[number].active_from_us
    seen = [catalogue[number_in_force(catalogue, instant)] for instant in range(catalogue[0].active_from_us, began + 1)]
    expected = [
        (before, after) for before, after in pairwise(seen) if before != after and after.active_from_us > began - within
    ]
    assert successions(catalogue, number, within) == expected
