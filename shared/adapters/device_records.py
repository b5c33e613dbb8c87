"""What the lake has on record about one device, found by its keys."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import numpy as np
import polars as pl

from shared.adapters.delta_tables import DeltaTables
from shared.domain.events import instant
from shared.medallion.decisions import DECISIONS
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.settings import DeviceKey
from shared.workflows.device_history import DecisionRecord, PingRecord, RejectedBody, in_order

_EPOCH = instant(0)
_MICROSECOND = timedelta(microseconds=1)
_DECISION = {
    "decision_id": "decision_id",
    "enqueued_us": "decided_at",
    "tracked_us": "tracked_at",
    "partition_id": "ping_partition_id",
    "sequence_number": "ping_sequence_number",
    "store_id": "store_id",
    "transition": "transition",
    "promotion_id": "promotion_id",
    "offer_id": "offer_id",
    "outcome": "outcome",
    "reason": "reason",
    "distance_m": "distance_m",
    "entered_us": "entered_at",
    "left_us": "left_at",
    "reference_version": "reference_version",
}
_PING = {
    "enqueued_us": "enqueued_at",
    "tracked_us": "tracked_at",
    "partition_id": "partition_id",
    "sequence_number": "sequence_number",
    "latitude": "latitude",
    "longitude": "longitude",
    "accuracy_m": "accuracy_m",
}
"""Each field of a record, and the column that it comes from."""


@dataclass(frozen=True, slots=True)
class DeviceRecords:
    """The records of one device between instants of the hub (microseconds since 1970 UTC), the end exclusive.

    Every method raises LakeUnavailable when the lake does not answer.
    """

    tables: DeltaTables
    device_id: str
    keys: tuple[str, ...]
    """Whatever key it may have: one a secret."""
    pings_hub: str

    @classmethod
    def of(cls, tables: DeltaTables, device_id: str, secrets: Sequence[DeviceKey], pings_hub: str) -> "DeviceRecords":
        """The records of the device, whichever secret hid it. Raises ConfigurationError when there is no secret."""
        starts = np.array([secret.from_us for secret in secrets], np.int64)
        keys = DeviceKeys(secrets).key([device_id] * len(starts), starts)
        return cls(tables, device_id, tuple(keys), pings_hub)

    def decisions(self, start_us: int, end_us: int) -> tuple[DecisionRecord, ...]:
        """The decisions about pings enqueued then, each once, in the order of the pings."""
        rows = self.tables.between(DECISIONS, "decided_at", instant(start_us), instant(end_us))
        return in_order(self._named(rows, _DECISION, DecisionRecord))

    def pings(self, start_us: int, end_us: int) -> tuple[PingRecord, ...]:
        """The accepted pings enqueued then, in order."""
        rows = self.tables.between(PINGS, "enqueued_at", instant(start_us), instant(end_us))
        found = self._named(rows.filter(pl.col("hub") == self.pings_hub), _PING, PingRecord)
        return tuple(sorted(found, key=lambda record: record.ping))

    def rejected(self, start_us: int, end_us: int) -> tuple[RejectedBody, ...]:
        """The bodies enqueued then that hold the device's id, as it is or as JSON writes it, and were no pings."""
        forms = {self.device_id, json.dumps(self.device_id)[1:-1]}
        named = re.compile(b"|".join(rb"(?<![\w-])%s(?![\w-])" % re.escape(form.encode()) for form in forms))
        rows = self.tables.between(BODIES, "enqueued_at", instant(start_us), instant(end_us)).filter(
            pl.col("hub") == self.pings_hub,
            pl.any_horizontal(pl.col("body").bin.contains(form.encode()) for form in forms),
        )
        found = rows.select("enqueued_at", "reason", "detail", "body").sort("enqueued_at").collect().iter_rows()
        return tuple(RejectedBody(_us(at), reason, detail) for at, reason, detail, body in found if named.search(body))

    def refined_to_us(self) -> int | None:
        """When the newest ping in silver, of any device, was enqueued."""
        newest = self.tables.newest(PINGS, "enqueued_at")
        return None if newest is None else _us(newest)

    def _named[T](self, rows: pl.LazyFrame, columns: dict[str, str], record: type[T]) -> list[T]:
        """The device's rows as records, instants as microseconds."""
        own = rows.filter(pl.col("device_key").is_in(self.keys))
        fields = own.select(pl.col(column).alias(name) for name, column in columns.items()).collect()
        dicts = fields.with_columns(pl.col(pl.Datetime).to_physical()).to_dicts()
        return msgspec.convert(dicts, list[record])  # type: ignore[valid-type]


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
