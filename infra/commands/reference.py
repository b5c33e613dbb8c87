"""`footfall reference`: check and publish stores and promotions."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from infra.commands.common import HomeOption, JsonOption, console, print_json, running_stack
from infra.local.app_settings import read_settings
from infra.local.home import DEFAULT_HOME, Home
from shared.adapters.azure_clients import blob_service
from shared.adapters.reference_catalogue import ReferenceContainer
from shared.adapters.reference_files import parse_reference
from shared.workflows.reference import Publication, ReferenceFiles, publish

reference = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Stores and promotions: check them, publish a version."
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

StoresFile = Annotated[Path, typer.Argument(metavar="STORES", exists=True, dir_okay=False, help="stores.csv")]
PromotionsFile = Annotated[
    Path, typer.Argument(metavar="PROMOTIONS", exists=True, dir_okay=False, help="promotions.json")
]


@reference.command()
def load(
    stores: StoresFile, promotions: PromotionsFile, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False
) -> None:
    """Publish a version; a file with faults is refused whole, with every fault listed."""
    publication = load_reference(running_stack(home).home, stores, promotions)
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
            }
        )
        return
    what = f"version {entry.version}: {publication.stores} stores, {publication.promotions} promotions"
    if publication.was_newest:
        console.print(f"{what}; it was the newest already")
    elif entry.active_from_us == 0:
        console.print(f"{what}; in force from the beginning, as the first one")
    else:
        console.print(f"{what}; in force from {active_from:%Y-%m-%d %H:%M:%S} UTC")


@reference.command()
def check(stores: StoresFile, promotions: PromotionsFile) -> None:
    """List every fault of the files, by line; needs nothing running."""
    parsed = parse_reference(stores.read_bytes(), promotions.read_bytes())
    console.print(f"version {parsed.version}: {len(parsed.stores)} stores, {len(parsed.promotions)} promotions")


def load_reference(home: Home, stores: Path, promotions: Path) -> Publication:
    """Publish the files in a running laptop cloud. Raises ReferenceRefused, ReferenceUnavailable."""
    settings = read_settings(home)
    with blob_service(settings.lake_storage) as blobs:
        return publish(
            ReferenceFiles(stores.read_bytes(), promotions.read_bytes()),
            store=ReferenceContainer.of(blobs, settings.reference_container),
            parse=parse_reference,
            clock=lambda: time.time_ns() // 1000,
            activation_delay_s=settings.reference_activation_delay_s,
        )
