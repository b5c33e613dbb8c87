"""Which pings of a batch are looked at one by one, and what they then say."""

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.workflows.sightings import see
from tests.fakes import FakeReferences
from tests.unit.evaluate.world import BAKERY, CAFE, FAR_AWAY, NOON_US, SECOND_US, batch, body, reference, seen_at

REFERENCES = FakeReferences([(0, reference()), (NOON_US + 5 * SECOND_US, reference(version="v2"))])
DEVICES = st.sampled_from(["a", "b", "c", "d"])


@given(
    st.lists(st.tuples(DEVICES, st.sampled_from([CAFE, FAR_AWAY])), min_size=1, max_size=12),
    st.frozensets(DEVICES),
    st.frozensets(DEVICES),
)
@settings(deadline=None, max_examples=100)
def test_those_of_devices_that_are_known_or_new_or_ever_near_are_looked_at_in_order(pings, known, new):
    events = [seen_at(at, device, place, NOON_US + at * SECOND_US) for at, (device, place) in enumerate(pings)]
    for part in see(batch(*events), REFERENCES).parts:
        rows = [at for at in range(len(pings)) if (at >= 5) == (part.reference.version == "v2")]
        near = {pings[at][0] for at in rows if pings[at][1] is CAFE}
        expected = [at for at in rows if pings[at][0] in known | new | near]
        assert [sighting.ping.sequence_number for sighting in part.of(known, new)] == expected


def test_a_ping_says_what_its_event_said():
    far = seen_at(3, "a", FAR_AWAY, NOON_US)
    text = body("a", BAKERY, NOON_US - 1_500_000, accuracy_m=12.5, consent=False)
    rejected = (2, NOON_US, "a", b"{}")
    (part,) = see(batch(rejected, far, (4, NOON_US + SECOND_US, "a", text)), REFERENCES).parts
    first, second = (sighting.ping for sighting in part.of({"a"}))
    assert (first.sequence_number, first.near, first.accuracy_m, first.consent) == (3, (), None, None)
    assert (first.latitude, first.longitude, first.partition_id) == (*FAR_AWAY, "2")
    assert (second.device_id, second.sequence_number, second.enqueued_at_us) == ("a", 4, NOON_US + SECOND_US)
    assert (second.tracked_at_us, second.accuracy_m, second.consent) == (NOON_US - 1_500_000, 12.5, False)
    assert [near.inside for near in second.near] == [True, True]


def test_a_version_that_is_in_force_again_knows_what_changed_then():
    first, later = reference(), reference().with_changes({0: NOON_US + 9 * SECOND_US})
    other = reference(version="v2")
    references = FakeReferences([(0, first), (NOON_US + 5 * SECOND_US, other), (NOON_US + 9 * SECOND_US, later)])
    events = [seen_at(at, "a", CAFE, NOON_US + at * SECOND_US) for at in (4, 9)]  # none while v2 was in force
    assert [part.reference for part in see(batch(*events), references).parts] == [first, later]
