"""The house stands as docs/architecture.md draws it; import-linter (pyproject.toml) holds the arrows inside it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for room in ("functions", "shared", "infra") for path in (ROOT / room).rglob("*.py") if path.stat().st_size
)
ARITHMETIC = {"numpy", "geopy", "shapely", "msgspec"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def below(folder: str) -> pytest.MarkDecorator:
    modules = [path for path in SOURCES if path.is_relative_to(ROOT / folder)]
    return pytest.mark.parametrize("module", modules, ids=lambda path: str(path.relative_to(ROOT)))


@below("shared/domain")
def test_the_domain_imports_only_itself_arithmetic_and_the_standard_library(module):
    for name in imports(module):
        top = name.split(".")[0]
        assert name.startswith("shared.domain") or top in ARITHMETIC or top in sys.stdlib_module_names, name
        assert top not in {"asyncio", "http", "io", "logging", "os", "pathlib", "socket", "subprocess", "time"}, name


@below("shared/medallion")
def test_a_transformation_touches_no_storage(module):
    for name in imports(module):
        assert name.split(".")[0] not in {"azure", "deltalake", "fastavro", "os", "pathlib"}, name


@below("shared/workflows")
def test_a_workflow_reaches_the_outside_through_its_ports(module):
    for name in imports(module):
        assert name.split(".")[0] not in {"azure", "deltalake", "fastavro", "os", "pathlib"}, name


@pytest.mark.parametrize("room", ["shared", "infra"])
def test_only_functions_know_the_bindings(room):
    for path in SOURCES:
        if path.is_relative_to(ROOT / room):
            assert not any(name.startswith(("azure.functions.", "azure.functions")) for name in imports(path)), path


def test_only_settings_read_the_environment():
    readers = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.is_relative_to(ROOT / "shared")
        and any(
            getattr(node, "attr", getattr(node, "id", None)) in ("environ", "getenv")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    }
    # The Delta library takes Azurite's port from the environment only, so its adapter writes that there.
    assert readers == {"shared/settings.py", "shared/adapters/lake_storage.py"}


def test_indexing_the_app_loads_nothing_of_the_lake():
    code = "import function_app, sys; print(*{'polars', 'deltalake', 'duckdb'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
