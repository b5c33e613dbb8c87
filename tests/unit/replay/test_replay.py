"""A replay decides what was decided live: whatever the batches were then, and the files are now."""

import json
import logging
from datetime import datetime, timedelta
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ConfigurationError, LakeUnavailable, ReplayRefused
from shared.medallion.replayed import Side, offers_by_promotion
from shared.settings import STATE_TTL
from shared.workflows.replay import Span, Step
from tests.unit.evaluate.world import BAKERY, CAFE, FAR_AWAY, NOON_US, SECOND_US, reference, seen_at
from tests.unit.replay.history import (
    A_DAY_AT_THE_CAFE,
    DEVICES,
    FIRST,
    SECOND,
    MemoryCaptures,
    MemoryJournal,
    captured,
    cut,
    events_of,
    in_force,
    live,
    nothing,
    path_at,
    replay,
    replayer,
)

TTL_S = STATE_TTL.total_seconds()
PLACES = (CAFE, CAFE, BAKERY, FAR_AWAY, (51.5006, -0.12))


@pytest.fixture(autouse=True, name="_quiet")
def _no_log_records(caplog):
    """Thousands of new hubs and refused events would be kept otherwise."""
    caplog.set_level(logging.CRITICAL, logger="shared.workflows")


def moved(text: bytes, by_us: int) -> bytes:
    """The ping, tracked that much later."""
    fields = json.loads(text)
    tracked_at = datetime.fromisoformat(fields["tracked_at"]) + timedelta(microseconds=by_us)
    return json.dumps(fields | {"tracked_at": tracked_at.isoformat()}).encode()


steps = st.lists(
    st.tuples(
        st.sampled_from(DEVICES),
        st.sampled_from(PLACES),
        st.sampled_from((0, 1, 20, 70, 200, 2000, 800_000)),
        st.sampled_from((0, 0, 0, 5, 200)),
        st.sampled_from((True, True, True, True, False)),
    ),
    min_size=1,
    max_size=120,
)
cuts = st.lists(st.integers(1, 30), min_size=1, max_size=40)


@settings(deadline=None, max_examples=80)
@given(steps, cuts, cuts, st.integers(1, 12), st.integers(0, 4000))
def test_a_replay_makes_the_live_decisions_byte_for_byte_each_once(steps, batches, files, frame_rows, published_s):
    events = events_of(steps)
    references = in_force((published_s, SECOND))
    expected = live(cut(events, batches), references)
    assert sorted(replay(captured(events, files, frame_rows), references).texts()) == sorted(expected)


@settings(deadline=None, max_examples=40)
@given(steps, steps, cuts, st.integers(1, 12))
def test_a_hub_that_was_made_anew_starts_afresh_as_it_did_live_but_for_its_budgets(old, new, lengths, frame_rows):
    first = events_of(old)
    later_us = first[-1][1] - NOON_US + SECOND_US
    second = [(n, at_us + later_us, key, text) for n, at_us, key, text in events_of(new)]
    expected = live([*cut(first, lengths), *cut(second, lengths)], in_force())
    pieces = [*cut(first, lengths), *cut(second, lengths)]
    captures = MemoryCaptures({path_at(60 * number): piece for number, piece in enumerate(pieces)}, frame_rows)
    assert sorted(replay(captures, in_force()).texts()) == sorted(expected)


@settings(deadline=None, max_examples=40)
@given(steps, cuts, st.lists(st.integers(0, 4), max_size=8), st.booleans())
def test_a_replay_that_is_killed_at_any_save_goes_on_and_writes_nothing_twice(steps, lengths, kills, is_compared):
    events = events_of(steps)
    captures = captured(events, lengths, frame_rows=3)
    options = {"changed": SECOND if is_compared else None, "step": Step(events=5, decisions=4, files=2)}
    undisturbed = replay(captures, in_force(), changed=options["changed"])
    journal = MemoryJournal()
    for saves in kills:
        journal.saves_left = saves
        try:
            replayer(captures, journal, in_force(), **options).run(nothing)
        except LakeUnavailable:
            continue
    journal.saves_left = None
    replayer(captures, journal, in_force(), **options).run(nothing)
    for side in Side:
        assert journal.texts(side) == undisturbed.texts(side)


@settings(deadline=None, max_examples=40)
@given(steps, cuts, st.integers(0, 3000), st.integers(1, 3000))
def test_spans_that_meet_have_every_decision_once(steps, lengths, first_s, more_s):
    captures = captured(events_of(steps), lengths)
    first_us, second_us = NOON_US + first_s * SECOND_US, NOON_US + (first_s + more_s) * SECOND_US
    spans = (Span(None, first_us), Span(first_us, second_us), Span(second_us, None))
    apart = [replay(captures, in_force(), span=span).texts() for span in spans]
    assert list(chain(*apart)) == replay(captures, in_force()).texts()
    going_on = MemoryJournal()
    found = []
    for span in spans:
        start, going_on = going_on, MemoryJournal()
        replayer(captures, going_on, in_force(), span=span, start=start).run(nothing)
        found.append(going_on.texts())
    assert found == apart


def test_a_budget_that_was_spent_stays_spent_on_a_new_hub():
    later_us = A_DAY_AT_THE_CAFE[-1][1] - NOON_US + 3600 * SECOND_US
    again = [(n, at_us + later_us, key, moved(text, later_us)) for n, at_us, key, text in A_DAY_AT_THE_CAFE]
    captures = MemoryCaptures({path_at(0): A_DAY_AT_THE_CAFE, path_at(7200): again})
    journal = replay(captures, in_force())
    assert journal.texts() == live([A_DAY_AT_THE_CAFE, again], in_force())
    of_the_new_hub = journal.rows.filter(source_file=path_at(7200), promotion_id="coffee", transition="ENTER")
    assert "budget_spent" in set(of_the_new_hub["reason"])
    assert "sent" not in set(of_the_new_hub["outcome"])


def test_the_replay_of_a_day_has_offers_dwells_exits_and_a_budget_that_is_spent():
    expected = live(cut(A_DAY_AT_THE_CAFE, [36]), in_force())
    journal = replay(captured(A_DAY_AT_THE_CAFE), in_force())
    assert journal.texts() == expected
    assert set(journal.rows["transition"]) == {"ENTER", "DWELL", "EXIT"}
    assert {"sent", "not_sent"} == set(journal.rows["outcome"])
    assert "budget_spent" in set(journal.rows["reason"])


def test_decisions_before_the_time_asked_for_are_made_and_not_written():
    from_us = A_DAY_AT_THE_CAFE[8][1]
    journal = replay(captured(A_DAY_AT_THE_CAFE), in_force(), span=Span(from_us, None))
    all_of_them = replay(captured(A_DAY_AT_THE_CAFE), in_force())
    later = all_of_them.rows.filter(all_of_them.rows["ping_sequence_number"] >= 8)
    assert journal.texts() == later["event"].to_list() != []


def test_nothing_is_read_behind_the_end_but_the_file_after_it():
    captures = captured(A_DAY_AT_THE_CAFE, [4])
    replay(captures, in_force(), span=Span(None, A_DAY_AT_THE_CAFE[4][1]))
    assert captures.reads == [path_at(0), path_at(60), path_at(120)]


def test_both_worlds_know_what_happened_before_they_part():
    """Everybody entered before; with other promotions from then on, nobody enters again."""
    from_us = A_DAY_AT_THE_CAFE[8][1]
    everywhere = reference(version="other", promotions=(SECOND.promotions[0],))
    journal = replay(captured(A_DAY_AT_THE_CAFE[:16]), in_force(), changed=everywhere, span=Span(from_us, None))
    changed = journal.rows.filter(side="changed")
    assert changed.height > 0
    assert set(changed["transition"]) <= {"DWELL", "EXIT", None}
    assert set(changed["reference_version"]) == {"other"}


def test_the_side_in_force_does_not_depend_on_what_it_is_compared_with():
    alone = replay(captured(A_DAY_AT_THE_CAFE), in_force())
    compared = replay(captured(A_DAY_AT_THE_CAFE), in_force(), changed=SECOND)
    assert compared.texts() == alone.texts()
    assert compared.texts(Side.CHANGED) == replay(captured(A_DAY_AT_THE_CAFE), in_force((-1, SECOND))).texts()


@settings(deadline=None, max_examples=40)
@given(steps, cuts, st.integers(0, 2000))
def test_worlds_that_part_under_the_same_reference_data_stay_alike(steps, lengths, from_s):
    captures, span = captured(events_of(steps), lengths), Span(NOON_US + from_s * SECOND_US, None)
    journal = replay(captures, in_force(), changed=FIRST, span=span)
    assert journal.texts(Side.CHANGED) == journal.texts(Side.IN_FORCE)


def test_worlds_part_with_the_budgets_that_were_spent():
    """Whoever comes after the budget was spent gets nothing, in both worlds."""
    from_us = A_DAY_AT_THE_CAFE[20][1]
    journal = replay(captured(A_DAY_AT_THE_CAFE), in_force(), changed=FIRST, span=Span(from_us, None))
    assert journal.texts(Side.CHANGED) == journal.texts(Side.IN_FORCE)
    assert "budget_spent" in set(journal.rows["reason"])


def test_the_comparison_counts_offers_devices_and_stores_of_both_sides():
    journal = replay(captured(A_DAY_AT_THE_CAFE), in_force(), changed=SECOND)
    counted = offers_by_promotion(journal.rows.lazy())
    for side in Side:
        sent = journal.rows.filter(side=str(side), outcome="sent")
        assert counted[f"offers_{side}"].to_list()[-1] == sent["offer_id"].n_unique()
        assert counted[f"devices_{side}"].to_list()[-1] == sent["device_key"].n_unique()
        assert counted[f"stores_{side}"].to_list()[-1] == sent["store_id"].n_unique()
    assert counted["promotion_id"].to_list() == ["coffee", "stay", None]
    assert counted.row(0, named=True)["offers_changed"] == 0


def test_nothing_sent_is_a_comparison_of_no_rows():
    journal = replay(captured(events_of([("ann", FAR_AWAY, 1, 0, True)])), in_force())
    assert offers_by_promotion(journal.rows.lazy()).height == 0


def test_empty_files_are_passed_over():
    captures = captured(A_DAY_AT_THE_CAFE, [4])
    captures.files |= {path_at(60 * number + 30): [] for number in range(9)}
    assert replay(captures, in_force()).texts() == replay(captured(A_DAY_AT_THE_CAFE), in_force()).texts()


def test_a_file_whose_name_is_earlier_than_its_events_takes_its_turn():
    captures = captured(A_DAY_AT_THE_CAFE, [12])
    first, second, third = captures.files
    swapped = {first: captures.files[first], second: captures.files[third], third: captures.files[second]}
    journal = replay(MemoryCaptures(swapped), in_force())
    assert journal.texts() == replay(captured(A_DAY_AT_THE_CAFE), in_force()).texts()


def test_events_that_come_after_later_ones_are_refused():
    captures = captured(A_DAY_AT_THE_CAFE, [6])
    paths = list(captures.files)
    moved = dict(captures.files)
    moved[path_at(3600)] = moved.pop(paths[1])
    with pytest.raises(ReplayRefused, match=r"13/00/00\.avro holds event 6 of partition 2"):
        replay(MemoryCaptures(moved), in_force())


def test_a_file_that_is_there_twice_is_decided_once():
    captures = captured(A_DAY_AT_THE_CAFE, [12])
    captures.files[path_at(3600)] = captures.files[path_at(60)]
    assert replay(captures, in_force()).texts() == replay(captured(A_DAY_AT_THE_CAFE), in_force()).texts()


def test_numbers_that_no_file_has_are_counted_and_decisions_go_on():
    kept = A_DAY_AT_THE_CAFE[:10] + A_DAY_AT_THE_CAFE[15:20] + A_DAY_AT_THE_CAFE[22:]
    report = replayer(captured(kept), MemoryJournal(), in_force()).run(nothing)
    assert report.counts.skipped == 5 + 2
    assert report.counts.events == 29
    assert replay(captured(kept), in_force()).texts() == live(cut(kept, [9]), in_force())


def test_a_partition_whose_beginning_is_not_captured_is_named():
    report = replayer(captured(A_DAY_AT_THE_CAFE[5:]), MemoryJournal(), in_force()).run(nothing)
    assert report.begun_late == ("2",)
    assert replayer(captured(A_DAY_AT_THE_CAFE), MemoryJournal(), in_force()).run(nothing).begun_late == ()


def test_bodies_that_are_no_pings_are_counted():
    captures = captured([*A_DAY_AT_THE_CAFE, (36, A_DAY_AT_THE_CAFE[-1][1], "ann", None)])  # type: ignore[list-item]
    assert replayer(captures, MemoryJournal(), in_force()).run(nothing).counts.rejected == 1


def test_a_second_run_of_a_finished_replay_changes_nothing():
    captures, journal = captured(A_DAY_AT_THE_CAFE), MemoryJournal()
    first = replayer(captures, journal, in_force(), span=Span(None, NOON_US + 10**12)).run(nothing)
    journal.saves_left = 0
    assert replayer(captures, journal, in_force(), span=Span(None, NOON_US + 10**12)).run(nothing) == first


def test_a_second_run_goes_on_with_files_that_came_meanwhile():
    journal = MemoryJournal()
    replayer(captured(A_DAY_AT_THE_CAFE[:20]), journal, in_force()).run(nothing)
    replayer(captured(A_DAY_AT_THE_CAFE), journal, in_force()).run(nothing)
    assert journal.texts() == replay(captured(A_DAY_AT_THE_CAFE), in_force()).texts()


def test_each_partition_has_its_own_state_and_its_own_share_of_a_budget():
    captures = captured(A_DAY_AT_THE_CAFE)
    captures.files |= {path_at(60 * number, "1"): events for number, events in enumerate(cut(A_DAY_AT_THE_CAFE, [10]))}
    expected = live([A_DAY_AT_THE_CAFE], in_force(), "1") + live([A_DAY_AT_THE_CAFE], in_force(), "2")
    assert replay(captures, in_force()).texts() == expected


def test_a_device_that_is_silent_for_a_week_is_still_known_after_a_save():
    day_us = 86_400 * SECOND_US
    events = [
        seen_at(0, "ann", CAFE, NOON_US),
        seen_at(1, "bob", CAFE, NOON_US + 6 * day_us),
        seen_at(2, "ann", FAR_AWAY, NOON_US + 7 * day_us),
    ]
    texts = replay(captured(events, [1]), in_force(), step=Step(events=1)).texts()
    assert texts == live([events], in_force())
    assert '"transition":"EXIT"' in texts[-1]


def test_a_replay_from_a_state_writes_nothing_before_its_time_and_counts_its_own_events():
    captures, start = captured(A_DAY_AT_THE_CAFE), replay(captured(A_DAY_AT_THE_CAFE[:12]), in_force())
    journal = MemoryJournal()
    span = Span(A_DAY_AT_THE_CAFE[20][1], None)
    report = replayer(captures, journal, in_force(), span=span, start=start).run(nothing)
    assert journal.texts() == replay(captures, in_force(), span=span).texts()
    assert report.counts.events == 36 - 12


def test_of_the_state_of_a_comparison_only_the_side_in_force_goes_on():
    captures = captured(A_DAY_AT_THE_CAFE)
    start = replay(captured(A_DAY_AT_THE_CAFE[:12]), in_force(), changed=SECOND)
    alone = replay(captured(A_DAY_AT_THE_CAFE[:12]), in_force())
    for changed in (None, SECOND):
        assert (
            replay(captures, in_force(), changed=changed, start=start).rows.to_dicts()
            == replay(captures, in_force(), changed=changed, start=alone).rows.to_dicts()
            != []
        )


def test_numbers_that_an_old_hub_skipped_are_no_concern_of_the_new_one():
    later_us = 3600 * SECOND_US
    again = [(n, at_us + later_us, key, text) for n, at_us, key, text in A_DAY_AT_THE_CAFE]
    captures = MemoryCaptures(
        {
            path_at(0): A_DAY_AT_THE_CAFE[:10] + A_DAY_AT_THE_CAFE[15:],
            path_at(3600): again[:20],
            path_at(3660): again[:20],  # there twice
        }
    )
    assert replay(captures, in_force()).texts() != []


def test_a_second_run_reads_no_file_again_but_the_last():
    captures, journal = captured(A_DAY_AT_THE_CAFE), MemoryJournal()
    captures.files[path_at(5)] = []
    replayer(captures, journal, in_force()).run(nothing)
    captures.reads.clear()
    replayer(captures, journal, in_force()).run(nothing)
    assert captures.reads == [path_at(180)]


def test_the_state_of_a_device_that_was_silent_too_long_is_not_saved():
    events = [seen_at(0, "ann", CAFE, NOON_US), seen_at(1, "bob", CAFE, NOON_US + round((TTL_S + 1) * SECOND_US))]
    saved = replay(captured(events), in_force()).load("ns", "2")
    assert saved is not None
    assert set(saved.worlds[Side.IN_FORCE].states) == {"bob"}


def test_all_progress_adds_up_to_the_size_of_the_files():
    captures = captured(A_DAY_AT_THE_CAFE)
    captures.files[path_at(5)] = []
    for span in (Span(), Span(None, A_DAY_AT_THE_CAFE[12][1])):
        total, done = [], []
        replayer(captures, MemoryJournal(), in_force(), span=span).run(
            lambda size, total=total, done=done: total.append(size) or done.append
        )
        assert sum(done) == total[0] == sum(captures.sizes("dev-readfrom").values())


def test_no_capture_files_are_refused():
    with pytest.raises(ReplayRefused, match="no capture files of dev-readfrom"):
        replay(MemoryCaptures(), in_force())


def test_a_partition_that_the_settings_do_not_know_is_refused():
    captures = MemoryCaptures({path_at(0, "4"): A_DAY_AT_THE_CAFE})
    with pytest.raises(ConfigurationError, match="PARTITION_COUNT is 4, but there are capture files of partition 4"):
        replay(captures, in_force())


def test_a_time_that_ends_before_it_begins_is_refused():
    with pytest.raises(ReplayRefused, match="--from must be earlier than --to"):
        Span(NOON_US, NOON_US)


def test_a_state_of_later_events_is_refused():
    start = replay(captured(A_DAY_AT_THE_CAFE), in_force())
    with pytest.raises(ReplayRefused, match=r"has events up to 2026-06-01T12:12:00Z: --from must be later"):
        replay(captured(A_DAY_AT_THE_CAFE), in_force(), span=Span(NOON_US, None), start=start)


def test_a_state_of_another_number_of_partitions_is_refused():
    start = replay(captured(A_DAY_AT_THE_CAFE), in_force())
    with pytest.raises(ReplayRefused, match="PARTITION_COUNT is 8, but the state of partition 2 was made with 4"):
        replay(captured(A_DAY_AT_THE_CAFE), in_force(), start=start, partition_count=8)


def test_a_file_whose_events_are_in_disorder_is_refused():
    events = [A_DAY_AT_THE_CAFE[1], A_DAY_AT_THE_CAFE[0]]
    with pytest.raises(ReplayRefused, match="not in the order of their sequence numbers"):
        replay(captured(events), in_force())


def test_a_later_version_decides_from_its_second_on():
    at_s = (A_DAY_AT_THE_CAFE[20][1] - NOON_US) / SECOND_US
    rows = replay(captured(A_DAY_AT_THE_CAFE), in_force((at_s, SECOND))).rows
    by_version = {
        version: set(rows.filter(reference_version=version)["ping_sequence_number"]) for version in ("v1", "v2")
    }
    assert max(by_version["v1"]) < 20 <= min(by_version["v2"])
