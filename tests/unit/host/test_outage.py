"""Waiting for what is away, and stopping meanwhile."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from azure.core.exceptions import ServiceRequestError

from infra.local.host.background import Calls, HostStopping, Signal
from infra.local.host.outage import Outage


def _failing(times: int) -> Callable[[], Awaitable[str]]:
    left = times

    async def action() -> str:
        nonlocal left
        left -= 1
        if left >= 0:
            raise ServiceRequestError("refused\nat length")
        return "done"

    return action


def test_an_outage_is_said_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(Outage("work", "the hub", pause_s=0).wait_out(_failing(5), Signal())) == "done"
    assert [record.getMessage() for record in caplog.records] == [
        "work waits for the hub: refused",
        "work goes on: the hub answers again",
    ]


def test_what_never_failed_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        asyncio.run(Outage("work", "the hub", pause_s=0).wait_out(_failing(0), Signal()))
    assert caplog.records == []


def test_a_stopping_host_waits_no_longer() -> None:
    async def play() -> None:
        stopping = Signal()
        stopping.set()
        await Outage("work", "the hub", pause_s=0).wait_out(_failing(99), stopping)

    with pytest.raises(HostStopping):
        asyncio.run(play())


def test_another_error_is_not_waited_out() -> None:
    async def action() -> None:
        raise KeyError("a mistake of ours")

    with pytest.raises(KeyError):
        asyncio.run(Outage("work", "the hub", pause_s=0).wait_out(action, Signal()))


def test_a_call_goes_on_when_its_waiter_is_cancelled() -> None:
    async def play() -> list[str]:
        happened: list[str] = []
        release = asyncio.Event()

        async def work() -> None:
            await release.wait()
            happened.append("ended")

        calls = Calls()
        waiter = asyncio.create_task(calls.run(work()))
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        happened.append("cancelled")
        release.set()
        await calls.finished()
        return happened

    assert asyncio.run(play()) == ["cancelled", "ended"]
