"""What in the reference data is valid and probably not meant: whoever publishes is told, and may have it so."""

from collections.abc import Iterator
from datetime import UTC, datetime

from shared.domain.budget import LEAST_SHARE
from shared.domain.local_time import MINUTES_A_DAY, Window
from shared.domain.promotions import Promotion
from shared.domain.reference import ReferenceData


def warnings_of(reference: ReferenceData, *, partition_count: int, now_us: int) -> Iterator[str]:
    """A sentence for each thing that is valid and probably not meant, by promotion.

    `partition_count` is that of the hub of pings; `now_us` in microseconds since 1970 UTC.
    """
    for promotion in reference.promotions:
        quiet_hours = (promotion.policy or reference.contact_policy).quiet_hours
        for warning in _of_promotion(promotion, quiet_hours, partition_count, now_us):
            yield f"promotion {promotion.promotion_id!r}: {warning}"


def _of_promotion(promotion: Promotion, quiet_hours: Window | None, partition_count: int, now_us: int) -> Iterator[str]:
    if promotion.ends_at_us is not None and promotion.ends_at_us <= now_us:
        yield f"it ended at {datetime.fromtimestamp(promotion.ends_at_us / 1e6, UTC):%Y-%m-%d %H:%M} UTC"
    if promotion.holdout_percent == 100:
        yield "holdout_percent is 100: nobody gets an offer"
    least = LEAST_SHARE * partition_count
    if promotion.max_offers is not None and promotion.max_offers < least:
        yield (
            f"max_offers {promotion.max_offers} is split over {partition_count} partitions: with fewer than {least}, "
            "some shares are spent while others are not"
        )
    if quiet_hours is not None and _is_always_quiet(promotion, quiet_hours):
        yield "it runs in quiet hours only: nobody gets an offer"


def _is_always_quiet(promotion: Promotion, quiet_hours: Window) -> bool:
    hours = promotion.hours
    windows = [Window(0, MINUTES_A_DAY)] if hours is None else [item.window for item in hours.windows]
    return not any(
        window.contains(minute) and not quiet_hours.contains(minute)
        for window in windows
        for minute in range(MINUTES_A_DAY)
    )
