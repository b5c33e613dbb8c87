"""Bronze to silver: one capture file into its tables, once, however often and by however many workers it is delivered.

Each table gets the file's rows, if it has any, in one commit that carries the file's path as an application
transaction; a table that has the file is skipped. The ledger (silver.captures) is committed last, for every file with
an event: a file is done when the ledger has it. So a worker that dies between two commits leaves the file undone, and
the next delivery reads it again and adds what is missing and nothing twice: rows depend on the file and on the
reference version in force when each event was enqueued, never on the clock. Only the ledger's own row does, and nothing
is computed twice from that.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Protocol

import polars as pl

from shared.domain.events import DECISION_TYPE, RECEIPT_TYPE, instant, microseconds
from shared.domain.reference import ReferenceData
from shared.errors import CaptureFileTooOld, CaptureFileUnreadable
from shared.medallion.bronze import Captured, CapturePath
from shared.medallion.captured_pings import decode_captured
from shared.medallion.captures import CAPTURES, CaptureContents, CaptureProperties, ledger_row
from shared.medallion.cloud_events import rows_by_type
from shared.medallion.decisions import DECISIONS, decode_decisions, refine_decisions
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.event_dates import NO_ZONE
from shared.medallion.gps_enriched import GPS_ENRICHED, enrich
from shared.medallion.offers import OFFERS, decode_offers, refine_offers
from shared.medallion.pings import PINGS, Repeats, refine_pings
from shared.medallion.quarantine import BODIES, quarantine
from shared.medallion.receipts import RECEIPTS, decode_receipts, refine_receipts
from shared.medallion.tables import Table
from shared.workflows.sightings import ReferenceSource

Rows = dict[Table, pl.DataFrame]
"""What some events of a capture file mean for each table of its hub."""


class CaptureFiles(Protocol):
    """Reads capture files. Raises CaptureFileUnreadable, or LakeUnavailable when the storage does not answer."""

    def frames(self, path: str) -> Iterable[Captured]:
        """The captured events in order, a bounded number at a time."""
        ...

    def properties(self, path: str) -> CaptureProperties:
        """How large the file is, and when it was written."""
        ...


class Append(Protocol):
    """A file's rows for one table, collected until they are committed as a whole."""

    def add(self, rows: pl.DataFrame) -> None:
        """Collect rows; nobody sees them yet."""
        ...

    def commit(self) -> bool:
        """Commit all rows at once; False, and nothing done, if the table has the file by now."""
        ...


class SilverLake(Protocol):
    """The tables that capture files are refined into. Raises LakeUnavailable when the storage does not answer."""

    def has_file(self, table: Table, file: str) -> bool:
        """Whether the table has the rows of that file."""
        ...

    def append_file(self, table: Table, file: str) -> AbstractContextManager[Append]:
        """Begin to collect the rows of a file; what is not committed is dropped at the end of the context."""
        ...


class Refinement(Protocol):
    """How the captures of one hub become rows; made anew for each file."""

    tables: ClassVar[tuple[Table, ...]]
    """In the order in which they are committed; the ledger comes after them."""

    def refine(self, captured: Captured) -> Rows:
        """The rows of the file's next events."""
        ...


class RefinePings:
    """The pings hub: pings, those near a store, and what could not be used."""

    tables: ClassVar[tuple[Table, ...]] = (BODIES, GPS_ENRICHED, PINGS)

    def __init__(self, file: CapturePath, keys: DeviceKeys, references: ReferenceSource) -> None:
        self._file, self._keys, self._references = file, keys, references
        self._repeats = Repeats()

    def refine(self, captured: Captured) -> Rows:
        """The rows of the file's next events."""
        decoded = decode_captured(captured)
        pings = refine_pings(captured, decoded, self._file, self._keys, self._repeats)
        near = [enrich(part, reference) for reference, part in by_version(pings, self._references)]
        return {
            BODIES: quarantine(captured, decoded.rejected, self._file),
            GPS_ENRICHED: pl.concat(near) if near else GPS_ENRICHED.empty(),
            PINGS: pings,
        }


class RefineOffers:
    """The offers hub: offers, and what is none."""

    tables: ClassVar[tuple[Table, ...]] = (BODIES, OFFERS)

    def __init__(self, file: CapturePath, keys: DeviceKeys) -> None:
        self._file, self._keys = file, keys

    def refine(self, captured: Captured) -> Rows:
        """The rows of the file's next events."""
        decoded = decode_offers(captured.bodies.to_list())
        return {
            BODIES: quarantine(captured, decoded.rejected, self._file),
            OFFERS: refine_offers(captured, decoded, self._file, self._keys),
        }


class RefineDecisions:
    """The decisions hub: decisions, receipts, and what is neither."""

    tables: ClassVar[tuple[Table, ...]] = (BODIES, RECEIPTS, DECISIONS)

    def __init__(self, file: CapturePath, keys: DeviceKeys, references: ReferenceSource) -> None:
        self._file, self._keys, self._references = file, keys, references

    def refine(self, captured: Captured) -> Rows:
        """The rows of the file's next events."""
        bodies = captured.bodies.to_list()
        rows, rejected = rows_by_type(bodies, (DECISION_TYPE, RECEIPT_TYPE))
        decisions, receipts = decode_decisions(bodies, rows[DECISION_TYPE]), decode_receipts(bodies, rows[RECEIPT_TYPE])
        decided = [(event.time, event.data.store_id) for event in decisions.events]
        offered = [(event.data.offered_at, event.data.store_id) for event in receipts.events]
        zones = zones_at([*decided, *offered], self._references)
        of_decisions, of_receipts = zones.head(len(decided)), zones.slice(len(decided))
        return {
            BODIES: quarantine(captured, [*rejected, *decisions.rejected, *receipts.rejected], self._file),
            RECEIPTS: refine_receipts(captured, receipts, of_receipts, self._file, self._keys),
            DECISIONS: refine_decisions(captured, decisions, of_decisions, self._file, self._keys),
        }


def by_version(pings: pl.DataFrame, references: ReferenceSource) -> Iterator[tuple[ReferenceData, pl.DataFrame]]:
    """The rows that each reference version decides; nearly always one version, asked once a distinct second."""
    seconds = pings["enqueued_at"].unique().sort().to_physical().to_list()
    if not seconds:
        return
    references.refresh(seconds[-1])
    in_force = {second: references.version_for(second) for second in seconds}
    versions = {reference.version: reference for reference in in_force.values()}
    if len(versions) == 1:
        yield in_force[seconds[0]], pings
        return
    version_of = {second: reference.version for second, reference in in_force.items()}
    version = pings["enqueued_at"].to_physical().replace_strict(version_of, return_dtype=pl.String)
    for name, reference in versions.items():
        yield reference, pings.filter(version == name)


def zones_at(events: Sequence[tuple[datetime, str | None]], references: ReferenceSource) -> pl.Series:
    """The time zone of each store at a time, by the version in force then; NO_ZONE of one that it does not have."""
    stores = [(microseconds(time), store_id) for time, store_id in events]
    instants = {instant for instant, _ in stores}
    if instants:
        references.refresh(max(instants))
    in_force = {instant: references.version_for(instant) for instant in instants}
    return pl.Series([_zone(in_force[instant], store_id) for instant, store_id in stores], dtype=pl.String)


def _zone(reference: ReferenceData, store_id: str | None) -> str:
    row = None if store_id is None else reference.store_rows.get(store_id)
    return NO_ZONE if row is None else reference.stores.time_zone[row]


class Status(StrEnum):
    """What became of a delivery of a capture file."""

    REFINED = "refined"
    ALREADY_DONE = "already_done"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class RefineReport:
    """What refining a file did: the events read, and the rows that this delivery committed by table."""

    file: str
    status: Status
    events: int
    rows: dict[str, int]

    def fields(self) -> dict[str, object]:
        """The report for the canonical log line."""
        return {"file": self.file, "status": self.status, "events": self.events, **self.rows}


@dataclass(frozen=True, slots=True)
class HubNames:
    """Which hub holds what."""

    pings: str
    offers: str
    decisions: str


@dataclass(frozen=True, slots=True)
class Refiner:
    """Refines capture files; may be used from several threads."""

    captures: CaptureFiles
    lake: SilverLake
    references: ReferenceSource
    keys: DeviceKeys
    hubs: HubNames
    remembered: timedelta
    """How long the lake remembers which files it has (delta.setTransactionRetentionDuration)."""
    clock: Callable[[], int]
    """Now, in microseconds since 1970 UTC; asked for nothing but a file's age and the ledger."""

    def refine(self, path: str) -> RefineReport:
        """Bring every table of the file's hub to have the file.

        Raises CaptureFileUnreadable for a file that Capture did not write, CaptureFileTooOld for one that the lake may
        have forgotten, TransientError when the lake or the reference data cannot be reached.
        """
        file = CapturePath.parse(path)
        refinement = self._refinement(file)
        self._require_remembered(file)
        if self.lake.has_file(CAPTURES, path):
            return RefineReport(path, Status.ALREADY_DONE, 0, {})
        missing = [table for table in refinement.tables if not self.lake.has_file(table, path)]
        with ExitStack() as stack:
            appends = {table: stack.enter_context(self.lake.append_file(table, path)) for table in missing}
            contents, rows = _collect(self.captures.frames(path), refinement, appends)
            if not contents.events:
                return RefineReport(path, Status.EMPTY, 0, {})
            properties = self.captures.properties(path)  # before any commit: what cannot be had must not leave a half
            committed = {
                str(table): rows[table] for table, append in appends.items() if rows[table] and append.commit()
            }
        is_ours = self._enter(file, properties, contents) or bool(committed)
        return RefineReport(path, Status.REFINED if is_ours else Status.ALREADY_DONE, contents.events, committed)

    def _enter(self, file: CapturePath, properties: CaptureProperties, contents: CaptureContents) -> bool:
        """Enter the file in the ledger; False if another worker did."""
        with self.lake.append_file(CAPTURES, file.path) as entry:
            entry.add(ledger_row(file, properties, contents, instant(self.clock())))
            return entry.commit()

    def _refinement(self, file: CapturePath) -> Refinement:
        if file.hub == self.hubs.pings:
            return RefinePings(file, self.keys, self.references)
        if file.hub == self.hubs.offers:
            return RefineOffers(file, self.keys)
        if file.hub == self.hubs.decisions:
            return RefineDecisions(file, self.keys, self.references)
        valid = f"{self.hubs.pings}, {self.hubs.offers}, {self.hubs.decisions}"
        raise CaptureFileUnreadable(f"{file.path}: hub {file.hub!r} is none of ours ({valid})")

    def _require_remembered(self, file: CapturePath) -> None:
        now = datetime.fromtimestamp(self.clock() / 1_000_000, UTC)
        if now - file.window_start > self.remembered:
            raise CaptureFileTooOld(
                f"{file.path} is older than {self.remembered.days} days (the bronze lifetime and 7 days): the lake has "
                "forgotten whether it has that file, so adding it could count its events twice"
            )


def _collect(
    frames: Iterable[Captured], refinement: Refinement, appends: dict[Table, Append]
) -> tuple[CaptureContents, dict[Table, int]]:
    """Add each frame's rows to the tables that lack the file; what was read, and the rows added by table."""
    contents, rows = CaptureContents(), dict.fromkeys(appends, 0)
    for captured in frames:
        contents.count(captured.events)
        refined = refinement.refine(captured)
        for table, append in appends.items():
            if refined[table].height:
                append.add(refined[table])
                rows[table] += refined[table].height
    return contents, rows
