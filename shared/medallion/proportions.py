"""Shares and the difference of two of them, each with its 95 % interval, as Polars expressions.

Shares are numbers from 0 to 1, not percent. Wilson's score interval (E. B. Wilson, JASA 22, 1927) stays within 0 and 1
and is right for few devices too; of two of them comes the interval of a difference: the hybrid score interval, method
10 in R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statist. Med. 17, 1998.
"""

from statistics import NormalDist

import polars as pl

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def share(successes: pl.Expr, trials: pl.Expr) -> pl.Expr:
    """successes / trials; null where there is no trial."""
    return pl.when(trials > 0).then(successes / trials)


def wilson_interval(successes: pl.Expr, trials: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The bounds of a share: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n); null where there is no trial."""
    p, spread = share(successes, trials), share(pl.lit(Z**2), trials)
    middle = p + spread / 2
    half = (p * (1 - p) * spread + spread**2 / 4).sqrt()
    low, high = ((middle + sign * half) / (1 + spread) for sign in (-1, 1))
    return low, high


def difference_interval(successes: tuple[pl.Expr, pl.Expr], trials: tuple[pl.Expr, pl.Expr]) -> tuple[pl.Expr, pl.Expr]:
    """The bounds of p1 - p2, from the Wilson bounds l and u of each; null where one of the two has no trial.

    p1 - p2 - √((p1 - l1)² + (u2 - p2)²) and p1 - p2 + √((u1 - p1)² + (p2 - l2)²).
    """
    (p1, p2) = (share(*of_one) for of_one in zip(successes, trials, strict=True))
    (low1, high1), (low2, high2) = (wilson_interval(*of_one) for of_one in zip(successes, trials, strict=True))
    below = ((p1 - low1) ** 2 + (high2 - p2) ** 2).sqrt()
    above = ((high1 - p1) ** 2 + (p2 - low2) ** 2).sqrt()
    return p1 - p2 - below, p1 - p2 + above
