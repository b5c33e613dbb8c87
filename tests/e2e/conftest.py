"""The whole stack, for each test its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import Cloud


@pytest.fixture(name="cloud")
def _cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A laptop cloud that runs; stopped at the end."""
    cloud = Cloud(tmp_path / "home")
    started = cloud.footfall("up", "--detach")
    assert started.returncode == 0, started.stdout + started.stderr
    yield cloud
    cloud.end()
