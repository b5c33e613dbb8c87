"""Broker, host and storage are killed in the middle of a burst and started again: nothing is lost, nothing doubled."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest

from infra.local.app_settings import read_settings
from infra.local.home import REPO
from shared.adapters.ping_sender import HubPingSender
from shared.adapters.reference_files import parse_reference, read_reference_files
from shared.domain.simulation import PlannedPing, SimulationRequest, plan
from shared.errors import HubUnavailable
from shared.medallion.decisions import DECISIONS
from shared.medallion.offers import OFFERS
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.workflows.sending import OutgoingPing
from tests.cloud import Cloud
from tests.e2e.brute_force import Sent, World, expect, instant
from tests.e2e.checks import (
    assert_each_event_once,
    distinct_offers,
    footfall,
    hub_events,
    rows,
    sent_decisions,
    verdicts,
)
from tests.polling import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SAMPLE = REPO / "infra" / "local" / "sample"
BURST = SimulationRequest(
    devices=200, seconds=40, rate=200, seed=3, duplicates_percent=1, disorder_percent=1, hostile_percent=1
)
CHUNK = 50


@dataclass
class Burst:
    """Sends simulated pings as time goes by, each chunk again until it is acknowledged."""

    cloud: Cloud
    acknowledged: list[bytes] = field(default_factory=list)

    def start(self) -> threading.Thread:
        reference = parse_reference(read_reference_files(SAMPLE / "stores.csv", SAMPLE / "promotions.json"))
        planned = plan(BURST, seed=3, start_us=time.time_ns() // 1_000, stores=reference.stores)
        thread = threading.Thread(target=lambda: asyncio.run(self._send(list(planned.write()))), daemon=True)
        thread.start()
        return thread

    async def _send(self, pings: list[PlannedPing]) -> None:
        settings = read_settings(self.cloud.home)
        started_s = time.monotonic()
        async with HubPingSender(settings.event_hub, settings.pings_hub) as sender:
            for first in range(0, len(pings), CHUNK):
                chunk = pings[first : first + CHUNK]
                while chunk[-1].offset_s > time.monotonic() - started_s:
                    await asyncio.sleep(0.05)
                await self._until_acknowledged(sender, [OutgoingPing(one.device_id, one.body) for one in chunk])

    async def _until_acknowledged(self, sender: HubPingSender, chunk: list[OutgoingPing]) -> None:
        while True:
            try:
                await sender.send(chunk)
            except HubUnavailable:
                continue  # some may have arrived: they arrive twice then, as two events
            self.acknowledged += [ping.body for ping in chunk]
            return


def kill_and_start(cloud: Cloud, service: str) -> None:
    """kill -9, and what `footfall up` does about it."""
    pid = cloud.pids()[service]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: cloud.pids()[service] is None, 10, f"the end of {service}")
    footfall(cloud, "up", "--detach")


def test_killing_broker_host_and_storage_loses_nothing_and_doubles_nothing(cloud: Cloud) -> None:
    footfall(cloud, "reference", "load", str(SAMPLE / "stores.csv"), str(SAMPLE / "promotions.json"))
    burst = Burst(cloud)
    sending = burst.start()
    total = round(BURST.rate * BURST.seconds)
    for share, service in ((0.15, "host"), (0.3, "eventhubs"), (0.45, "azurite"), (0.6, "host"), (0.75, "azurite")):
        wait_until(lambda at=share * total: len(burst.acknowledged) >= at, 120, f"{share:.0%} of the burst")
        kill_and_start(cloud, service)
    sending.join(120)
    assert len(burst.acknowledged) == total
    footfall(cloud, "flush", "--timeout", "180")

    events = hub_events(cloud, "dev-readfrom")
    missing = Counter(burst.acknowledged) - Counter(event.body for event in events)
    assert not missing, "every acknowledged ping is on the hub"
    pings, bodies = rows(cloud, PINGS), rows(cloud, BODIES)
    assert_each_event_once(events, pings, bodies.filter(hub="dev-readfrom"))
    offer_events, decision_events = hub_events(cloud, "dev-writeto"), hub_events(cloud, "dev-decisions")
    assert_each_event_once(offer_events, rows(cloud, OFFERS))
    assert_each_event_once(decision_events, rows(cloud, DECISIONS))

    emitted, decided = distinct_offers(offer_events), sent_decisions(decision_events)
    assert set(emitted) == set(decided)
    visits = {
        (data["device_id"], data["store_id"], data["promotion_id"], data["tracked_at"]) for data in decided.values()
    }
    assert len(visits) == len(emitted) > 0, "one offer for a device, store, promotion and visit"

    accepted = set(pings.select("partition_id", "sequence_number").iter_rows())
    world = World.read(SAMPLE / "stores.csv", SAMPLE / "promotions.json")
    expected = expect((one for one in events if (one.partition_id, one.sequence_number) in accepted), world)
    assert {Sent(device, store, promotion, instant(at)) for device, store, promotion, at in visits} == expected.offers
    assert verdicts(decision_events) == Counter(expected.verdicts)
