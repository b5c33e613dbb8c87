"""quarantine.bodies: events that could not be used, each with its reason; the one table that holds bodies as sent."""

from collections.abc import Sequence

import polars as pl

from shared.domain.pings import RejectedPing
from shared.medallion.bronze import Captured, CapturePath, provenance
from shared.medallion.tables import PROVENANCE, Layer, Table

MOST_BODY_BYTES = 4096
"""Of a longer body the rest is left to bronze: one hostile sender must not fill the quarantine."""

BODIES = Table(
    Layer.QUARANTINE,
    "bodies",
    pl.Schema(
        {
            "reason": pl.String(),
            "detail": pl.String(),
            "body": pl.Binary(),
            "body_bytes": pl.Int64(),
            **PROVENANCE,
        }
    ),
    partition_by="capture_date",
)
"""`body` is cut after 4,096 bytes, `body_bytes` is its whole length; both are null for an event without a body."""


def quarantine(captured: Captured, rejected: Sequence[RejectedPing], file: CapturePath) -> pl.DataFrame:
    """The rejected ones of captured events, each with its reason."""
    if not rejected:
        return BODIES.empty()
    events = captured.events[[item.row for item in rejected]]
    bodies = pl.Series([captured.bodies[item.row] for item in rejected], dtype=pl.Binary)
    return BODIES.conform(
        pl.concat(
            [
                events.select(
                    reason=pl.Series([str(item.reason) for item in rejected]),
                    detail=pl.Series([item.detail for item in rejected]),
                    body=bodies.bin.head(MOST_BODY_BYTES),
                    body_bytes=bodies.bin.size().cast(pl.Int64),
                ),
                provenance(events, file),
            ],
            how="horizontal",
        )
    )
