"""Which adapter stands behind which port: the one composition root.

Each part is built on first use, once a process. Heavy libraries are imported by the function that needs them, so that a
worker that only evaluates pings never loads the lake.
"""

import time
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from shared.settings import Settings

if TYPE_CHECKING:
    from shared.adapters.delta_tables import DeltaTables
    from shared.adapters.reference_catalogue import ReferenceContainer
    from shared.workflows.analytics import Analytics
    from shared.workflows.build_gold import GoldBuilder
    from shared.workflows.evaluate import Evaluator
    from shared.workflows.health import HealthCheck
    from shared.workflows.maintain import Maintainer
    from shared.workflows.reference import ReferenceCatalogue
    from shared.workflows.refine import Refiner
    from shared.workflows.simulate import Simulator

SAMPLE_ROUTE = Path(__file__).parent.parent / "infra" / "local" / "sample" / "route.csv"
"""Beside the code on a laptop; a deployment has none, and then a route must come with the request."""


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings.from_env()


def now_us() -> int:
    """The clock, in microseconds since 1970 UTC. Decisions never ask it."""
    return time.time_ns() // 1_000


@cache
def reference_container() -> "ReferenceContainer":
    """Where the published reference data lies."""
    from shared.adapters.azure_clients import blob_service
    from shared.adapters.reference_catalogue import ReferenceContainer

    return ReferenceContainer.of(blob_service(settings().lake_storage), settings().reference_container)


@cache
def references() -> "ReferenceCatalogue":
    """The reference data that decides an event."""
    from shared.adapters.reference_files import parse_reference
    from shared.workflows.reference import ReferenceCatalogue

    return ReferenceCatalogue(reference_container(), parse_reference, now_us)


@cache
def evaluator() -> "Evaluator":
    """Evaluates batches of pings."""
    from shared.adapters.azure_clients import table_service
    from shared.adapters.event_hubs import HubInfo
    from shared.adapters.state_table import StateTable
    from shared.workflows.evaluate import Evaluator

    own = settings()
    return Evaluator(
        references(),
        StateTable.of(table_service(own.state_storage), own.state_table),
        HubInfo(own.event_hub, own.pings_hub, own.consumer_group),
        partition_count=own.partition_count,
        delivery_window_s=own.delivery_window_s,
    )


@cache
def health_check() -> "HealthCheck":
    """Says how the app is."""
    from shared.adapters.azure_clients import table_service
    from shared.adapters.event_hubs import HubInfo
    from shared.adapters.state_table import StateTable
    from shared.workflows.health import HealthCheck

    own = settings()
    return HealthCheck(
        own,
        references(),
        HubInfo(own.event_hub, own.pings_hub, own.consumer_group),
        StateTable.of(table_service(own.state_storage), own.state_table),
        evaluator(),
        now_us,
    )


@cache
def lake() -> "DeltaTables":
    """The tables of the lake; silver remembers its files for the bronze lifetime and a week."""
    from shared.adapters.delta_tables import DeltaTables
    from shared.adapters.lake_storage import LakeStorage

    return DeltaTables(LakeStorage.of(settings()), remembered=_remembered())


@cache
def refiner() -> "Refiner":
    """Turns capture files into silver."""
    from shared.adapters.azure_clients import blob_service
    from shared.adapters.capture_files import CaptureContainer
    from shared.medallion.device_keys import DeviceKeys
    from shared.workflows.refine import HubNames, Refiner

    own = settings()
    return Refiner(
        CaptureContainer(blob_service(own.lake_storage), own.bronze_container),
        lake(),
        references(),
        DeviceKeys(own.device_keys),
        HubNames(own.pings_hub, own.offers_hub, own.decisions_hub),
        _remembered(),
        now_us,
    )


@cache
def gold_builder() -> "GoldBuilder":
    """Brings gold up to silver, after the tables of the reference data."""
    from shared.medallion.gold import BuildContext
    from shared.workflows.build_gold import GoldBuilder
    from shared.workflows.reference_tables import ReferenceTables

    own = settings()
    published = ReferenceTables(reference_container(), references().load, lake())
    return GoldBuilder(lake(), BuildContext(own.gold_min_devices, own.attribution_days), before=published.sync)


@cache
def maintainer() -> "Maintainer":
    """Looks after the lake's files."""
    from shared.adapters.delta_maintenance import DeltaMaintenance
    from shared.adapters.lake_storage import LakeStorage
    from shared.workflows.maintain import Maintainer

    return Maintainer(DeltaMaintenance(lake(), LakeStorage.of(settings())), now_us)


@cache
def analytics() -> "Analytics":
    """Answers analysts, from gold only."""
    from shared.adapters.sql_engine import DuckDbEngine
    from shared.medallion.lake import GOLD_TABLES
    from shared.workflows.analytics import Analytics, SqlLimits

    own = settings()
    limits = SqlLimits(own.sql_max_rows, own.sql_timeout_s, own.sql_memory_mb)
    return Analytics(GOLD_TABLES, lake(), DuckDbEngine(GOLD_TABLES, lake()), limits)


@cache
def simulator() -> "Simulator":
    """Sends simulated pings."""
    from shared.adapters.ping_sender import HubPingSender
    from shared.adapters.route_file import read_route
    from shared.workflows.simulate import Simulator

    own = settings()
    return Simulator(
        references(),
        lambda: HubPingSender(own.event_hub, own.pings_hub),
        lambda: read_route(SAMPLE_ROUTE),
        now_us,
        is_enabled=own.simulator_enabled,
    )


def _remembered() -> timedelta:
    return timedelta(days=settings().bronze_lifetime_days + 7)
