"""The demo's figures: what was counted at each station of the chain, and whether the stations agree."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from infra.local.hub_reader import HubEvent


@dataclass(frozen=True, slots=True)
class Figures:
    """What each station counted; `announced` is what the simulator said that it will send."""

    announced: int
    on_hub: int
    captured: int
    silver_pings: int
    quarantine: int
    rejected: int
    offers_emitted: int
    offers_captured: int
    gold_tables: int
    gold_tables_wanted: int

    def disagreements(self) -> list[str]:
        """Every two stations that should have counted the same and did not, in words; empty when all is well."""
        kept = self.silver_pings + self.quarantine
        pairs = (
            ("pings announced and on the hub", self.announced, self.on_hub),
            ("pings on the hub and captured", self.on_hub, self.captured),
            ("pings captured and in silver or quarantine", self.captured, kept),
            ("bodies in quarantine and rejected in gold", self.quarantine, self.rejected),
            ("distinct offers emitted and captured", self.offers_emitted, self.offers_captured),
            ("gold tables there should be and with rows", self.gold_tables_wanted, self.gold_tables),
        )
        found = [f"{what}: {one:,} and {other:,}" for what, one, other in pairs if one != other]
        return found if self.offers_emitted else [*found, "not one offer was emitted"]

    def last_line(self, seconds: float) -> str:
        """The demo's last line; tests and people rely on its shape."""
        return (
            f"demo: pings={self.on_hub} rejected={self.rejected} offers={self.offers_emitted} "
            f"silver_pings={self.silver_pings} quarantine={self.quarantine} gold_tables={self.gold_tables} "
            f"seconds={seconds:.0f}"
        )


class _DecisionData(msgspec.Struct):
    offer_id: str | None
    partition_id: str
    sequence_number: int


class _Decision(msgspec.Struct):
    data: _DecisionData


class _Offer(msgspec.Struct):
    id: str


@dataclass(frozen=True, slots=True)
class Latency:
    """From the ping's arrival on its hub to the offer's on its own, in milliseconds."""

    p50_ms: float
    p95_ms: float
    max_ms: float
    offers: int


def offer_times(offers: Iterable[HubEvent]) -> dict[str, int]:
    """When each distinct offer was first enqueued, in milliseconds since 1970."""
    first: dict[str, int] = {}
    for event in offers:
        offer = msgspec.json.decode(event.body, type=_Offer)
        first[offer.id] = min(event.enqueued_ms, first.get(offer.id, event.enqueued_ms))
    return first


def latency(pings: Iterable[HubEvent], decisions: Iterable[HubEvent], offered_ms: Mapping[str, int]) -> Latency | None:
    """How long offers took; a decision says which ping led to which offer. None when there are none."""
    pinged_ms = {(ping.partition_id, ping.sequence_number): ping.enqueued_ms for ping in pings}
    taken = {}
    for event in decisions:
        data = msgspec.json.decode(event.body, type=_Decision).data
        if data.offer_id is not None and data.offer_id in offered_ms:
            taken[data.offer_id] = offered_ms[data.offer_id] - pinged_ms[data.partition_id, data.sequence_number]
    if not taken:
        return None
    p50, p95, longest = np.percentile(list(taken.values()), [50, 95, 100])
    return Latency(float(p50), float(p95), float(longest), len(taken))
