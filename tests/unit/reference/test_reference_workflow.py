"""Publishing a version, and which version decides an event."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.reference_files import parse_reference
from shared.errors import ReferenceRefused, ReferenceUnavailable
from shared.workflows.reference import (
    LOOK_AGE_US,
    VERSIONS_IN_MEMORY,
    Catalogue,
    Publication,
    PublishedVersion,
    ReferenceCatalogue,
    ReferenceFiles,
    publish,
)
from tests.fakes_reference import MemoryReferenceStore, reference_files

SECOND = 1_000_000
NOON = 1_800_000_000 * SECOND
DELAY_S = 60


@dataclass
class World:
    """A store, a clock that stands where it is put, and a worker."""

    store: MemoryReferenceStore = field(default_factory=MemoryReferenceStore)
    now_us: int = NOON

    def __post_init__(self) -> None:
        self.worker = self.new_worker()

    def clock(self) -> int:
        return self.now_us

    def new_worker(self) -> ReferenceCatalogue:
        return ReferenceCatalogue(self.store, parse_reference, self.clock)

    def publish(self, files: ReferenceFiles) -> Publication:
        return publish(
            files,
            store=self.store,
            parse=parse_reference,
            clock=self.clock,
            activation_delay_s=DELAY_S,
            partition_count=4,
        )


@pytest.fixture(name="world")
def _world() -> World:
    return World()


def test_the_first_version_is_in_force_from_the_beginning(world: World) -> None:
    entry = world.publish(reference_files(10)).entry
    assert entry.active_from_us == 0
    assert world.worker.version_for(0).version == entry.version


def test_a_later_version_is_in_force_from_the_whole_second_after_the_delay(world: World) -> None:
    first = world.publish(reference_files(10)).entry
    world.now_us += 300_000
    second = world.publish(reference_files(20)).entry
    assert second.active_from_us == NOON + (DELAY_S + 1) * SECOND
    assert world.worker.version_for(second.active_from_us - SECOND).version == first.version
    assert world.worker.version_for(second.active_from_us).version == second.version


def test_publishing_says_what_the_version_holds(world: World) -> None:
    publication = world.publish(reference_files(stores=[("1", 51.5, -0.1), ("2", 51.6, -0.1)]))
    assert (publication.stores, publication.promotions, publication.was_newest) == (2, 1, False)


def test_the_version_that_is_the_newest_is_not_published_again(world: World) -> None:
    first = world.publish(reference_files(10))
    again = world.publish(reference_files(10))
    assert again.was_newest
    assert again.entry == first.entry
    assert len(world.store.read_catalogue().entries) == 1


def test_an_older_version_can_be_published_again(world: World) -> None:
    first = world.publish(reference_files(10)).entry
    world.publish(reference_files(20))
    world.now_us += 3600 * SECOND
    back = world.publish(reference_files(10)).entry
    assert back.version == first.version
    assert world.worker.version_for(back.active_from_us).version == first.version


def test_files_with_faults_are_refused_and_the_last_version_stays(world: World) -> None:
    first = world.publish(reference_files(10)).entry
    with pytest.raises(ReferenceRefused):
        world.publish(reference_files(0))
    assert world.store.read_catalogue().entries == (first,)


def test_a_forgotten_list_of_opted_out_devices_is_refused_and_an_empty_one_is_a_decision(world: World) -> None:
    first = world.publish(replace(reference_files(10), suppressed=b"device_id\nann\n")).entry
    with pytest.raises(ReferenceRefused, match=rf"suppressed\.csv: is missing, and version {first.version} has one"):
        world.publish(reference_files(20))
    assert world.store.read_catalogue().entries == (first,)
    world.publish(replace(reference_files(20), suppressed=b"device_id\n"))
    assert len(world.store.read_catalogue().entries) == 2


def test_a_clock_that_was_set_back_does_not_let_a_version_begin_before_the_one_before_it(world: World) -> None:
    world.publish(reference_files(10))
    second = world.publish(reference_files(20)).entry
    world.now_us -= 3600 * SECOND
    assert world.publish(reference_files(30)).entry.active_from_us == second.active_from_us


class RacingStore(MemoryReferenceStore):
    """Another publisher is first, once."""

    def replace_catalogue(self, known: Catalogue, entries: Sequence[PublishedVersion]) -> bool:
        if not self._writes:
            self.save_files("other", reference_files(99))
            super().replace_catalogue(known, (PublishedVersion("other", 0, NOON),))
        return super().replace_catalogue(known, entries)


class DeafStore(MemoryReferenceStore):
    """Writes the catalogue, and the answer is lost, once."""

    def replace_catalogue(self, known: Catalogue, entries: Sequence[PublishedVersion]) -> bool:
        done = super().replace_catalogue(known, entries)
        if self._writes == 1:
            raise ReferenceUnavailable("no answer")
        return done


def test_when_another_publisher_is_first_both_versions_are_in_the_catalogue() -> None:
    world = World(RacingStore())
    mine = world.publish(reference_files(10)).entry
    assert [entry.version for entry in world.store.read_catalogue().entries] == ["other", mine.version]
    assert mine.active_from_us > NOON


def test_a_write_whose_answer_was_lost_is_published_once() -> None:
    world = World(DeafStore())
    publication = world.publish(reference_files(10))
    assert not publication.was_newest
    assert world.store.read_catalogue().entries == (publication.entry,)


def test_a_publisher_that_is_never_first_gives_up(world: World) -> None:
    world.store.replace_catalogue = lambda known, entries: False  # type: ignore[method-assign]
    with pytest.raises(ReferenceUnavailable, match="times another publisher was first"):
        world.publish(reference_files(10))


def test_before_anything_is_published_a_worker_says_how_to_do_it(world: World) -> None:
    for look in (lambda: world.worker.version_for(NOON), lambda: world.worker.refresh(NOON)):
        with pytest.raises(ReferenceUnavailable, match="footfall reference load"):
            look()
    world.publish(reference_files(10))
    world.worker.refresh(NOON)
    assert world.worker.version_for(NOON).promotions[0].discount_percent == 10


def test_a_worker_looks_again_only_when_its_look_is_too_old_for_the_event(world: World) -> None:
    world.publish(reference_files(10))
    world.worker.refresh(NOON)
    world.store.reads.clear()
    world.worker.refresh(NOON + LOOK_AGE_US)
    assert world.store.reads == []
    world.worker.refresh(NOON + LOOK_AGE_US + 1)
    assert world.store.reads == ["catalogue"]


def test_a_worker_looks_again_at_once_when_it_is_told_to(world: World) -> None:
    world.publish(reference_files(10))
    world.worker.refresh(NOON)
    second = world.publish(reference_files(20)).entry
    world.worker.refresh(NOON, force=True)
    assert world.worker.entries[-1] == second


def test_a_version_is_read_once_and_the_last_few_are_kept(world: World) -> None:
    entries = []
    for discount in range(1, VERSIONS_IN_MEMORY + 2):
        entries.append(world.publish(reference_files(discount)).entry)
        world.now_us += 3600 * SECOND
    world.store.reads.clear()
    for entry in [*entries, *entries[1:]]:
        assert world.worker.version_for(entry.active_from_us).version == entry.version
    loads = [read for read in world.store.reads if read != "catalogue"]
    assert loads == [entry.version for entry in entries]
    world.worker.version_for(0)
    assert world.store.reads[-1] == entries[0].version


def test_reading_old_versions_does_not_push_out_the_one_that_decides(world: World) -> None:
    entries = []
    for discount in range(1, VERSIONS_IN_MEMORY + 3):
        entries.append(world.publish(reference_files(discount)).entry)
        world.now_us += 3600 * SECOND
    *old, newest = entries
    world.worker.version_for(newest.active_from_us)
    for entry in old:
        assert world.worker.load(entry.version).version == entry.version
    world.store.reads.clear()
    world.worker.version_for(newest.active_from_us)
    assert world.worker.load(newest.version).version == newest.version
    assert world.store.reads == []


def test_with_the_storage_away_what_is_known_still_decides_until_a_look_is_due(world: World) -> None:
    world.publish(reference_files(10))
    world.worker.refresh(NOON)
    version = world.worker.version_for(NOON)
    world.store.is_away = True
    world.worker.refresh(NOON + LOOK_AGE_US)
    assert world.worker.version_for(NOON + LOOK_AGE_US) is version
    with pytest.raises(ReferenceUnavailable):
        world.worker.refresh(NOON + LOOK_AGE_US + SECOND)
    with pytest.raises(ReferenceUnavailable):
        world.new_worker().version_for(NOON)


def test_a_failed_look_does_not_count_as_one(world: World) -> None:
    world.publish(reference_files(10))
    world.worker.refresh(NOON)
    world.now_us += 3600 * SECOND
    second = world.publish(reference_files(20)).entry
    world.store.is_away = True
    with pytest.raises(ReferenceUnavailable):
        world.worker.refresh(second.active_from_us)
    world.store.is_away = False
    world.worker.refresh(second.active_from_us)
    assert world.worker.version_for(second.active_from_us).version == second.version


def test_files_that_were_changed_after_publishing_decide_nothing(world: World) -> None:
    entry = world.publish(reference_files(10)).entry
    world.store._files[entry.version] = reference_files(99)
    with pytest.raises(ReferenceUnavailable, match="were changed"):
        world.worker.version_for(NOON)


def test_a_version_that_this_code_refuses_blocks_with_the_reason(world: World) -> None:
    entry = world.publish(reference_files(10)).entry
    world.store._files[entry.version] = reference_files(0)
    with pytest.raises(ReferenceUnavailable, match=r"discount_percent: 0 is refused"):
        world.worker.version_for(NOON)


@given(
    gaps_s=st.lists(st.integers(0, 300), min_size=1, max_size=5),
    events_s=st.lists(st.integers(0, 1500), min_size=1, max_size=8),
    look_lag_s=st.lists(st.integers(0, 29), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_a_worker_in_time_a_late_one_and_a_replay_choose_the_same_version(
    gaps_s: list[int], events_s: list[int], look_lag_s: list[int]
) -> None:
    """A live worker that looks only when it must decides each event as a replay does that knows the whole catalogue."""
    world = World()
    publishings = [sum(gaps_s[:count]) for count in range(len(gaps_s))]
    live: list[str] = []
    events = sorted(events_s)
    world.publish(reference_files(50))
    for number, event_s in enumerate(events):
        arrives_s = event_s + look_lag_s[number % len(look_lag_s)]
        for discount, at_s in enumerate(publishings, start=1):
            world.now_us = NOON + at_s * SECOND
            if at_s <= arrives_s and len(world.store.read_catalogue().entries) == discount:
                world.publish(reference_files(discount))
        world.now_us = NOON + arrives_s * SECOND
        world.worker.refresh(NOON + event_s * SECOND)
        live.append(world.worker.version_for(NOON + event_s * SECOND).version)
    for discount, at_s in enumerate(publishings, start=1):
        world.now_us = NOON + max(at_s, events[-1]) * SECOND
        if len(world.store.read_catalogue().entries) == discount:
            world.publish(reference_files(discount))
    replay = world.new_worker()
    assert live == [replay.version_for(NOON + event_s * SECOND).version for event_s in events]
