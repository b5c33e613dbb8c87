"""Counting at every station of the demo: hubs, capture files, silver, quarantine, gold."""

import asyncio
import io
from dataclasses import dataclass

import fastavro
import polars as pl
from azure.storage.blob import BlobServiceClient

from infra.commands.demo_figures import Figures, Latency, latency, offer_times
from infra.local import hub_reader
from infra.local.hub_reader import HubEvent
from infra.local.lake import lake_tables
from shared.adapters.azure_clients import blob_service
from shared.medallion.data_quality_hourly import DATA_QUALITY_HOURLY
from shared.medallion.lake import GOLD_TABLES
from shared.medallion.offers import OFFERS
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Stations:
    """What was found at the stations: the figures, and what they are made of."""

    figures: Figures
    rejected: list[tuple[str, int]]
    """By reason, the most frequent first."""
    offers: list[tuple[str, int]]
    """Distinct ones by merchant."""
    gold: dict[str, pl.DataFrame]
    latency: Latency | None


def count_stations(settings: Settings, announced: int) -> Stations:
    """Count at every station what became of the `announced` pings."""
    lake = lake_tables(settings)
    pings, offers, decisions = asyncio.run(_read_hubs(settings))
    offered_ms = offer_times(offers)
    quality = lake.scan(DATA_QUALITY_HOURLY.table).filter(hub=settings.pings_hub)
    gold = {str(table): lake.scan(table).collect() for table in GOLD_TABLES}
    silver_offers = lake.scan(OFFERS).unique("offer_id")
    figures = Figures(
        announced=announced,
        on_hub=len(pings),
        captured=_captured(settings),
        silver_pings=_rows(lake.scan(PINGS)),
        quarantine=_rows(lake.scan(BODIES)),
        rejected=quality.select(pl.col("rejected").sum()).collect().item(),
        offers_emitted=len(offered_ms),
        offers_captured=_rows(silver_offers),
        gold_tables=sum(not rows.is_empty() for rows in gold.values()),
        gold_tables_wanted=len(GOLD_TABLES),
    )
    return Stations(
        figures,
        rejected=_counts(lake.scan(BODIES), "reason"),
        offers=_counts(silver_offers, "merchant"),
        gold=gold,
        latency=latency(pings, decisions, offered_ms),
    )


async def _read_hubs(settings: Settings) -> list[list[HubEvent]]:
    connection = settings.event_hub.connection_string
    hubs = (settings.pings_hub, settings.offers_hub, settings.decisions_hub)
    return await asyncio.gather(*(hub_reader.read_to_end(connection, hub) for hub in hubs))


def _captured(settings: Settings) -> int:
    """The events of the pings hub in capture files, counted from the files themselves."""
    with blob_service(settings.lake_storage) as blobs:
        return sum(_events_in(blobs, settings.bronze_container, name) for name in _files(blobs, settings))


def _files(blobs: BlobServiceClient, settings: Settings) -> list[str]:
    names = blobs.get_container_client(settings.bronze_container).list_blob_names()
    return [name for name in names if f"/{settings.pings_hub}/" in name]


def _events_in(blobs: BlobServiceClient, container: str, name: str) -> int:
    content = blobs.get_blob_client(container, name).download_blob().readall()
    return sum(block.num_records for block in fastavro.block_reader(io.BytesIO(content)))


def _rows(frame: pl.LazyFrame) -> int:
    return int(frame.select(pl.len()).collect().item())


def _counts(frame: pl.LazyFrame, column: str) -> list[tuple[str, int]]:
    return frame.group_by(column).len().sort("len", column, descending=[True, False]).collect().rows()
