"""Reference data in use: publish a version of stores and promotions, and find the version that decides an event.

Published files never change: they lie under their version, a hash of their bytes. A catalogue lists the versions with
the instant from which each is in force, so that all workers, a replay, silver and Spark choose alike.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from shared.domain.deciding import CHANGED_FOR_US
from shared.domain.reference import (
    CatalogueEntry,
    ReferenceData,
    changed_geofences,
    number_in_force,
    successions,
)
from shared.domain.reference_warnings import warnings_of
from shared.errors import ReferenceRefused, ReferenceUnavailable

log = logging.getLogger(__name__)

LOOK_AGE_US = 30_000_000
"""A look at the catalogue that is older than this before an event does not count for it."""
VERSIONS_IN_MEMORY = 3
PUBLISH_ATTEMPTS = 5
PROMOTIONS = "promotions.json"
SUPPRESSED = "suppressed.csv"
_SECOND_US = 1_000_000


class StoresFormat(StrEnum):
    """The form of the stores, and the name of the file that has it."""

    CSV = "stores.csv"
    GEOJSON = "stores.geojson"


@dataclass(frozen=True, slots=True)
class ReferenceFiles:
    """The bytes of one version's files, as somebody wrote them; `suppressed` is None where there is no such file."""

    stores: bytes = field(repr=False)
    promotions: bytes = field(repr=False)
    suppressed: bytes | None = field(default=None, repr=False)
    stores_format: StoresFormat = StoresFormat.CSV

    @property
    def by_name(self) -> dict[str, bytes]:
        """The bytes of each file that there is, by the name under which it is published."""
        files = {self.stores_format.value: self.stores, PROMOTIONS: self.promotions}
        return files if self.suppressed is None else files | {SUPPRESSED: self.suppressed}

    @classmethod
    def from_names(cls, files: Mapping[str, bytes]) -> "ReferenceFiles":
        """The inverse of `by_name`. Raises KeyError with the name of a file that is missing."""
        stores_format = StoresFormat.GEOJSON if StoresFormat.GEOJSON in files else StoresFormat.CSV
        return cls(files[stores_format], files[PROMOTIONS], files.get(SUPPRESSED), stores_format)


@dataclass(frozen=True, slots=True)
class PublishedVersion(CatalogueEntry):
    """An entry of the catalogue, with the instant at which it was published."""

    published_at_us: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The published versions in order, and the tag of that state (None: nothing is there yet)."""

    entries: tuple[PublishedVersion, ...] = ()
    etag: str | None = None


class ReferenceStore(Protocol):
    """Where published files and their catalogue lie. Raises ReferenceUnavailable when it does not answer."""

    def read_catalogue(self, known: Catalogue | None = None) -> Catalogue:
        """The catalogue as it is now; *known* itself, at the price of one small request, if nothing changed since."""
        ...

    def replace_catalogue(self, known: Catalogue, entries: tuple[PublishedVersion, ...]) -> bool:
        """Put *entries* in the place of *known*; False, and nothing done, if it is no longer what is there."""
        ...

    def load_files(self, version: str) -> ReferenceFiles:
        """The files of that version."""
        ...

    def save_files(self, version: str, files: ReferenceFiles) -> None:
        """Keep the files under that version; harmless if they are there."""
        ...


Parse = Callable[[ReferenceFiles], ReferenceData]
"""The files become reference data. Raises ReferenceRefused with every fault."""
Clock = Callable[[], int]
"""Now, in microseconds since 1970 UTC."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What publishing did: the entry of the version, what it holds, and whether it was the newest before."""

    entry: PublishedVersion
    stores: int
    promotions: int
    was_newest: bool
    warnings: tuple[str, ...] = ()
    """What is valid and probably not meant."""


def publish(
    files: ReferenceFiles,
    *,
    store: ReferenceStore,
    parse: Parse,
    clock: Clock,
    activation_delay_s: int,
    partition_count: int,
) -> Publication:
    """Validate, keep the files under their version, append it to the catalogue.

    The delay gives each worker time to look at the catalogue before the version is in force; the first one is in force
    from the beginning. The version that is the newest already is not published again. Where the newest names devices
    that opted out, files without such a list are refused. Raises ReferenceRefused with every fault,
    ReferenceUnavailable.
    """
    reference = parse(files)
    warnings = tuple(warnings_of(reference, partition_count=partition_count, now_us=clock()))
    appended: PublishedVersion | None = None
    for attempt in range(1, PUBLISH_ATTEMPTS + 1):
        catalogue = store.read_catalogue()
        newest = catalogue.entries[-1] if catalogue.entries else None
        if newest is not None and newest.version == reference.version:
            return _publication(newest, reference, warnings, was_newest=newest != appended)
        _require_suppressed(files, newest, store)
        store.save_files(reference.version, files)
        appended = _next_entry(reference.version, newest, clock(), activation_delay_s)
        try:
            if store.replace_catalogue(catalogue, (*catalogue.entries, appended)):
                return _publication(appended, reference, warnings, was_newest=False)
        except ReferenceUnavailable:
            if attempt == PUBLISH_ATTEMPTS:
                raise
            log.warning("the answer to publishing %s was lost: looking whether it was done", reference.version)
    raise ReferenceUnavailable(
        f"version {reference.version} is not published: {PUBLISH_ATTEMPTS} times another publisher was first"
    )


def _require_suppressed(files: ReferenceFiles, newest: PublishedVersion | None, store: ReferenceStore) -> None:
    """A list of opted-out devices that was forgotten must not let them be contacted again."""
    if files.suppressed is None and newest is not None and store.load_files(newest.version).suppressed is not None:
        problem = (
            f"is missing, and version {newest.version} has one: give it again; to suppress nobody any more, "
            "give one with its header only"
        )
        raise ReferenceRefused([f"{SUPPRESSED}: {problem}"])


def _publication(
    entry: PublishedVersion, reference: ReferenceData, warnings: tuple[str, ...], *, was_newest: bool
) -> Publication:
    return Publication(entry, len(reference.stores), len(reference.promotions), was_newest, warnings)


def _next_entry(version: str, newest: PublishedVersion | None, now_us: int, delay_s: int) -> PublishedVersion:
    """In force from a whole second on, as enqueued times are whole seconds, and never before the version before it."""
    if newest is None:
        return PublishedVersion(version, active_from_us=0, published_at_us=now_us)
    next_second = now_us // _SECOND_US + 1
    active_from_us = (next_second + delay_s) * _SECOND_US
    return PublishedVersion(version, max(active_from_us, newest.active_from_us), now_us)


class ReferenceCatalogue:
    """The reference data that decides an event, for one worker: versions are read when they are needed, and kept.

    It may be used from several threads.
    """

    def __init__(self, store: ReferenceStore, parse: Parse, clock: Clock) -> None:
        self._store = store
        self._parse = parse
        self._clock = clock
        self._lock = threading.Lock()
        self._catalogue: Catalogue | None = None
        self._looked_at_us = 0
        self._versions: dict[str, ReferenceData] = {}
        """The last ones that were used, the newest use at the end."""
        self._recent: dict[CatalogueEntry, ReferenceData] = {}
        """Those of them that came in force of late, by their entry, knowing which geofences changed."""

    @property
    def entries(self) -> tuple[PublishedVersion, ...]:
        """The versions that the last look at the catalogue showed."""
        return self._catalogue.entries if self._catalogue else ()

    def refresh(self, newest_enqueued_us: int, *, force: bool = False) -> None:
        """Look at the catalogue again if the last look is too old for an event enqueued then, or by *force*.

        Raises ReferenceUnavailable when a look was needed and there was no answer, or nothing was ever published.
        """
        with self._lock:
            if force or not self.entries or self._looked_at_us < newest_enqueued_us - LOOK_AGE_US:
                self._look()

    def version_for(self, enqueued_at_us: int) -> ReferenceData:
        """The version in force for an event enqueued then. Raises ReferenceUnavailable when it cannot be read.

        As long as the change of a geofence matters, its `changed_us` says which changed and when.
        """
        with self._lock:
            if not self.entries:
                self._look()
            number = number_in_force(self.entries, enqueued_at_us)
            entry = self.entries[number]
            if enqueued_at_us - entry.active_from_us >= CHANGED_FOR_US:
                return self._version(entry.version)
            if entry not in self._recent:
                self._recent[entry] = self._with_changes(number)
            return self._recent[entry]

    def load(self, version: str) -> ReferenceData:
        """The data of a published version, in force or not. Raises ReferenceUnavailable when it cannot be read.

        What is not in memory is read anew and not kept: old versions must not push out those that decide.
        """
        with self._lock:
            known = self._versions.get(version)
        return known or self._load(version)

    def _with_changes(self, number: int) -> ReferenceData:
        """The version of that entry, knowing since when the geofences are as they are that changed of late."""
        changed_us: dict[str, int] = {}
        for before, after in successions(self.entries, number, CHANGED_FOR_US):
            stores = self._version(after.version).stores
            changed = changed_geofences(self._version(before.version).stores, stores)
            changed_us |= dict.fromkeys((stores.store_id[row] for row in changed), after.active_from_us)
        reference = self._version(self.entries[number].version)
        if not changed_us:
            return reference
        rows = ((reference.store_rows.get(store_id), at_us) for store_id, at_us in changed_us.items())
        return reference.with_changes({row: at_us for row, at_us in rows if row is not None})

    def _version(self, version: str) -> ReferenceData:
        """That version, from memory if it is among the last ones used."""
        reference = self._versions.pop(version, None) or self._load(version)
        self._versions[version] = reference
        while len(self._versions) > VERSIONS_IN_MEMORY:
            self._versions.pop(next(iter(self._versions)))
            self._recent = {entry: data for entry, data in self._recent.items() if entry.version in self._versions}
        return reference

    def _look(self) -> None:
        started_us = self._clock()  # what is published while we read may be missing from what we get
        catalogue = self._store.read_catalogue(self._catalogue)
        if not catalogue.entries:
            raise ReferenceUnavailable(
                "no stores and promotions were ever published: `footfall reference load STORES PROMOTIONS` does it"
            )
        self._catalogue, self._looked_at_us = catalogue, started_us

    def _load(self, version: str) -> ReferenceData:
        files = self._store.load_files(version)
        try:
            reference = self._parse(files)
        except ReferenceRefused as refused:
            raise ReferenceUnavailable(
                f"version {version} was published by other code, and this code refuses it: {refused.faults[0]}"
            ) from refused
        if reference.version != version:
            raise ReferenceUnavailable(f"the files of version {version} were changed: they hash to {reference.version}")
        log.info(
            "reference version %s loaded: %d stores, %d promotions",
            version,
            len(reference.stores),
            len(reference.promotions),
        )
        return reference
