"""`footfall replay`: the back-test. Captured pings, decided again as they were, or as other files would have."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import msgspec
import polars as pl
import typer
from azure.storage.blob import BlobServiceClient
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from infra.commands.common import HomeOption, JsonOption, console, errors, print_json, running_stack
from infra.local.app_settings import read_settings
from infra.local.home import DEFAULT_HOME
from shared.adapters.azure_clients import blob_service
from shared.adapters.capture_files import CaptureContainer
from shared.adapters.reference_catalogue import ReferenceContainer
from shared.adapters.reference_files import parse_reference, stores_format_of
from shared.adapters.replay_folder import ReplayFolder
from shared.domain.reference import version_in_force
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.replayed import COUNTED, Side, offers_by_promotion
from shared.settings import Settings
from shared.workflows.reference import ReferenceCatalogue, ReferenceFiles
from shared.workflows.replay import Advance, OneVersion, Replayer, ReplayReport, Span
from shared.workflows.sightings import ReferenceSource

VERSIONS_PARSED = 8
"""Each partition is played from its beginning: a version is needed again for each."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ChangedFiles:
    """Files to try in the place of those in force."""

    stores: Path | None
    promotions: Path | None
    suppressed: Path | None

    @property
    def are_given(self) -> bool:
        """Whether there is any."""
        return not (self.stores is None and self.promotions is None and self.suppressed is None)

    def instead_of(self, files: ReferenceFiles) -> ReferenceFiles:
        """The files with these in their places."""
        if self.stores is not None:
            files = replace(files, stores=self.stores.read_bytes(), stores_format=stores_format_of(self.stores))
        if self.promotions is not None:
            files = replace(files, promotions=self.promotions.read_bytes())
        if self.suppressed is not None:
            files = replace(files, suppressed=self.suppressed.read_bytes())
        return files


def replay(
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="The folder for the decisions; a Delta table.")],
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Write what was enqueued then or later; UTC.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Write what was enqueued before; UTC.")
    ] = None,
    stores: Annotated[
        Path | None, typer.Option("--stores", exists=True, dir_okay=False, help="Stores to try, csv or geojson.")
    ] = None,
    promotions: Annotated[
        Path | None, typer.Option("--promotions", exists=True, dir_okay=False, help="promotions.json to try.")
    ] = None,
    suppressed: Annotated[
        Path | None, typer.Option("--suppressed", exists=True, dir_okay=False, help="suppressed.csv to try.")
    ] = None,
    from_state: Annotated[
        Path | None, typer.Option("--from-state", help="Go on from where the replay in that folder ended.")
    ] = None,
    with_events: Annotated[
        bool, typer.Option("--with-events", help="Keep each decision's text, which holds the device id.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Decide captured pings again, as they were decided live or as other stores and promotions would have.

    TIME is a date or an instant: 2026-11-24, 2026-11-24T09:30 or 2026-11-24T09:30:00Z. A replay that was interrupted
    goes on when the same command is run again.
    """
    span = Span(_instant_us("--from", since), _instant_us("--to", until))
    settings = read_settings(running_stack(home).home)
    changed = ChangedFiles(stores, promotions, suppressed)
    with blob_service(settings.lake_storage) as blobs:
        references = _references(settings, blobs, changed, span)
        start = None if from_state is None else ReplayFolder.of_earlier(from_state)
        folder = ReplayFolder.begin(out, _description(settings, references, span, from_state, with_events=with_events))
        replayer = Replayer(
            CaptureContainer(blobs, settings.bronze_container),
            folder,
            DeviceKeys(settings.device_keys),
            settings.pings_hub,
            settings.partition_count,
            references,
            span,
            start,
            with_events=with_events,
        )
        report = _run(replayer)
    _show(report, folder, out, is_compared=changed.are_given, as_json=as_json)


def _instant_us(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{option} {text!r} is no date and no instant; write 2026-11-24 or 2026-11-24T09:30:00Z"
        ) from error
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return (instant - _EPOCH) // timedelta(microseconds=1)


def _references(
    settings: Settings, blobs: BlobServiceClient, changed: ChangedFiles, span: Span
) -> dict[Side, ReferenceSource]:
    """The published versions, and with changed files one version of them for all events.

    A file that is not given is that of the version in force at the end of the time asked for.
    """
    container = ReferenceContainer.of(blobs, settings.reference_container)
    catalogue = ReferenceCatalogue(container, lru_cache(VERSIONS_PARSED)(parse_reference), _now_us)
    catalogue.refresh(0, force=True)
    sides: dict[Side, ReferenceSource] = {Side.IN_FORCE: catalogue}
    if changed.are_given:
        end_us = _now_us() if span.to_us is None else span.to_us
        files = container.load_files(version_in_force(catalogue.entries, end_us))
        sides[Side.CHANGED] = OneVersion(parse_reference(changed.instead_of(files)))
    return sides


def _now_us() -> int:
    return (datetime.now(UTC) - _EPOCH) // timedelta(microseconds=1)


def _description(
    settings: Settings,
    references: Mapping[Side, ReferenceSource],
    span: Span,
    from_state: Path | None,
    *,
    with_events: bool,
) -> dict[str, object]:
    """What tells this replay from others: what its decisions depend on."""
    changed = references.get(Side.CHANGED)
    in_force = references[Side.IN_FORCE]
    assert isinstance(in_force, ReferenceCatalogue), "the versions in force are the published ones"
    return {
        # When the first version was published tells this cloud from another one with the same hubs.
        "first_published": _shown(in_force.entries[0].published_at_us),
        "hub": settings.pings_hub,
        "PARTITION_COUNT": settings.partition_count,
        "--from": _shown(span.from_us),
        "--to": _shown(span.to_us),
        "the version of the files to try": changed.reference.version if isinstance(changed, OneVersion) else None,
        "--from-state": None if from_state is None else str(from_state.resolve()),
        "--with-events": with_events,
    }


def _shown(at_us: int | None) -> datetime | None:
    return None if at_us is None else _EPOCH + timedelta(microseconds=at_us)


def _run(replayer: Replayer) -> ReplayReport:
    columns = (TextColumn("replayed"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors) as progress:

        def begin(size: int) -> Advance:
            task = progress.add_task("", total=size)
            return lambda done: progress.advance(task, done)

        return replayer.run(begin)


def _show(report: ReplayReport, folder: ReplayFolder, out: Path, *, is_compared: bool, as_json: bool) -> None:
    decided = folder.scan()
    counts = dict(decided.group_by("side").len().collect().iter_rows())
    offers = offers_by_promotion(decided)
    sides = tuple(Side) if is_compared else (Side.IN_FORCE,)
    if as_json:
        print_json(
            {
                **msgspec.structs.asdict(report.counts),
                **{name: value for name, value in asdict(report).items() if name != "counts"},
                "decisions": {str(side): counts.get(side, 0) for side in sides},
                "promotions": [_of_sides(row, sides) for row in offers.iter_rows(named=True)],
            }
        )
        return
    _show_report(report)
    for side in sides:
        under = "the versions in force" if side is Side.IN_FORCE else "the files to try"
        console.print(f"{counts.get(side, 0):,} decisions under {under}")
    _show_offers(offers, sides)
    console.print(f"the decisions are in {out}", markup=False)


def _of_sides(row: Mapping[str, object], sides: tuple[Side, ...]) -> dict[str, object]:
    counted = {f"{name}_{side}": row[f"{name}_{side}"] for name in COUNTED for side in sides}
    return {"promotion_id": row["promotion_id"], **counted}


def _show_report(report: ReplayReport) -> None:
    counts = report.counts
    console.print(
        f"replayed {counts.events:,} events of {report.partitions} partitions in {report.files:,} capture files; "
        f"{counts.rejected:,} were no pings"
    )
    for partition_id in report.begun_late:
        console.print(
            f"partition {partition_id}: its first events are in no capture file, so what was before is not known: "
            "decisions may differ from the live ones"
        )
    if counts.skipped:
        console.print(f"{counts.skipped:,} events are in no capture file: decisions may differ from the live ones")
    if counts.new_hubs:
        console.print(f"the hub was made anew: in {counts.new_hubs} partitions the numbers of events began again")


def _show_offers(offers: pl.DataFrame, sides: tuple[Side, ...]) -> None:
    if not offers.height:
        console.print("no offer was sent")
        return
    table = Table(Column("promotion", no_wrap=True))
    for name in COUNTED:
        for side in sides:
            when = "" if len(sides) == 1 else " before" if side is Side.IN_FORCE else " after"
            table.add_column(f"{name}{when}", justify="right")
    for row in offers.iter_rows(named=True):
        is_total = row["promotion_id"] is None
        cells = (f"{row[f'{name}_{side}']:,}" for name in COUNTED for side in sides)
        table.add_row("in all" if is_total else row["promotion_id"], *cells, style="bold" if is_total else "")
    console.print(table)
