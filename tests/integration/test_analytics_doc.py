"""What docs/analytics.md tells people to type works on tables that our code wrote."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from shared.adapters.lake_storage import LakeStorage
from shared.medallion.lake import GOLD_TABLES
from shared.medallion.store_hourly import STORE_HOURLY
from shared.workflows.analytics import DEFAULT_LIMIT, MOST_ROWS, PARAMETERS, Format
from tests.integration.lakes import Lake

pytestmark = pytest.mark.integration

DOC = (Path(__file__).parents[2] / "docs" / "analytics.md").read_text(encoding="utf-8")
HOURS = STORE_HOURLY.table
SPARK_ALONE = "--master local[1] --conf spark.ui.enabled=false --conf spark.driver.host=127.0.0.1 pyspark-shell"


def hours() -> pl.DataFrame:
    """Two days of two stores; one hour is withheld."""
    rows = pl.DataFrame(
        {"store_id": ["s1", "s2", "s1", "s1"], "visits": [1, 5, None, 7], "day": [1, 1, 1, 2]},
        schema_overrides={"visits": pl.Int64},
    ).select(
        "store_id",
        "visits",
        event_date=pl.date(2026, 6, "day"),
        hour=pl.datetime(2026, 6, "day", 10 + pl.int_range(pl.len()), time_unit="us", time_zone="UTC"),
    )
    others = [pl.lit(None, dtype).alias(name) for name, dtype in HOURS.schema.items() if name not in rows.columns]
    return HOURS.conform(rows.with_columns(others))


def test_every_snippet_runs_and_finds_the_same(tmp_path: Path):
    with Lake(LakeStorage.in_folder(tmp_path)).tables().derived(HOURS) as derived:
        derived.replace(hours(), {})
    names: dict[str, Any] = {"gold": str(tmp_path / "gold"), "options": {}}
    blocks = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)  # noqa: S102 (the document's own code)
    expected = [("s1", 1), ("s2", 5)]
    assert names["visits"].rows() == expected
    assert names["by_store"].fetchall() == expected
    assert list(names["frame"].itertuples(index=False, name=None)) == expected


@pytest.mark.slow
def test_spark_reads_the_same(tmp_path: Path):
    """In a process of its own, for Spark's warnings are not ours."""
    if shutil.which("java") is None:
        pytest.skip("java is not installed, and Spark runs on it")
    with Lake(LakeStorage.in_folder(tmp_path)).tables().derived(HOURS) as derived:
        derived.replace(hours(), {})
    (snippet,) = re.findall(r"```pyspark\n(.*?)```", DOC, re.DOTALL)
    script = f"gold = {str(tmp_path / 'gold')!r}\n{snippet}\nprint([tuple(row) for row in by_store.collect()])\n"
    alone = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_SUBMIT_ARGS": SPARK_ALONE}
    command = [sys.executable, "-c", script]
    found = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300, env=os.environ | alone, cwd=tmp_path
    )
    assert found.stdout.splitlines()[-1:] == ["[('s1', 1), ('s2', 5)]"], found.stderr[-2000:]


def test_the_parameters_formats_and_limits_are_those_of_the_code():
    table = DOC[DOC.index("| parameter of") : DOC.index("Only the current version")]
    assert tuple(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE)[1:]))) == PARAMETERS
    assert f"1 to {MOST_ROWS:,} rows; {DEFAULT_LIMIT:,} without it" in table
    assert set(Format) <= set(re.findall(r"`(\w+)`", table))


def test_every_table_that_it_names_is_one():
    named = set(re.findall(r"\bgold[./](\w+)", DOC)) | set(re.findall(r"\{gold\}/(\w+)", DOC))
    assert named <= {table.name for table in GOLD_TABLES}
