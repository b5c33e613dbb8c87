"""A replay's folder on the local disk: a Delta table of its decisions, and in `_state` how far each partition came.

A save is one commit of the table. It carries an application transaction with the number of the save, and the state of
that number was written before; so decisions and state move together, whenever the process dies, and a replay that goes
on repeats nothing. What begins with an underscore is no file of the table to Delta (its vacuum leaves it alone).
"""

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import TableNotFoundError

from shared.errors import ReplayRefused
from shared.medallion.replayed import REPLAYED
from shared.workflows.replay import SavedPartition

log = logging.getLogger(__name__)

STATE = "_state"
DESCRIPTION = "replay.json"
_MAGIC = b"footfall replay state "


def _shape(schema: object) -> object:
    """A JSON Schema without its texts: what is left changes when what is saved does."""
    if isinstance(schema, dict):
        return {name: _shape(value) for name, value in sorted(schema.items()) if name not in ("description", "title")}
    return [_shape(value) for value in schema] if isinstance(schema, list) else schema


FORMAT = hashlib.sha256(msgspec.json.encode(_shape(msgspec.json.schema(SavedPartition)))).hexdigest()[:16].encode()
"""State that was saved in another shape would be taken for something that it is not."""


@dataclass(frozen=True, slots=True)
class ReplayFolder:
    """The ports `Journal` and `SavedStates` on a folder."""

    folder: Path
    _numbers: dict[str, int] = field(default_factory=dict)
    """Of the last save of each partition."""

    @classmethod
    def begin(cls, folder: Path, description: Mapping[str, object]) -> "ReplayFolder":
        """The folder of the replay that *description* tells apart from others; created, or gone on with.

        Raises ReplayRefused when something else is there.
        """
        found, text = cls(folder), msgspec.json.format(msgspec.json.encode(description))
        file = folder / STATE / DESCRIPTION
        if not file.exists():
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise ReplayRefused(f"{folder} is no replay and not empty: give another --out")
            _write(file, text)
        elif found._table() is None:
            _write(file, text)  # that one was refused or interrupted before it had decided anything
        else:
            _require_same(folder, file.read_bytes(), text)
        return found

    @classmethod
    def of_earlier(cls, folder: Path) -> "ReplayFolder":
        """The folder of a replay that was run before. Raises ReplayRefused when there is none."""
        if not (folder / STATE / DESCRIPTION).exists():
            raise ReplayRefused(f"{folder} has no state of a replay: give the --out of an earlier one")
        return cls(folder)

    def load(self, namespace: str, partition_id: str) -> SavedPartition | None:
        """How far the partition came, None when it was never saved. Raises ReplayRefused for what cannot be read."""
        name = _name(namespace, partition_id)
        table = self._table()
        number = None if table is None else table.transaction_version(name)
        if number is None:
            return None
        self._numbers[name] = number
        file = self._file(name, number)
        try:
            content = file.read_bytes()
        except FileNotFoundError as error:
            raise ReplayRefused(f"{file} is missing: the replay must be begun anew, in another folder") from error
        header, newline, body = content.partition(b"\n")
        if not header.startswith(_MAGIC) or not newline:
            raise ReplayRefused(f"{file} is no state of a replay")
        if header != _MAGIC + FORMAT:
            raise ReplayRefused(
                f"{file} was written by another version of Footfall (format {header.removeprefix(_MAGIC).decode()}, "
                f"this one reads {FORMAT.decode()}): begin the replay anew, from the first capture file"
            )
        try:
            return msgspec.msgpack.decode(body, type=SavedPartition)
        except msgspec.DecodeError as error:
            raise ReplayRefused(f"{file} cannot be read: {error}") from error

    def save(self, saved: SavedPartition, rows: pl.DataFrame) -> None:
        """Keep the decisions made since the last save and how far that was, both or neither."""
        name = _name(saved.namespace, saved.partition_id)
        number = self._numbers.get(name, 0) + 1
        _write(self._file(name, number), _MAGIC + FORMAT + b"\n" + msgspec.msgpack.encode(saved))
        write_deltalake(
            self._table() or str(self.folder),
            rows,
            mode="append",
            name="replay",
            writer_properties=WriterProperties(compression="ZSTD", compression_level=1),
            commit_properties=CommitProperties(app_transactions=[Transaction(name, number)]),
        )
        self._numbers[name] = number
        for file in self._file(name, number).parent.glob("*.msgpack"):
            if file != self._file(name, number):
                file.unlink()  # also one that was written for a commit that never came

    def scan(self) -> pl.LazyFrame:
        """The decisions made so far (shared.medallion.replayed.REPLAYED)."""
        table = self._table()
        files = [] if table is None else table.file_uris()
        return pl.scan_parquet(files, schema=REPLAYED) if files else REPLAYED.to_frame().lazy()

    def _table(self) -> DeltaTable | None:
        try:
            return DeltaTable(str(self.folder))
        except TableNotFoundError:
            return None

    def _file(self, name: str, number: int) -> Path:
        return self.folder / STATE / name / f"{number}.msgpack"


def _require_same(folder: Path, there: bytes, here: bytes) -> None:
    known = msgspec.json.decode(there, type=dict[str, object])
    for name, value in msgspec.json.decode(here, type=dict[str, object]).items():
        if known.get(name) != value:
            raise ReplayRefused(
                f"{folder} holds another replay: there, {name} is {_said(known.get(name))}, and here {_said(value)}. "
                "Give another --out, or delete the folder"
            )


def _said(value: object) -> str:
    return "not given" if value is None else str(value)


def _name(namespace: str, partition_id: str) -> str:
    return f"{namespace}/{partition_id}"


def _write(file: Path, content: bytes) -> None:
    """The whole content or nothing, and on the disk when this returns: the commit that follows relies on it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    with partial.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)
