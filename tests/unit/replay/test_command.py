"""What `footfall replay` takes, and what it refuses before it asks anybody."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli import app

DOCS = Path(__file__).parents[3] / "docs"


def test_the_docs_list_every_option() -> None:
    help_text = CliRunner().invoke(app, ["replay", "--help"], env={"COLUMNS": "300", "NO_COLOR": "1"}).output
    options = set(re.findall(r"│ \*?\s*(--[a-z-]+)", help_text)) - {"--help", "--home"}
    rows = re.findall(r"^\| (`--.*?) \|", (DOCS / "backtest.md").read_text(), re.MULTILINE)
    assert {option for row in rows for option in re.findall(r"--[a-z-]+", row)} == options


def refusal(*arguments: str) -> str:
    ran = CliRunner().invoke(app, ["replay", *arguments], env={"COLUMNS": "300", "NO_COLOR": "1"})
    assert ran.exit_code != 0
    return ran.output + str(ran.exception)


def test_a_time_that_is_none_is_refused_with_an_example(tmp_path: Path) -> None:
    assert "--from 'yesterday' is no date and no instant; write 2026-11-24" in refusal(
        "--out", str(tmp_path / "out"), "--from", "yesterday"
    )


@pytest.mark.parametrize(
    ("since", "until"),
    [("2026-11-24", "2026-11-24"), ("2026-11-24T09:00:00+01:00", "2026-11-24T08:00"), ("2026-11-25", "2026-11-24")],
)
def test_a_time_that_ends_before_it_begins_is_refused_whatever_its_zone(
    tmp_path: Path, since: str, until: str
) -> None:  # fmt: skip
    assert "--from must be earlier than --to" in refusal(
        "--out", str(tmp_path / "out"), "--from", since, "--to", until
    )  # fmt: skip


def test_nothing_is_left_behind_by_a_refusal(tmp_path: Path) -> None:
    refusal("--out", str(tmp_path / "out"), "--from", "2026-11-25", "--to", "2026-11-24")
    assert not (tmp_path / "out").exists()
