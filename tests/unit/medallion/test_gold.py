"""All derived tables: what holds for each of them."""

import pytest

from shared.medallion.gold import BuildContext, GoldTable
from shared.medallion.lake import DERIVED_TABLES
from shared.workflows.build_gold import GoldBuilder
from tests.fakes_lake import FakeLake


@pytest.mark.parametrize("derived", DERIVED_TABLES, ids=lambda derived: derived.table.name)
def test_a_table_of_no_source_row_has_its_schema_and_no_row(derived):
    lake = FakeLake()
    GoldBuilder(lake, BuildContext(min_devices=5), tables=(derived,)).build()
    assert lake.rows(derived.table).equals(derived.table.empty())


def test_a_table_is_built_after_those_that_it_is_computed_from():
    for row, derived in enumerate(DERIVED_TABLES):
        later = {later.table for later in DERIVED_TABLES[row:]}
        sources = derived.sources if isinstance(derived, GoldTable) else (derived.source,)
        assert not later & {source.table for source in sources}
