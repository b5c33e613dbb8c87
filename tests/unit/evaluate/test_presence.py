"""What one position fix makes of a device's presence at one geofence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.presence import NEXT, REST_US, Ended, Fix, Presence, Sighting, Visit, follow
from shared.domain.promotions import PresenceParameters, Transition

SECOND_US = 1_000_000
LOITERING_S = 180
STANDARD = PresenceParameters()
ENTER, DWELL, EXIT = Transition.ENTER, Transition.DWELL, Transition.EXIT
WITHIN, MARGIN, AWAY, BLURRED = Fix.WITHIN, Fix.MARGIN, Fix.AWAY, Fix.BLURRED
MINUTE, HOUR = 60, 3600


def after(*fixes, loitering_s=LOITERING_S, parameters=STANDARD):
    """(visit, what ended, transitions) of the last of those (seconds, fix)."""
    visit, ended, transitions = None, None, ()
    for at_s, fix in fixes:
        visit, ended, transitions = follow(
            visit, fix, at_s * SECOND_US, loitering_us=loitering_s * SECOND_US, parameters=parameters
        )
    return visit, ended, transitions


def transitions(*fixes, **more):
    """The transitions at each of those fixes, one list for all."""
    return [item for row in range(len(fixes)) for item in after(*fixes[: row + 1], **more)[2]]


def ended(entered_s, left_s):
    return Ended(entered_s * SECOND_US, left_s * SECOND_US)


# The table


def test_the_transition_table_is_total():
    assert set(NEXT) == {(presence, sighting) for presence in Presence for sighting in Sighting}


def test_the_transitions_of_the_table_lead_from_the_presence_before_to_the_one_after():
    """ENTER leads from OUTSIDE to INSIDE, DWELL from there to DWELLING, EXIT from either to OUTSIDE."""
    steps = {
        (Presence.OUTSIDE, ENTER): Presence.INSIDE,
        (Presence.INSIDE, DWELL): Presence.DWELLING,
        (Presence.INSIDE, EXIT): Presence.OUTSIDE,
        (Presence.DWELLING, EXIT): Presence.OUTSIDE,
    }
    for (before, sighting), (presence, made) in NEXT.items():
        reached = before
        for transition in made:
            reached = steps[reached, transition]
        assert reached is presence, sighting


# ENTER and DWELL


def test_who_is_within_enters():
    assert after((7, WITHIN)) == (Visit(7 * SECOND_US, 7 * SECOND_US), None, (ENTER,))


@pytest.mark.parametrize("fix", [MARGIN, AWAY, BLURRED])
def test_who_is_not_surely_within_does_not_enter(fix):
    assert after((7, fix)) == (None, None, ())


def test_who_stays_enters_once_and_dwells_once():
    assert transitions(*((at_s, WITHIN) for at_s in range(0, 1000, 10))) == [ENTER, DWELL]


@pytest.mark.parametrize(("at_s", "made"), [(179, ()), (180, (DWELL,)), (10_000, (DWELL,))])
def test_a_visit_dwells_with_the_first_ping_inside_after_the_loitering_delay(at_s, made):
    assert after((0, WITHIN), (at_s, WITHIN))[2] == made


@pytest.mark.parametrize("fix", [MARGIN, AWAY, BLURRED])
def test_only_a_ping_inside_can_dwell(fix):
    assert transitions((0, WITHIN), (200, fix)) == [ENTER]


def test_a_loitering_delay_of_0_dwells_at_once():
    visit, _, made = after((0, WITHIN), loitering_s=0)
    assert (visit.presence, made) == (Presence.DWELLING, (ENTER, DWELL))


def test_one_ping_away_does_not_start_the_loitering_delay_again():
    assert transitions((0, WITHIN), (100, AWAY), (110, WITHIN), (180, WITHIN)) == [ENTER, DWELL]


# EXIT by pings away


def test_a_visit_ends_when_pings_were_away_for_the_exit_delay_and_at_the_first_of_them():
    fixes = (0, WITHIN), (10, WITHIN), (50, AWAY), (80, AWAY), (110, AWAY)
    assert after(*fixes) == (None, ended(0, 50), (EXIT,))
    assert transitions(*fixes[:-1]) == [ENTER]


def test_one_ping_away_is_no_exit_however_late_it_comes():
    assert after((0, WITHIN), (29 * MINUTE, AWAY))[2] == ()


@pytest.mark.parametrize("at_s", [50, 51])
def test_two_pings_away_are_an_exit_even_without_an_exit_delay_unless_they_are_one_sent_twice(at_s):
    made = after((0, WITHIN), (50, AWAY), (at_s, AWAY), parameters=PresenceParameters(exit_delay_s=0))[2]
    assert made == ((EXIT,) if at_s > 50 else ())


@pytest.mark.parametrize("fix", [WITHIN, MARGIN])
def test_who_comes_back_within_the_exit_delay_has_not_left_and_the_delay_starts_again(fix):
    fixes = (0, WITHIN), (50, AWAY), (80, fix), (110, AWAY), (169, AWAY)
    assert transitions(*fixes) == [ENTER]
    assert after(*fixes, (170, AWAY))[1] == ended(0, 110)


def test_a_blurred_ping_does_not_start_the_exit_delay_again():
    assert after((0, WITHIN), (50, AWAY), (80, BLURRED), (110, AWAY))[1] == ended(0, 50)


def test_who_dwelled_exits_alike():
    assert transitions((0, WITHIN), (180, WITHIN), (200, AWAY), (260, AWAY)) == [ENTER, DWELL, EXIT]


# Silence


def test_a_phone_at_rest_that_is_inside_again_within_4_hours_goes_on_with_its_visit():
    visit, before, made = after((0, WITHIN), (4 * HOUR, WITHIN))
    assert (visit.entered_us, before, made) == (0, None, (DWELL,))


def test_after_more_than_4_hours_the_visit_had_ended_and_a_new_one_begins():
    visit, before, made = after((0, WITHIN), (60, WITHIN), (4 * HOUR + 61, WITHIN))
    assert (visit.entered_us // SECOND_US, before, made) == (4 * HOUR + 61, ended(0, 60), (EXIT, ENTER))


@pytest.mark.parametrize("fix", [MARGIN, AWAY])
def test_who_is_elsewhere_after_the_visit_timeout_left_with_the_last_ping_inside(fix):
    assert after((0, WITHIN), (60, WITHIN), (31 * MINUTE + 1, fix)) == (None, ended(0, 60), (EXIT,))
    assert after((0, WITHIN), (60, WITHIN), (31 * MINUTE, fix))[2] == ()


@pytest.mark.parametrize("fix", [MARGIN, AWAY])
def test_who_was_elsewhere_meanwhile_was_not_at_rest(fix):
    assert after((0, WITHIN), (600, fix), (31 * MINUTE, WITHIN))[1:] == (ended(0, 0), (EXIT, ENTER))
    assert after((0, WITHIN), (600, AWAY), (620, fix), (31 * MINUTE, WITHIN))[1:] == (ended(0, 0), (EXIT, ENTER))


@pytest.mark.parametrize("fix", [MARGIN, AWAY])
def test_who_was_elsewhere_and_inside_again_in_time_may_rest(fix):
    assert transitions((0, WITHIN), (600, fix), (620, WITHIN), (3 * HOUR, WITHIN)) == [ENTER, DWELL]


def test_a_blurred_ping_says_nothing_about_who_was_at_rest():
    assert transitions((0, WITHIN), (2 * HOUR, BLURRED), (3 * HOUR, WITHIN)) == [ENTER, DWELL]


def test_after_4_hours_even_a_blurred_ping_ends_the_visit_for_nothing_can_prolong_it():
    assert after((0, WITHIN), (4 * HOUR + 1, BLURRED)) == (None, ended(0, 0), (EXIT,))


def test_pings_in_the_margin_alone_end_a_visit_by_the_timeout():
    fixes = [(0, WITHIN), *((at_s, MARGIN) for at_s in range(60, 1801, 60))]
    assert transitions(*fixes) == [ENTER]
    assert after(*fixes, (1801, MARGIN))[1] == ended(0, 0)


def test_an_exit_that_two_pings_away_show_counts_from_the_first_of_them_also_after_the_timeout():
    assert after((0, WITHIN), (600, AWAY), (5 * HOUR, AWAY))[1] == ended(0, 600)


# Properties

PARAMETERS = st.builds(
    PresenceParameters, exit_delay_s=st.sampled_from([0, 60, 600]), visit_timeout_s=st.sampled_from([60, 1800])
)
STEPS = st.lists(
    st.tuples(st.sampled_from([0, 1, 30, 60, 200, 1801, 15_000]), st.sampled_from(list(Fix))), max_size=40
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(STEPS, PARAMETERS, st.sampled_from([0, 1, 180, 7200]))
def test_whatever_the_pings_say_transitions_alternate_and_the_times_of_a_visit_are_ordered(
    steps, parameters, loitering_s
):
    visit, at_us, following = None, 0, [ENTER]
    for step_s, fix in steps:
        at_us += step_s * SECOND_US
        before = visit
        visit, over, made = follow(visit, fix, at_us, loitering_us=loitering_s * SECOND_US, parameters=parameters)
        for transition in made:
            assert transition in following
            following = {ENTER: [DWELL, EXIT], DWELL: [EXIT], EXIT: [ENTER]}[transition]
        assert (visit is None) == (following == [ENTER])
        assert (over is None) == (EXIT not in made)
        if over is not None:
            assert before.entered_us == over.entered_us <= before.inside_us <= over.left_us <= at_us
            assert visit is None or visit.entered_us > before.entered_us, "or two visits had one name"
        if visit is not None:
            assert visit.entered_us <= visit.inside_us <= at_us
            assert visit.away_us is None or visit.inside_us <= visit.away_us <= at_us
            assert at_us - visit.inside_us <= REST_US
