"""What a Delta table's log says about the commits after a version: files added, and partitions that lost some.

Read from the commits' JSON (Delta protocol, "Delta Log Entries"), since delta-rs shows the files of a version and not
what became of them in between.
"""

from dataclasses import dataclass
from urllib.parse import unquote

import msgspec
import polars as pl

from shared.adapters.lake_storage import Access

MOST_COMMITS = 5_000
"""Behind by more than that, reading the whole table is no dearer than reading its log."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows that came and went between two versions; compaction, which moves rows, is no change."""

    added: tuple[str, ...] = ()
    """Locations of the files that came."""
    removed: tuple[str, ...] = ()
    """Locations of the files that went."""
    partitions_removed: frozenset[str | None] = frozenset()
    """Values of the first partition column that lost files, as the log writes them; None where it does not say."""


class _Add(msgspec.Struct, rename="camel"):
    path: str
    data_change: bool


class _Remove(msgspec.Struct, rename="camel"):
    path: str
    data_change: bool
    partition_values: dict[str, str | None] | None = None


class _Action(msgspec.Struct):
    add: _Add | None = None
    remove: _Remove | None = None


_decode = msgspec.json.Decoder(_Action).decode


def read_changes(location: str, since: int, until: int, access: Access) -> Changes | None:
    """The changes of the versions after *since*, up to *until*; None when the log no longer holds all of them.

    Raises OSError when the storage does not answer.
    """
    if until - since > MOST_COMMITS:
        return None
    added: list[str] = []
    removed: list[str] = []
    partitions: set[str | None] = set()
    for version in range(since + 1, until + 1):
        actions = _read_commit(f"{location}/_delta_log/{version:020d}.json", access)
        if actions is None:
            return None
        for action in actions:
            if action.add and action.add.data_change:
                added.append(f"{location}/{unquote(action.add.path)}")
            if action.remove and action.remove.data_change:
                removed.append(f"{location}/{unquote(action.remove.path)}")
                partitions.add(next(iter((action.remove.partition_values or {}).values()), None))
    return _without_what_came_and_went(added, removed, partitions)


def _without_what_came_and_went(added: list[str], removed: list[str], partitions: set[str | None]) -> Changes:
    """A file that came and went between the versions is no difference; that its partition changed stays said."""
    passing = set(added) & set(removed)
    return Changes(
        tuple(file for file in added if file not in passing),
        tuple(file for file in removed if file not in passing),
        frozenset(partitions),
    )


def _read_commit(location: str, access: Access) -> list[_Action] | None:
    try:
        lines = pl.read_lines(location, storage_options=access.for_polars(), credential_provider=None)
    except FileNotFoundError:
        return None
    return [_decode(line.encode()) for line in lines.to_series().to_list() if line]
