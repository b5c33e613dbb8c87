"""Each event is decided once, through crashes, takeovers and lost answers: random histories (histories.py)."""

import logging

import pytest

from tests.unit.evaluate.histories import Play, check

HISTORIES = 60


@pytest.fixture(autouse=True, name="_quiet")
def _no_log_records(caplog):
    """A kept record of an exception keeps its frames, and with them the whole history."""
    caplog.set_level(logging.CRITICAL, logger="shared.workflows")


def test_what_is_published_is_what_one_undisturbed_run_says():
    for seed in range(HISTORIES):
        check(Play(seed))


@pytest.mark.slow
def test_what_is_published_is_what_one_undisturbed_run_says_in_many_histories():
    for seed in range(HISTORIES, 1_000):
        check(Play(seed))
