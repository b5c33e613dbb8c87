"""What must hold on any stack, whatever happened to it: each event in the lake once, each offer one text."""

import asyncio
import json
from collections import Counter, defaultdict

import polars as pl

from infra.local import hub_reader
from infra.local.app_settings import read_settings
from infra.local.hub_reader import HubEvent
from infra.local.lake import lake_tables
from shared.medallion.tables import Table
from tests.cloud import Cloud
from tests.e2e.brute_force import Verdict


def hub_events(cloud: Cloud, hub: str) -> list[HubEvent]:
    """All that lies on a hub, by partition and sequence number."""
    connection = read_settings(cloud.home).event_hub.connection_string
    found = asyncio.run(hub_reader.read_to_end(connection, hub))
    return sorted(found, key=lambda event: (event.partition_id, event.sequence_number))


def rows(cloud: Cloud, table: Table) -> pl.DataFrame:
    """All rows of a lake table."""
    return lake_tables(read_settings(cloud.home)).scan(table).collect()


def footfall(cloud: Cloud, *arguments: str, timeout: float = 300) -> str:
    """Run a command that must succeed; what it printed."""
    ran = cloud.footfall(*arguments, timeout=timeout)
    assert ran.returncode == 0, f"footfall {' '.join(arguments)}: {ran.stdout}{ran.stderr}"
    return ran.stdout


def assert_each_event_once(events: list[HubEvent], *tables: pl.DataFrame) -> None:
    """The rows of the tables together are the events of the hub, each once."""
    found = Counter(
        key for table in tables for key in table.select("partition_id", "sequence_number").iter_rows()
    )  # fmt: skip
    assert max(found.values(), default=1) == 1, "an event is in the lake twice"
    assert set(found) == {(event.partition_id, event.sequence_number) for event in events}


def distinct_offers(events: list[HubEvent]) -> dict[str, dict]:
    """The offers by id; an offer said again must be the same bytes, and one visit has one offer of a promotion."""
    texts: defaultdict[str, set[bytes]] = defaultdict(set)
    for event in events:
        texts[json.loads(event.body)["id"]].add(event.body)
    assert all(len(bodies) == 1 for bodies in texts.values()), "an offer was said again with other bytes"
    return {offer_id: json.loads(bodies.pop())["data"] for offer_id, bodies in texts.items()}


def sent_decisions(events: list[HubEvent]) -> dict[str, dict]:
    """The decisions that sent an offer, by its id."""
    decided = (json.loads(event.body)["data"] for event in events)
    return {data["offer_id"]: data for data in decided if data["outcome"] == "sent"}


def verdicts(events: list[HubEvent]) -> Counter[Verdict]:
    """All decisions; one that was said again counts once, and must be the same bytes."""
    texts: defaultdict[str, set[bytes]] = defaultdict(set)
    for event in events:
        texts[json.loads(event.body)["id"]].add(event.body)
    assert all(len(bodies) == 1 for bodies in texts.values()), "a decision was said again with other bytes"
    return Counter(Verdict.of(json.loads(bodies.pop())["data"]) for bodies in texts.values())
