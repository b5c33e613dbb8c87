"""What the integration tests share."""

from pathlib import Path

import pytest

from shared.adapters.lake_storage import LakeStorage
from tests.integration.lakes import Lake, in_folder, on_azurite


@pytest.fixture(name="lake", params=[in_folder, on_azurite], ids=lambda make: make.__name__)
def _lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    return Lake(request.param(tmp_path, request))


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Lake:
    """For what does not depend on the storage."""
    return Lake(LakeStorage.in_folder(tmp_path))
