"""`footfall reference`: check and publish stores and promotions."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from infra.commands.common import HomeOption, JsonOption, console, errors, print_json, running_stack
from infra.local.app_settings import read_settings
from infra.local.home import DEFAULT_HOME, Home
from shared.adapters.azure_clients import blob_service
from shared.adapters.reference_catalogue import ReferenceContainer
from shared.adapters.reference_files import parse_reference, read_reference_files
from shared.domain.reference import ReferenceData
from shared.domain.reference_warnings import warnings_of
from shared.settings import Settings
from shared.workflows.reference import Publication, publish

reference = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Stores and promotions: check them, publish a version."
)

DEFAULT_PARTITIONS = Settings.from_env({}).partition_count
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

StoresFile = Annotated[
    Path,
    typer.Argument(metavar="STORES", exists=True, dir_okay=False, help="The stores: a .csv, or a .geojson (.json)."),
]
PromotionsFile = Annotated[
    Path, typer.Argument(metavar="PROMOTIONS", exists=True, dir_okay=False, help="The promotions: a .json.")
]
SuppressedFile = Annotated[
    Path | None,
    typer.Option("--suppressed", exists=True, dir_okay=False, help="Devices that opted out: a .csv with their ids."),
]


@reference.command()
def load(
    stores: StoresFile,
    promotions: PromotionsFile,
    suppressed: SuppressedFile = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Publish a version; a file with faults is refused whole, with every fault listed."""
    publication = load_reference(running_stack(home).home, stores, promotions, suppressed)
    entry = publication.entry
    active_from = _EPOCH + timedelta(microseconds=entry.active_from_us)
    if as_json:
        print_json(
            {
                "version": entry.version,
                "active_from": active_from,
                "stores": publication.stores,
                "promotions": publication.promotions,
                "was_newest": publication.was_newest,
                "warnings": publication.warnings,
            }
        )
        return
    _print_warnings(publication.warnings)
    what = f"version {entry.version}: {_count(publication.stores, 'store')}, "
    what += _count(publication.promotions, "promotion")
    if publication.was_newest:
        console.print(f"{what}; it was the newest already")
    elif entry.active_from_us == 0:
        console.print(f"{what}; in force from the beginning, as the first one")
    else:
        console.print(f"{what}; in force from {active_from:%Y-%m-%d %H:%M:%S} UTC")


@reference.command()
def check(
    stores: StoresFile,
    promotions: PromotionsFile,
    suppressed: SuppressedFile = None,
    partitions: Annotated[
        int, typer.Option(min=1, max=2048, help="How many partitions the hub of pings has, to judge budgets by.")
    ] = DEFAULT_PARTITIONS,
) -> None:
    """List every fault of the files, by line, and what is valid but probably not meant; needs nothing running."""
    parsed = parse_reference(read_reference_files(stores, promotions, suppressed))
    _print_warnings(warnings_of(parsed, partition_count=partitions, now_us=_now_us()))
    console.print(f"no faults; version {parsed.version}: {_in_words(parsed)}")


def load_reference(home: Home, stores: Path, promotions: Path, suppressed: Path | None = None) -> Publication:
    """Publish the files in a running laptop cloud. Raises ReferenceRefused, ReferenceUnavailable."""
    settings = read_settings(home)
    with blob_service(settings.lake_storage) as blobs:
        return publish(
            read_reference_files(stores, promotions, suppressed),
            store=ReferenceContainer.of(blobs, settings.reference_container),
            parse=parse_reference,
            clock=_now_us,
            activation_delay_s=settings.reference_activation_delay_s,
            partition_count=settings.partition_count,
        )


def _in_words(parsed: ReferenceData) -> str:
    """What the files hold."""
    polygons = len(parsed.stores.polygons)
    words = _count(len(parsed.stores), "store")
    if polygons:
        words += f" ({polygons:,} of them {'a polygon' if polygons == 1 else 'polygons'})"
    words += f", {_count(len(parsed.promotions), 'promotion')}"
    return words + (f", {_count(len(parsed.suppressed), 'suppressed device')}" if parsed.suppressed else "")


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _print_warnings(warnings: Iterable[str]) -> None:
    for warning in warnings:
        errors.print("[yellow]warning:[/yellow]", end=" ")
        errors.print(warning, markup=False)


def _now_us() -> int:
    return time.time_ns() // 1_000
