"""What a partition's pump promises: order, the retry policy, and checkpoints only where Azure writes them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.host.invoker import Outcome
from infra.local.host.partition_pump import PartitionPump
from infra.local.host.retry import RetryContext, RetryPolicy, RetryStrategy


@dataclass(frozen=True, slots=True)
class Event:
    sequence_number: int
    enqueued_ms: int = 0


@dataclass
class FakeFunction:
    """A function that fails as often as it is told; remembers what it was called with."""

    failures: int = 0
    calls: list[tuple[list[int], RetryContext]] = field(default_factory=list)
    before: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, events: Sequence[Event], context: RetryContext) -> Outcome:
        self.calls.append(([event.sequence_number for event in events], context))
        if self.before is not None:
            await self.before()
        if self.failures > 0:
            self.failures -= 1
            return Outcome("id", 1.0, "ValueError: told to")
        return Outcome("id", 1.0)


def _policy(count: int, seconds: float = 0.0) -> RetryPolicy:
    delay = timedelta(seconds=seconds)
    return RetryPolicy(RetryStrategy.FIXED_DELAY, count, delay, delay)


def _events(*numbers: int) -> list[Event]:
    return [Event(number) for number in numbers]


class Checkpoints:
    """Counts the checkpoints that a pump writes."""

    def __init__(self) -> None:
        self.written = 0

    async def __call__(self) -> None:
        self.written += 1


def _opened(function: FakeFunction, policy: RetryPolicy | None = None, **options: int) -> PartitionPump[Event]:
    pump = PartitionPump(function, policy, **options)
    pump.open()
    return pump


def test_a_batch_is_processed_and_then_checkpointed() -> None:
    function, checkpoints = FakeFunction(), Checkpoints()
    asyncio.run(_opened(function).process(_events(1, 2), checkpoints))
    assert function.calls == [([1, 2], RetryContext())]
    assert checkpoints.written == 1


def test_without_a_policy_a_failed_batch_is_checkpointed_all_the_same() -> None:
    function, checkpoints = FakeFunction(failures=9), Checkpoints()
    asyncio.run(_opened(function).process(_events(1), checkpoints))
    assert len(function.calls) == 1
    assert checkpoints.written == 1


def test_a_retry_gets_the_same_events_and_is_told_why() -> None:
    function, checkpoints = FakeFunction(failures=2), Checkpoints()
    asyncio.run(_opened(function, _policy(5)).process(_events(1, 2), checkpoints))
    assert [numbers for numbers, _ in function.calls] == [[1, 2]] * 3
    assert [context.retry_count for _, context in function.calls] == [0, 1, 2]
    assert function.calls[2][1] == RetryContext(2, 5, "ValueError: told to")
    assert checkpoints.written == 1


def test_a_policy_that_is_used_up_ends_with_a_checkpoint() -> None:
    function, checkpoints = FakeFunction(failures=99), Checkpoints()
    asyncio.run(_opened(function, _policy(2)).process(_events(1), checkpoints))
    assert len(function.calls) == 3
    assert checkpoints.written == 1


def test_cardinality_one_calls_for_each_event_and_checkpoints_the_batch() -> None:
    function, checkpoints = FakeFunction(), Checkpoints()
    asyncio.run(_opened(function, one_by_one=True).process(_events(1, 2, 3), checkpoints))
    assert [numbers for numbers, _ in function.calls] == [[1], [2], [3]]
    assert checkpoints.written == 1


def test_a_checkpoint_frequency_of_two_writes_every_second_batch() -> None:
    async def play() -> int:
        checkpoints = Checkpoints()
        pump = _opened(FakeFunction(), checkpoint_every=2)
        for number in range(5):
            await pump.process(_events(number), checkpoints)
        return checkpoints.written

    assert asyncio.run(play()) == 2


def test_a_partition_lost_during_a_call_is_not_checkpointed() -> None:
    async def play() -> tuple[FakeFunction, Checkpoints]:
        function, checkpoints = FakeFunction(), Checkpoints()
        pump = _opened(function)

        async def lose() -> None:
            pump.close()

        function.before = lose
        await pump.process(_events(1), checkpoints)
        return function, checkpoints

    function, checkpoints = asyncio.run(play())
    assert len(function.calls) == 1
    assert checkpoints.written == 0


def test_a_partition_lost_between_two_tries_ends_the_policy_at_once() -> None:
    async def play() -> tuple[FakeFunction, Checkpoints]:
        function, checkpoints = FakeFunction(failures=99), Checkpoints()
        pump = _opened(function, _policy(-1, seconds=3600))
        work = asyncio.create_task(pump.process(_events(1), checkpoints))
        while not function.calls:
            await asyncio.sleep(0)
        pump.close()
        await asyncio.wait_for(work, 5)
        return function, checkpoints

    function, checkpoints = asyncio.run(play())
    assert len(function.calls) == 1
    assert checkpoints.written == 0


def test_a_batch_that_waits_while_its_partition_is_lost_is_never_begun() -> None:
    async def play() -> tuple[FakeFunction, Checkpoints]:
        function, checkpoints = FakeFunction(), Checkpoints()
        pump = _opened(function)
        pump.close()
        await pump.process(_events(1), checkpoints)
        return function, checkpoints

    function, checkpoints = asyncio.run(play())
    assert function.calls == []
    assert checkpoints.written == 0


def test_a_regained_partition_waits_for_the_call_of_the_lost_one() -> None:
    async def play() -> list[str]:
        happened: list[str] = []
        release = asyncio.Event()

        async def call(events: Sequence[Event], context: RetryContext) -> Outcome:
            happened.append(f"begin {events[0].sequence_number}")
            if len(happened) == 1:
                await release.wait()
            happened.append(f"end {events[0].sequence_number}")
            return Outcome("id", 1.0)

        pump = PartitionPump(call, None)
        pump.open()
        first = asyncio.create_task(pump.process(_events(1), Checkpoints()))
        await asyncio.sleep(0)
        pump.close()
        pump.open()
        second = asyncio.create_task(pump.process(_events(1, 2), Checkpoints()))
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(first, second)
        return happened

    assert asyncio.run(play()) == ["begin 1", "end 1", "begin 1", "end 1"]


def test_events_that_the_sdk_repeats_after_a_reconnect_are_handed_out_once() -> None:
    async def play() -> FakeFunction:
        function = FakeFunction()
        pump = _opened(function)
        await pump.process(_events(5, 6, 7), Checkpoints())
        await pump.process(_events(8, 9, 5, 6, 7, 8, 9, 10), Checkpoints())
        return function

    assert [numbers for numbers, _ in asyncio.run(play()).calls] == [[5, 6, 7], [8, 9, 10]]


def test_a_batch_of_repeats_only_calls_nothing() -> None:
    async def play() -> FakeFunction:
        function = FakeFunction()
        pump = _opened(function)
        for _ in range(2):
            await pump.process(_events(5, 6), Checkpoints())
        return function

    assert len(asyncio.run(play()).calls) == 1


def test_a_hub_made_anew_counts_from_zero_and_loses_nothing() -> None:
    async def play() -> FakeFunction:
        function = FakeFunction()
        pump = _opened(function)
        await pump.process([Event(900, enqueued_ms=1000)], Checkpoints())
        await pump.process([Event(0, enqueued_ms=2000), Event(1, enqueued_ms=2000)], Checkpoints())
        return function

    # The second event of the new hub has the first one's time, but a higher number.
    assert [numbers for numbers, _ in asyncio.run(play()).calls] == [[900], [0, 1]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 6), max_size=12), st.integers(0, 10_000))
def test_every_event_is_handed_out_once_and_in_order_however_it_is_cut_and_repeated(cuts: list[int], seed: int) -> None:
    async def play() -> list[int]:
        function = FakeFunction()
        pump = _opened(function)
        begin = 0
        for place, size in enumerate(cuts):
            # Each batch may begin with some of what was read before, as after a reconnect.
            back = (seed >> place) % 3
            numbers = range(max(0, begin - back), begin + size)
            await pump.process([Event(number, number) for number in numbers], Checkpoints())
            begin += size
        return [number for numbers, _ in function.calls for number in numbers]

    assert asyncio.run(play()) == list(range(sum(cuts)))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_policy_of_n_retries_makes_at_most_n_plus_one_calls(count: int) -> None:
    function = FakeFunction(failures=100)
    asyncio.run(_opened(function, _policy(count)).process(_events(1), Checkpoints()))
    assert len(function.calls) == count + 1
