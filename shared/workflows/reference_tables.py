"""The reference data's tables: what was published comes into silver.stores and silver.promotions, each entry once.

The catalogue is the truth and is small; each of its entries is one commit a table, under a key that the table never
forgets. So a worker that dies in between, or two at once, leave nothing out and nothing twice.
"""

import logging
from collections.abc import Callable
from typing import Protocol

import polars as pl

from shared.domain.reference import ReferenceData
from shared.errors import ReferenceUnavailable
from shared.medallion.reference_tables import PROMOTION_VERSIONS, STORE_VERSIONS, promotion_versions, store_versions
from shared.medallion.tables import Table
from shared.workflows.reference import Catalogue, PublishedVersion

log = logging.getLogger(__name__)

TABLES = {STORE_VERSIONS: store_versions, PROMOTION_VERSIONS: promotion_versions}


class PublishedVersions(Protocol):
    """Where the catalogue lies. Raises ReferenceUnavailable when it does not answer."""

    def read_catalogue(self, known: Catalogue | None = None) -> Catalogue:
        """The catalogue as it is now; *known* itself, at the price of one small request, if nothing changed since."""
        ...


class ReferenceLake(Protocol):
    """The tables. Raises LakeUnavailable when the storage does not answer."""

    def has_file(self, table: Table, file: str) -> bool:
        """Whether the table has the rows of that key."""
        ...

    def append_once(self, table: Table, key: str, rows: pl.DataFrame) -> bool:
        """Add the rows unless the table has that key, ever; whether it was done."""
        ...


class ReferenceTables:
    """Brings silver.stores and silver.promotions up to the catalogue; may be used from several threads."""

    def __init__(self, published: PublishedVersions, load: Callable[[str], ReferenceData], lake: ReferenceLake) -> None:
        """*load* gives the data of a version, or raises ReferenceUnavailable."""
        self._published, self._load, self._lake = published, load, lake
        self._known: Catalogue | None = None
        self._done: frozenset[PublishedVersion] = frozenset()
        """The entries that the tables are known to have; so a look at an unchanged catalogue asks no table."""

    def sync(self) -> int:
        """Append every entry that the tables lack; how many those were. Nothing published: nothing to do.

        A version that cannot be read is left out and tried again next time: it must not keep gold from all others.
        Raises ReferenceUnavailable when the catalogue cannot be read, LakeUnavailable.
        """
        self._known = self._published.read_catalogue(self._known)
        appended = 0
        for entry in self._known.entries:
            if entry in self._done:
                continue
            try:
                appended += self._append(entry)
            except ReferenceUnavailable as error:
                log.warning("silver has no stores and promotions of version %s yet: %s", entry.version, error)
            else:
                self._done |= {entry}
        return appended

    def _append(self, entry: PublishedVersion) -> bool:
        """Whether a table lacked the entry."""
        key = f"reference:{entry.version}:{entry.active_from_us}"
        missing = [table for table in TABLES if not self._lake.has_file(table, key)]
        if not missing:
            return False
        reference = self._load(entry.version)
        for table in missing:
            self._lake.append_once(table, key, TABLES[table](reference, entry, entry.published_at_us))
        return True
