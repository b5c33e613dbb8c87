"""Gold tables of four weeks at the sample's stores, with the columns of the lake's, for tests of what reads gold."""

import csv
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from shared.medallion.offers_hourly import NOT_SENT_REASONS
from shared.medallion.proportions import difference_interval, share
from shared.medallion.tables import INSTANT

STORES = Path(__file__).parents[1] / "infra" / "local" / "sample" / "stores.csv"
TODAY = date(2026, 3, 24)
AS_OF = datetime(2026, 3, 24, 16, 41, 12, tzinfo=UTC)
DAYS = 35
BUSY = np.array([0, 0, 0, 0, 0, 0, 1, 4, 8, 7, 5, 6, 10, 9, 5, 4, 5, 7, 6, 3, 2, 1, 0, 0])
PROMOTIONS = {
    "morning-coffee-costa": "Costa",
    "espresso-bar-nero": "Caffè Nero",
    "starbucks-cake": "Starbucks",
    "pret-soup": "Pret A Manger",
    "greggs-bakes": "Greggs",
}
REASONS = ("held_out", "cooldown", "outside_hours", "outranked", "daily_cap", "stale_ping")
NEVER_TOLD = "greggs-bakes"
"""The promotion whose arms are too small."""


def sample_stores() -> pl.DataFrame:
    """gold.stores of the sample."""
    with STORES.open(encoding="utf-8", newline="") as file:
        rows = [{**row, "radius_m": row["radius_m"] or None} for row in csv.DictReader(file)]
    numbers = ("latitude", "longitude", "radius_m")
    return (
        pl.DataFrame(rows)
        .drop("loitering_delay_s")
        .with_columns(
            *(pl.col(name).cast(pl.Float64) for name in numbers),
            time_zone=pl.lit("Europe/London"),
            reference_version=pl.lit("v1"),
        )
        .sort("store_id")
    )


def gold_world(seed: int = 7, stores: pl.DataFrame | None = None) -> dict[str, pl.DataFrame]:
    """Every table that the page reads; a cell of fewer than 5 visits is withheld."""
    random = np.random.default_rng(seed)
    known = sample_stores() if stores is None else stores
    hourly = _visits(random, known)
    offers = _offers(random, hourly, known)
    return {
        "stores": known,
        "store_hourly": hourly,
        "store_daily": _by_day(hourly),
        "offers_hourly": offers,
        "promotion_daily": _promotions(random),
        "data_quality_hourly": _quality(random),
    }


def _visits(random: np.random.Generator, stores: pl.DataFrame) -> pl.DataFrame:
    days = pl.DataFrame({"event_date": [TODAY - timedelta(days=back) for back in range(DAYS)]})
    hours = pl.DataFrame({"of_day": np.flatnonzero(BUSY), "busy": BUSY[BUSY > 0]})
    size = pl.DataFrame({"store_id": stores["store_id"], "size": random.gamma(1.4, 0.6, stores.height)})
    cells = days.join(hours, how="cross").join(size, how="cross")
    hour = pl.col("event_date").cast(INSTANT) + pl.duration(hours="of_day")
    cells = cells.with_columns(hour=hour).filter(pl.col("hour") <= AS_OF)
    visits = pl.Series(random.poisson((cells["size"] * cells["busy"]).to_numpy()), dtype=pl.Int64)
    new = pl.Series(random.binomial(visits.to_numpy(), 0.35), dtype=pl.Int64)
    cells = cells.with_columns(visits=visits, new_devices=new).filter(pl.col("visits") > 0)
    return cells.select(
        "event_date",
        "hour",
        "store_id",
        pings=pl.col("visits") * 9,
        devices="visits",
        visits="visits",
        new_devices="new_devices",
        returning_devices=pl.col("visits") - pl.col("new_devices"),
        dwell_p50_s=pl.lit(540.0),
        dwell_p90_s=pl.lit(1500.0),
    ).with_columns(pl.when(pl.col("devices") >= 5).then(pl.nth(range(3, 10))).name.keep())


def _by_day(hourly: pl.DataFrame) -> pl.DataFrame:
    measures = ("pings", "devices", "visits", "new_devices", "returning_devices")
    told = pl.col("visits").count() > 0
    return (
        hourly.group_by("event_date", "store_id")
        .agg(
            *(pl.when(told).then(pl.col(name).sum()).alias(name) for name in measures),
            pl.col("dwell_p50_s", "dwell_p90_s").median(),
        )
        .sort("event_date", "store_id")
    )


def _offers(random: np.random.Generator, hourly: pl.DataFrame, stores: pl.DataFrame) -> pl.DataFrame:
    promotions = pl.DataFrame({"promotion_id": list(PROMOTIONS), "merchant": list(PROMOTIONS.values())})
    cells = hourly.join(stores.select("store_id", "merchant"), on="store_id").join(promotions, on="merchant")
    considered = cells["visits"].fill_null(2).to_numpy()
    parts = random.multinomial(considered, [0.45, *(0.55 * np.array([0.3, 0.25, 0.15, 0.15, 0.1, 0.05]))])
    sent = parts[:, 0]
    delivered = random.binomial(sent, 0.93)
    reasons = dict(zip(REASONS, parts[:, 1:].T, strict=True))
    counts = {
        "considered": considered,
        "sent": sent,
        "delivered": delivered,
        "expired": sent - delivered,
        "given_up": np.zeros_like(sent),
        "failed": np.zeros_like(sent),
        **{f"not_sent_{name}": reasons.get(name, np.zeros_like(sent)) for name in (*NOT_SENT_REASONS, "other")},
    }
    columns = [pl.Series(name, values, dtype=pl.Int64) for name, values in counts.items()]
    told = pl.col("visits").is_not_null()
    return cells.with_columns(columns).select(
        "event_date", "hour", "store_id", "promotion_id", *(pl.when(told).then(name).alias(name) for name in counts)
    )


def _promotions(random: np.random.Generator) -> pl.DataFrame:
    rows = []
    for back in range(DAYS):
        for number, promotion in enumerate(PROMOTIONS):
            sent, held_out = (int(n) for n in random.poisson((220, 3 if promotion == NEVER_TOLD else 55)))
            rate = 0.42 + 0.05 * (number - 1)
            arm = {"dwelled": (rate, 0.42), "returned": (rate / 2, 0.21)}
            hits = {
                f"{outcome}_{name}": int(random.binomial(devices, p)) if devices >= 5 else None
                for outcome, rates in arm.items()
                for (name, devices), p in zip((("sent", sent), ("held_out", held_out)), rates, strict=True)
            }
            day = TODAY - timedelta(days=back)
            key = {"event_date": day, "promotion_id": promotion, "devices_sent": sent, "devices_held_out": held_out}
            rows.append({**key, **hits, "attribution_days": 7, "is_final": back >= 9})
    frame = pl.DataFrame(rows)
    return frame.with_columns(*_lift("dwell", "dwelled"), *_lift("return", "returned")).sort("event_date")


def _lift(name: str, outcome: str) -> list[pl.Expr]:
    hits = pl.col(f"{outcome}_sent"), pl.col(f"{outcome}_held_out")
    devices = pl.col("devices_sent"), pl.col("devices_held_out")
    low, high = difference_interval(hits, devices)
    sent, held_out = (share(*arm) for arm in zip(hits, devices, strict=True))
    return [
        *(sent.alias(f"{name}_rate_sent"), held_out.alias(f"{name}_rate_held_out")),
        *((sent - held_out).alias(f"{name}_lift"), low.alias(f"{name}_lift_low"), high.alias(f"{name}_lift_high")),
    ]


def _quality(random: np.random.Generator) -> pl.DataFrame:
    first = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC) - timedelta(days=DAYS - 1)
    hours = int((AS_OF - first) / timedelta(hours=1)) + 1
    at = [first + timedelta(hours=number) for number in range(hours)]
    parts = []
    for hub, size in (("dev-readfrom", 40_000), ("dev-writeto", 900), ("dev-decisions", 3_000)):
        captured = random.poisson(size, hours)
        rejected = random.binomial(captured, 0.004 if hub == "dev-readfrom" else 0)
        delays = (random.normal(2.4, 0.2, hours), random.normal(11, 1, hours))
        half, most = (pl.Series(part if hub == "dev-readfrom" else [None] * hours, dtype=pl.Float64) for part in delays)
        parts.append(
            pl.DataFrame(
                {
                    "hour": pl.Series(at, dtype=INSTANT),
                    "hub": [hub] * hours,
                    "captured": captured,
                    "accepted": captured - rejected,
                    "rejected": rejected,
                    "rejected_too_late": rejected // 3,
                    "rejected_not_understood": rejected - rejected // 3,
                    "duplicates": random.binomial(captured, 0.01),
                    "delay_p50_s": half,
                    "delay_p95_s": most,
                    "silver_delay_p50_s": pl.Series(random.normal(4, 0.5, hours)),
                    "silver_delay_p95_s": pl.Series(random.normal(8, 0.5, hours)),
                }
            )
        )
    quality = pl.concat(parts)
    return quality.select(pl.col("hour").dt.date().alias("event_date"), pl.all())
