"""Fixtures for every tier: one Azurite a session, and the real data sets beside the repository."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azurite import AzuriteServer

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", name="azurite")
def _azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteServer]:
    """A running Azurite that the whole session shares: use names of your own (containers, tables, queues) in it."""
    server = AzuriteServer(tmp_path_factory.mktemp("azurite"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session", name="real_data")
def _real_data() -> Path:
    """The folder with the real data sets; a test that needs it is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip("the real data sets are not beside the repository (../shared/data)")
    return REAL_DATA


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """With CI=true nothing is skipped unseen: a skip is a failure that gives its reason.

    The real data sets are not part of the repository, so their absence alone may be skipped.
    """
    report = yield
    is_excused = hasattr(report, "wasxfail") or (not REAL_DATA.is_dir() and item.get_closest_marker("realdata"))
    return report if is_excused else _without_skips(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """The same for a module that skips itself."""
    report = yield
    return _without_skips(report)


def _without_skips[T: (pytest.TestReport, pytest.CollectReport)](report: T) -> T:
    if report.skipped and os.environ.get("CI", "").lower() == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI allows no skip: {reason}"
    return report
