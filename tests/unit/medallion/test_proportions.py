"""Shares and their intervals: the numbers of another implementation, and none where there is nothing to count."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from shared.medallion.proportions import difference_interval, share, wilson_interval

arms = st.integers(1, 5000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))


def bounds(low: pl.Expr, high: pl.Expr, **values: int) -> tuple[float, float]:
    return pl.DataFrame({name: [value] for name, value in values.items()}).select(low=low, high=high).row(0)


@given(arms)
@settings(deadline=None, max_examples=60)
def test_the_interval_of_a_share_is_wilsons(arm):
    successes, trials = arm
    found = bounds(*wilson_interval(pl.col("x"), pl.col("n")), x=successes, n=trials)
    assert found == pytest.approx(proportion_confint(successes, trials, method="wilson"), abs=1e-12)


@given(arms, arms)
@settings(deadline=None, max_examples=100)
def test_the_interval_of_a_difference_is_newcombes(one, two):
    low_and_high = difference_interval((pl.col("x1"), pl.col("x2")), (pl.col("n1"), pl.col("n2")))
    found = bounds(*low_and_high, x1=one[0], n1=one[1], x2=two[0], n2=two[1])
    assert found == pytest.approx(confint_proportions_2indep(*one, *two, method="newcomb"), abs=1e-9)


def test_an_example_of_newcombes_paper_has_the_interval_that_is_printed_there():
    """Table II, contrast (a): 56 of 70 less 48 of 80, by method 10."""
    low_and_high = difference_interval((pl.col("x1"), pl.col("x2")), (pl.col("n1"), pl.col("n2")))
    found = bounds(*low_and_high, x1=56, n1=70, x2=48, n2=80)
    assert [round(bound, 4) for bound in found] == [0.0524, 0.3339]


@pytest.mark.parametrize("without", ["n1", "n2"])
def test_without_a_trial_there_is_no_share_and_no_interval(without):
    values = {"x1": 0, "n1": 4, "x2": 0, "n2": 4} | {without: 0}
    low_and_high = difference_interval((pl.col("x1"), pl.col("x2")), (pl.col("n1"), pl.col("n2")))
    assert bounds(*low_and_high, **values) == (None, None)
    assert pl.select(share(pl.lit(0), pl.lit(0))).item() is None
