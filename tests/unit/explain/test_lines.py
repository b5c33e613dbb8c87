"""The story as it is read on a terminal."""

from dataclasses import replace

from infra.commands.why import lines
from shared.domain.decision import DecisionReason, Outcome
from shared.workflows.explain import Story, explain
from tests.unit.evaluate.world import NOON_US, reference
from tests.unit.explain.records import HOUR_US, always, decided, history


def story(*decisions, **more) -> Story:
    return explain(history(*decisions, **more), always(reference()), partition_count=4, at_us=NOON_US)


def test_what_was_sent_what_was_not_and_what_failed_each_have_a_line():
    told = story(
        decided(),
        decided(DecisionReason.HELD_OUT, promotion_id="cake"),
        decided(DecisionReason.NO_PROMOTION, promotion_id=None),
        decided(DecisionReason.INTERNAL_ERROR, outcome=Outcome.FAILED, promotion_id=None, store_id=None),
    )
    words = [line.strip().split(": ")[:2] for line in lines(told) if line.startswith(" " * 12)]
    assert words == [
        ["failed", "deciding raised an error; the log of the app has it under event 1000 of partition 2"],
        ["sent", "coffee"],
        ["not sent", "the store runs no promotion"],
        ["not sent", "cake"],
    ]


def test_a_story_of_one_day_says_the_date_once_and_one_of_several_says_it_before_each():
    one = [line for line in lines(story(decided())) if "2026-" in line]
    assert len(one) == 1
    several = story(decided(), decided(tracked_us=NOON_US - 24 * HOUR_US), start_us=NOON_US - 25 * HOUR_US)
    assert [line for line in lines(several) if line.startswith("  2026-")] == ["  2026-05-31", "  2026-06-01"]


def test_the_moment_that_was_asked_for_is_marked():
    told = list(lines(story(decided(), decided(tracked_us=NOON_US + HOUR_US // 2))))
    assert [line[:10] for line in told if line[2:4] == "12"] == ["> 12:00:00", "  12:30:00"]


def test_no_character_of_an_id_steers_the_terminal():
    told = replace(story(), device_id="d1", summary="device \x1b[2J\n\u202eNaïve 🚶 日本")
    assert next(lines(told)) == "device \\x1b[2J\\n\\u202eNaïve 🚶 日本"
