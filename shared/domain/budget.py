"""Budgets and holdouts: who may still be sent an offer, decided the same on every worker and in every replay."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from shared.domain.promotions import Promotion

LEAST_SHARE = 10
"""A budget of fewer offers a partition is spent by chance rather than in order."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What each promotion has spent in one partition of the hub; partitions share no counter, so each has its share."""

    partition_count: int
    spent: Mapping[str, int]
    """Offers sent, by promotion id."""

    def is_left(self, promotion: Promotion, partition_id: str) -> bool:
        """Whether the promotion may make another offer in that partition."""
        if promotion.max_offers is None:
            return True
        share = share_of(promotion.promotion_id, promotion.max_offers, int(partition_id), self.partition_count)
        return self.spent.get(promotion.promotion_id, 0) < share


@lru_cache(maxsize=65_536)
def share_of(promotion_id: str, max_offers: int, partition: int, partition_count: int) -> int:
    """How many of `max_offers` one partition may make: equal shares, the rest to partitions chosen by a hash.

    The shares of all partitions (numbered from 0) add up to `max_offers`.
    """
    share, rest = divmod(max_offers, partition_count)
    return share + (partition in _chosen(promotion_id, partition_count)[:rest])


@lru_cache(maxsize=4_096)
def _chosen(promotion_id: str, partition_count: int) -> tuple[int, ...]:
    """The partitions in the order in which they get what is left over."""
    return tuple(sorted(range(partition_count), key=lambda number: _hash("budget", promotion_id, str(number))))


def is_held_out(promotion: Promotion, device_id: str) -> bool:
    """Whether the device belongs to those who get no offer of this promotion, so that its effect can be measured.

    A device is always in the same group of a promotion; a larger percentage only adds devices to the group.
    """
    if promotion.holdout_percent <= 0:
        return False
    return _hash("holdout", promotion.promotion_id, device_id) < promotion.holdout_percent / 100 * 2**64


def _hash(*parts: str) -> int:
    """A number below 2^64 that looks random; parts are kept apart by their lengths."""
    digest = blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "big"))
        digest.update(data)
    return int.from_bytes(digest.digest(), "big")
