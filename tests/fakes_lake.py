"""A lake without storage, capture files without a hub: fakes of the ports of refine and build_gold."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import fastavro
import numpy as np
import polars as pl

from shared.adapters.capture_files import read_frames
from shared.domain.promotions import ContactPolicy, PresenceParameters, Promotion
from shared.domain.reference import CatalogueEntry, ReferenceData, version_in_force
from shared.domain.stores import StoreTable
from shared.errors import CaptureFileUnreadable, LakeConflict, LakeUnavailable
from shared.medallion.bronze import CAPTURED, Bodies, Captured, CapturePath
from shared.medallion.captures import CaptureProperties
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.gold import Difference
from shared.medallion.periods import Grain, Periods
from shared.medallion.tables import Table
from shared.settings import DeviceKey
from shared.workflows.refine import HubNames, Refiner

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
HUBS = HubNames("dev-readfrom", "dev-writeto", "dev-decisions")
KEYS = DeviceKeys([DeviceKey("k1", b"a secret of 16 bytes or more")])
REMEMBERED = timedelta(days=37)
WINDOW = timedelta(minutes=1)


def at(instant: datetime, hub: str = HUBS.pings, partition_id: int = 0) -> str:
    """The path of the capture file whose window starts then."""
    return f"ns/{hub}/{partition_id}/{instant:%Y/%m/%d/%H/%M/%S}.avro"


# Capture files


def event_data(property_branches: Sequence[str] = ("long", "double", "string", "bytes", "null"), **types: Any) -> Any:
    """The schema of a capture file; the first years' has no null among the property values."""
    fields = {
        "SequenceNumber": "long",
        "Offset": "string",
        "EnqueuedTimeUtc": "string",
        "SystemProperties": {"type": "map", "values": ["long", "double", "string", "bytes"]},
        "Properties": {"type": "map", "values": list(property_branches)},
        "Body": ["null", "bytes"],
    } | types
    return {
        "type": "record",
        "name": "EventData",
        "namespace": "Microsoft.ServiceBus.Messaging",
        "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
    }


def us_culture(instant: datetime) -> str:
    """`12/9/2022 4:51:25 PM`."""
    return f"{instant.month}/{instant.day}/{instant.year} {instant.hour % 12 or 12}:{instant:%M:%S %p}"


def record(sequence_number: int, body: bytes | None, enqueued_at: datetime = NOON, key: str | None = None) -> Any:
    """A record of a capture file."""
    system = {"x-opt-enqueued-time": round(enqueued_at.timestamp() * 1000)}
    return {
        "SequenceNumber": sequence_number,
        "Offset": str(sequence_number * 216),
        "EnqueuedTimeUtc": us_culture(enqueued_at),
        "SystemProperties": system if key is None else {"x-opt-partition-key": key, **system},
        "Properties": {},
        "Body": body,
    }


def capture_file(
    records: Sequence[Any], schema: Any = None, *, codec: str = "null", block_bytes: int = 1 << 30
) -> bytes:
    """A capture file of these records."""
    file = io.BytesIO()
    parsed = fastavro.parse_schema(event_data() if schema is None else schema)
    fastavro.writer(file, parsed, records, codec=codec, sync_interval=block_bytes)
    return file.getvalue()


def captured(bodies: Sequence[bytes | None], enqueued_at: datetime | Sequence[datetime] = NOON) -> Captured:
    """Captured events of these bodies, numbered from 0."""
    times = [enqueued_at] * len(bodies) if isinstance(enqueued_at, datetime) else enqueued_at
    events = pl.DataFrame({"sequence_number": list(range(len(bodies))), "enqueued_at": times}, schema=CAPTURED)
    return Captured(events, Bodies.of(bodies))


@dataclass
class FakeCaptures:
    """The port `CaptureFiles`: files by path."""

    files: dict[str, bytes] = field(default_factory=dict)
    frame_rows: int = 1000
    reads: int = 0

    def frames(self, path: str) -> Iterator[Captured]:
        if path not in self.files:
            raise CaptureFileUnreadable(f"{path} is not there")
        self.reads += 1
        yield from read_frames(path, [self.files[path]], frame_rows=self.frame_rows)

    def properties(self, path: str) -> CaptureProperties:
        return CaptureProperties(len(self.files[path]), CapturePath.parse(path).window_start + WINDOW)


# Reference data


def reference(version: str = "v1", stores: Sequence[Mapping[str, Any]] = (), *promotions: Promotion) -> ReferenceData:
    """Reference data of these stores: dicts of store_id, latitude, longitude and what else is not the default."""
    rows = [
        {"merchant": "Tesco", "location": "Camden", "service_type": "Retail", "radius_m": 100.0} | s for s in stores
    ]
    column = {key: tuple(row[key] for row in rows) for key in ("store_id", "merchant", "service_type", "location")}
    number = {key: np.array([float(row[key]) for row in rows]) for key in ("latitude", "longitude", "radius_m")}
    table = StoreTable(
        name=column["store_id"],
        loitering_delay_s=np.full(len(rows), 180.0),
        time_zone=tuple(row.get("time_zone", "") for row in rows),
        **column,
        **number,
    )
    return ReferenceData(version, table, promotions, ContactPolicy(), PresenceParameters())


@dataclass
class FakeReferences:
    """The port `ReferenceSource`: versions, each with the instant from which it is in force."""

    versions: Sequence[tuple[ReferenceData, datetime]]
    refreshed_to_us: int = 0

    @classmethod
    def always(cls, data: ReferenceData) -> "FakeReferences":
        return cls([(data, datetime(1970, 1, 1, tzinfo=UTC))])

    def refresh(self, newest_enqueued_us: int) -> None:
        self.refreshed_to_us = max(self.refreshed_to_us, newest_enqueued_us)

    def version_for(self, enqueued_at_us: int) -> ReferenceData:
        entries = [CatalogueEntry(d.version, round(since.timestamp() * 1e6)) for d, since in self.versions]
        by_name = {data.version: data for data, _ in self.versions}
        return by_name[version_in_force(entries, enqueued_at_us)]


# The lake


@dataclass
class _Commit:
    rows: pl.DataFrame
    transactions: dict[str, int]
    went: pl.DataFrame | None = None
    """The rows that this commit took away."""


@dataclass
class FakeLake:
    """The ports `SilverLake` and `GoldLake` in memory. `crash_after` commits, the next effect raises."""

    commits: dict[Table, list[_Commit]] = field(default_factory=dict)
    derived_rows: dict[Table, pl.DataFrame] = field(default_factory=dict)
    crash_after: int | None = None
    committed: list[str] = field(default_factory=list)

    def rows(self, table: Table) -> pl.DataFrame:
        """What a reader of the table sees."""
        if table in self.derived_rows:
            return self.derived_rows[table]
        return pl.concat([table.empty(), *(commit.rows for commit in self.commits.get(table, ()))])

    def scan(self, table: Table) -> pl.LazyFrame:
        return self.rows(table).lazy()

    def has_file(self, table: Table, file: str) -> bool:
        return any(file in commit.transactions for commit in self.commits.get(table, ()))

    @contextmanager
    def append_file(self, table: Table, file: str) -> Iterator["_FakeAppend"]:
        yield _FakeAppend(self, table, file)

    @contextmanager
    def snapshot(self, table: Table) -> Iterator["_FakeSnapshot"]:
        yield _FakeSnapshot(table, tuple(self.commits.get(table, ())), self.rows(table))

    def append_once(self, table: Table, key: str, rows: pl.DataFrame) -> bool:
        if self.has_file(table, key):
            return False
        self.commit(table, table.conform(rows), {key: 1})
        return True

    @contextmanager
    def derived(self, table: Table) -> Iterator["_FakeWriter"]:
        yield _FakeWriter(self, table, len(self.commits.get(table, ())))

    def newest(self, table: Table, instant: str) -> datetime | None:
        latest = self.rows(table)[instant].max()
        assert latest is None or isinstance(latest, datetime)
        return latest

    def commit(
        self, table: Table, rows: pl.DataFrame, transactions: Mapping[str, int], went: pl.DataFrame | None = None
    ) -> None:
        if self.crash_after is not None and len(self.committed) >= self.crash_after:
            raise LakeUnavailable("the worker dies here")
        self.commits.setdefault(table, []).append(_Commit(rows, dict(transactions), went))
        self.committed.append(str(table))


@dataclass
class _FakeAppend:
    lake: FakeLake
    table: Table
    file: str
    frames: list[pl.DataFrame] = field(default_factory=list)

    def add(self, rows: pl.DataFrame) -> None:
        self.frames.append(self.table.conform(rows))

    def commit(self) -> bool:
        if self.lake.has_file(self.table, self.file):
            return False
        self.lake.commit(self.table, pl.concat([self.table.empty(), *self.frames]), {self.file: 1})
        return True


@dataclass
class _FakeSnapshot:
    table: Table
    commits: tuple[_Commit, ...]
    rows: pl.DataFrame

    @property
    def key(self) -> str:
        return f"{self.table}@memory"

    @property
    def version(self) -> int:
        return len(self.commits)

    def changed(self, instant: str, grain: Grain, since: int) -> Periods | None:
        difference = self.difference(since)
        rows = pl.concat([difference.came, difference.went])
        return Periods.of(grain, rows.select(grain.start_of(pl.col(instant)).unique()).to_series().drop_nulls())

    def difference(self, since: int) -> Difference:
        commits, none = self.commits[since:], self.table.empty()
        came = [commit.rows for commit in commits]
        went = [commit.went for commit in commits if commit.went is not None]
        return Difference(pl.concat([none, *came]), pl.concat([none, *went]))

    def scan(self, instant: str, periods: Periods | None) -> pl.LazyFrame:
        return self.rows.lazy() if periods is None else self.rows.lazy().filter(periods.hold(pl.col(instant)))


@dataclass
class _FakeWriter:
    lake: FakeLake
    table: Table
    version: int

    def seen(self, key: str) -> int | None:
        versions = [c.transactions[key] for c in self.lake.commits.get(self.table, ()) if key in c.transactions]
        return versions[-1] if versions else None

    def rows(self, where: str | None = None) -> pl.LazyFrame:
        return self.lake.rows(self.table).lazy()

    def replace(
        self, rows: pl.DataFrame, seen: Mapping[str, int], *, period: str = "", periods: Periods | None = None
    ) -> None:
        there = self.lake.rows(self.table)
        gone = pl.lit(value=True) if periods is None else periods.hold(pl.col(period))
        self._commit(rows, seen, there.filter(~gone), there.filter(gone))

    def _commit(self, rows: pl.DataFrame, seen: Mapping[str, int], kept: pl.DataFrame, went: pl.DataFrame) -> None:
        if len(self.lake.commits.get(self.table, ())) != self.version:
            raise LakeConflict(f"{self.table} has moved on")
        self.lake.commit(self.table, rows, seen, went)
        self.lake.derived_rows[self.table] = pl.concat([kept, self.table.conform(rows)])


def refiner(lake: Any, captures: Any, references: Any, now: datetime = NOON + timedelta(hours=1)) -> Refiner:
    """A refiner of these ports."""
    return Refiner(captures, lake, references, KEYS, HUBS, REMEMBERED, lambda: round(now.timestamp() * 1_000_000))


_numbers = count(1)


def unique(prefix: str) -> str:
    """A name that no other test of this run has."""
    return f"{prefix}{next(_numbers)}"
