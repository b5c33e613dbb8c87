"""silver.visits: the stays of devices inside a store's geofence, paired from the decisions that began and ended them.

A visit without an EXIT is followed by its pings. It ends in silence at its last ping inside, once 4 hours have passed
for the hub and nothing came: a phone at rest sends nothing for a while, one that left without a word never will. No
visit is longer than 24 hours. Nothing here depends on when a build runs, only on what was enqueued by then.
"""

from datetime import timedelta

import polars as pl

from shared.domain.presence import REST_US
from shared.domain.promotions import Transition
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import BuildContext, Due, GoldTable, Source, Trigger
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.periods import Grain
from shared.medallion.tables import INSTANT, Layer, Table

REST = timedelta(microseconds=REST_US)
"""Silence that ends a visit."""
LONGEST = timedelta(hours=24)
"""A visit that goes on is cut here: who lives or works in a geofence is no visitor for days."""
FOLLOWED = timedelta(days=2)
"""How many event dates after its own a ping may follow a visit: LONGEST and REST, on a day of 25 hours."""

EXIT, SILENCE, CUT = "exit", "silence", "cut"
"""What closed a visit: its EXIT, its last ping inside, or LONGEST."""

VISIT = ("device_key", "store_id", "entered_at")
"""Which visit a decision is about."""


def pair_visits(
    context: BuildContext, _of_the_day: pl.LazyFrame, decisions: pl.LazyFrame, enriched: pl.LazyFrame
) -> pl.LazyFrame:
    """The visits that the decisions tell of; `enriched` is read only if one of them may have ended in silence."""
    visits = _begun(decisions).collect(engine="streaming").with_row_index("visit")
    entered_at = pl.col("entered_at")
    followed = visits.filter(pl.col("left_at").is_null(), entered_at + REST < context.newest)
    return (
        visits.lazy()
        .join(_last_inside(visits, followed, enriched), on="visit", how="left", maintain_order="left")
        .with_columns(inside_at=pl.max_horizontal("inside_at", "entered_at"))
        .with_columns(closed_by=_closed_by(context))
        .with_columns(left_at=_left_at())
        .select(
            "event_date",
            *VISIT,
            "left_at",
            ((pl.col("left_at") - entered_at).dt.total_microseconds() / 1e6).alias("dwell_s"),
            "dwelled",
            "closed_by",
            pl.min_horizontal("inside_at", entered_at + LONGEST).alias("seen_inside_at"),
        )
    )


def _begun(decisions: pl.LazyFrame) -> pl.LazyFrame:
    """One row a visit, however often its decisions were published; `left_at` where an EXIT was decided.

    What a rotation of the device keys cut off from its ENTER is no visit of its own: it would count twice.
    """
    transition = pl.col("transition")
    return (
        decisions.filter(pl.col("entered_at").is_not_null(), pl.col("store_id").is_not_null())
        .group_by(pl.col("entered_date").alias("event_date"), *VISIT)
        .agg(
            left_at=pl.col("left_at").filter(transition == Transition.EXIT).min(),
            dwelled=(transition == Transition.DWELL).any(),
            # Without a transition: the geofence came to the device.
            has_begun=(transition.is_null() | (transition == Transition.ENTER)).any(),
        )
        .filter("has_begun")
        .drop("has_begun")
    )


def _last_inside(visits: pl.DataFrame, followed: pl.DataFrame, enriched: pl.LazyFrame) -> pl.LazyFrame:
    """The last ping inside of each followed visit, as `inside_at` by `visit`; none where no ping followed.

    The pings are taken as they were enqueued, up to the first one that was enqueued after the silence that ends a
    visit: what a phone uploads later tells nothing that a build at the time could have known.
    """
    if followed.is_empty():
        return pl.LazyFrame(schema={"visit": visits.schema["visit"], "inside_at": INSTANT})
    by_visit = pl.col("tracked_at").cum_max().shift(1).over("visit")
    before = pl.max_horizontal(by_visit, "entered_at")
    is_too_late = pl.col("enqueued_at") > before + REST
    return (
        _pings_of(visits, followed, enriched)
        .sort("visit", "enqueued_at")
        .with_columns(is_too_late=is_too_late)
        .filter(pl.col("is_too_late").cum_max().over("visit").not_())
        .group_by("visit")
        .agg(inside_at=pl.col("tracked_at").max())
    )


def _pings_of(visits: pl.DataFrame, followed: pl.DataFrame, enriched: pl.LazyFrame) -> pl.LazyFrame:
    """The pings inside of the followed visits; a ping is of the visit that began last, and of no other."""
    pings = (
        enriched.select("device_key", "store_id", "event_date", "tracked_at", "enqueued_at")
        .join(followed.lazy(), on=("device_key", "store_id"), how="semi")
        .collect(engine="streaming")
    )
    return (
        pings.sort("tracked_at")
        .join_asof(
            visits.select("visit", *VISIT, pl.col("event_date").alias("entered_date")).sort("entered_at"),
            left_on="tracked_at",
            right_on="entered_at",
            by=("device_key", "store_id"),
            coalesce=False,
            check_sortedness=False,  # it is sorted, and polars cannot tell within the groups
        )
        .lazy()
        .join(followed.lazy(), on="visit", how="semi")
        # A build of these visits alone is given the pings of these dates.
        .filter(pl.col("event_date").is_between("entered_date", pl.col("entered_date") + FOLLOWED))
    )


def _closed_by(context: BuildContext) -> pl.Expr:
    cut_at, left_at, inside_at = pl.col("entered_at") + LONGEST, pl.col("left_at"), pl.col("inside_at")
    return (
        pl.when((left_at > cut_at) | (inside_at >= cut_at))
        .then(pl.lit(CUT))
        .when(left_at.is_not_null())
        .then(pl.lit(EXIT))
        .when(inside_at + REST < context.newest)
        .then(pl.lit(SILENCE))
    )


def _left_at() -> pl.Expr:
    closed_by = pl.col("closed_by")
    return (
        pl.when(closed_by == CUT)
        .then(pl.col("entered_at") + LONGEST)
        .when(closed_by == SILENCE)
        .then("inside_at")
        .otherwise("left_at")
    )


def _may_be_over(context: BuildContext) -> pl.Expr:
    """Whether an open visit may have ended since it was looked at; one that is to be cut is looked at soon enough."""
    return pl.col("left_at").is_null() & (pl.col("seen_inside_at") + REST < context.newest)


VISITS = GoldTable(
    Table(
        Layer.SILVER,
        "visits",
        pl.Schema(
            {
                "event_date": pl.Date(),
                "device_key": pl.String(),
                "store_id": pl.String(),
                "entered_at": INSTANT,
                "left_at": INSTANT,
                "dwell_s": pl.Float64(),
                "dwelled": pl.Boolean(),
                "closed_by": pl.String(),
                "seen_inside_at": INSTANT,
            }
        ),
        partition_by="event_date",
    ),
    Grain.DAY,
    (
        Source(DECISIONS, "entered_date"),
        # Again, since the next visit ends what pings can say of the last one; that is a matter of late data only.
        Source(DECISIONS, "entered_date", after=FOLLOWED, trigger=Trigger.LATE),
        Source(GPS_ENRICHED, "event_date", after=FOLLOWED, trigger=Trigger.LATE),
    ),
    pair_visits,
    due=Due("left_at IS NULL", _may_be_over),
)
"""`event_date` is the store's date of entered_at; `dwell_s` = left_at - entered_at; `dwelled`: a DWELL was decided.
`seen_inside_at` is the last ping inside of a visit that was followed by its pings, else entered_at."""
