"""One partition of an Event Hub trigger: batches in order, the retry policy, and when a checkpoint may be written."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from infra.local.host.background import Signal
from infra.local.host.invoker import Outcome
from infra.local.host.retry import RetryContext, RetryPolicy


class Positioned(Protocol):
    """An event as far as the pump looks at it."""

    @property
    def sequence_number(self) -> int: ...

    @property
    def enqueued_ms(self) -> int: ...


class _Lease:
    """One period in which this host owns the partition."""

    def __init__(self) -> None:
        self.lost = Signal()
        self._newest = (-1, -1)
        self.batches = 0

    def take_new[E: Positioned](self, events: Sequence[E]) -> list[E]:
        """The events that were not handed out in this lease yet, in order.

        When the SDK reconnects it keeps what it had buffered and reads the same events again behind it. Both the number
        and the time must be old, so that a hub that was made anew and counts from 0 again loses nothing.
        """
        new = []
        for event in events:
            number, time = self._newest
            if event.sequence_number > number or event.enqueued_ms > time:
                self._newest = (event.sequence_number, event.enqueued_ms)
                new.append(event)
        return new


class PartitionPump[E: Positioned]:
    """Calls the function for one partition's batches, one call after the other.

    `call` runs the function once for some events. A call that is under way when the partition is lost runs to its end,
    as on Azure, but nothing is checkpointed, and whoever owns the partition next gets the same events.
    """

    def __init__(
        self,
        call: Callable[[Sequence[E], RetryContext], Awaitable[Outcome]],
        policy: RetryPolicy | None,
        *,
        one_by_one: bool = False,
        checkpoint_every: int = 1,
    ) -> None:
        self._call = call
        self._policy = policy
        self._one_by_one = one_by_one
        self._checkpoint_every = checkpoint_every
        self._lease = _Lease()
        self._lease.lost.set()
        # Held while the function runs: after a lost and regained lease the old call ends before the new one begins.
        self._turn = asyncio.Lock()

    def open(self) -> None:
        """This host owns the partition from now on."""
        self._lease.lost.set()
        self._lease = _Lease()

    def close(self) -> None:
        """The partition is another's, or the host is stopping."""
        self._lease.lost.set()

    async def process(self, events: Sequence[E], checkpoint: Callable[[], Awaitable[None]]) -> None:
        """Have the function process a batch as it was read, then checkpoint its last event."""
        lease = self._lease
        async with self._turn:
            new = lease.take_new(events)
            for batch in [[event] for event in new] if self._one_by_one else [new] if new else []:
                await self._run_policy(lease, batch)
            lease.batches += 1
            if not lease.lost.is_set and lease.batches % self._checkpoint_every == 0:
                await checkpoint()

    async def _run_policy(self, lease: _Lease, events: Sequence[E]) -> None:
        context = RetryContext(max_retry_count=self._policy.max_retry_count if self._policy else 0)
        while not lease.lost.is_set:
            outcome = await self._call(events, context)
            retry = context.retry_count + 1
            if outcome.succeeded or self._policy is None or not self._policy.allows(retry):
                return
            if await lease.lost.within(self._policy.delay(retry).total_seconds()):
                return
            context = RetryContext(retry, self._policy.max_retry_count, outcome.error)
