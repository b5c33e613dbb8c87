"""Where a consumer starts, for each way in which the SDKs ask for it."""

from pathlib import Path

import pytest

from infra.local.eventhubs.errors import AmqpError, Condition
from infra.local.eventhubs.log import PartitionLog
from infra.local.eventhubs.selector import StartPosition, first_sequence_number, parse_selector


@pytest.fixture(name="log")
def _log(tmp_path: Path) -> PartitionLog:
    """Events 0 to 9, one millisecond apart from 1000 on."""
    now = iter(range(1000, 1010))
    log = PartitionLog(tmp_path, now_ms=lambda: next(now))
    for _ in range(10):
        log.append([(b"message", None)])
    return log


def first(text: str | None, log: PartitionLog) -> int:
    return first_sequence_number(parse_selector(text), log)


def test_each_annotation_and_operator_is_understood(log: PartitionLog) -> None:
    offset = log.read(4, max_events=1, max_bytes=1000)[0].offset

    assert first(f"amqp.annotation.x-opt-offset > '{offset}'", log) == 5
    assert first(f"amqp.annotation.x-opt-offset >= '{offset}'", log) == 4
    assert first("amqp.annotation.x-opt-sequence-number > '4'", log) == 5
    assert first("amqp.annotation.x-opt-sequence-number >= '4'", log) == 4
    assert first("amqp.annotation.x-opt-enqueued-time > '1004'", log) == 5
    assert first("amqp.annotation.x-opt-enqueued-time >= '1004'", log) == 4


def test_the_beginning_the_end_and_no_selector(log: PartitionLog) -> None:
    assert first(None, log) == 0
    assert first("amqp.annotation.x-opt-offset > '-1'", log) == 0
    assert first("amqp.annotation.x-opt-offset >= '-1'", log) == 0
    assert first("amqp.annotation.x-opt-sequence-number > '-1'", log) == 0
    assert first("amqp.annotation.x-opt-offset > '@latest'", log) == 10


def test_a_time_after_the_newest_event_waits_for_the_next_one(log: PartitionLog) -> None:
    assert first("amqp.annotation.x-opt-enqueued-time > '99999'", log) == 10


def test_the_newest_event_itself_is_a_position(log: PartitionLog) -> None:
    assert first(f"amqp.annotation.x-opt-offset > '{log.last_offset}'", log) == 10
    assert first("amqp.annotation.x-opt-sequence-number > '9'", log) == 10
    assert first("amqp.annotation.x-opt-sequence-number >= '10'", log) == 10


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("amqp.annotation.x-opt-sequence-number > '10'", "sequence number '10' is invalid. .* in the system is '9'"),
        ("amqp.annotation.x-opt-offset > '99999'", "offset '99999' is invalid. The last offset in the system is '333'"),
    ],
)
def test_a_position_beyond_the_newest_event_is_refused_as_the_service_does(
    log: PartitionLog, selector: str, words: str
) -> None:
    with pytest.raises(AmqpError, match=words) as caught:
        first(selector, log)

    assert caught.value.condition == Condition.ARGUMENT_ERROR


def test_an_empty_partition_has_a_beginning_and_an_end_but_no_position(tmp_path: Path) -> None:
    log = PartitionLog(tmp_path)

    assert first("amqp.annotation.x-opt-offset > '-1'", log) == 0
    assert first("amqp.annotation.x-opt-offset > '@latest'", log) == 0
    with pytest.raises(AmqpError, match="The last offset in the system is '-1'"):
        first("amqp.annotation.x-opt-offset > '500'", log)


@pytest.mark.parametrize(
    "text",
    ["", "x > 1", "amqp.annotation.x-opt-offset < '1'", "amqp.annotation.x-opt-offset > 'one'",
     "amqp.annotation.x-opt-offset > '1' AND 1 = 1", "amqp.annotation.x-opt-offset > '99999999999999999999'"],
)  # fmt: skip
def test_another_filter_is_refused_with_the_words_of_the_service(text: str) -> None:
    with pytest.raises(AmqpError, match="is not a valid amqp filter for EventHub entities") as caught:
        parse_selector(text)

    assert caught.value.condition == Condition.INVALID_FIELD


def test_quotes_are_optional() -> None:
    assert parse_selector("amqp.annotation.x-opt-offset >= 12") == StartPosition("offset", 12, inclusive=True)
