"""The lake of a laptop cloud, to look at it."""

from datetime import timedelta

from shared.adapters.delta_tables import DeltaTables
from shared.adapters.lake_storage import LakeStorage
from shared.settings import Settings


def lake_tables(settings: Settings) -> DeltaTables:
    """All tables of the lake that the settings name."""
    return DeltaTables(LakeStorage.of(settings), remembered=timedelta(days=settings.bronze_lifetime_days + 7))
