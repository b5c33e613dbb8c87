"""The `footfall` command as a whole."""

import pytest
from typer.testing import CliRunner

from infra.cli import COMMANDS, app


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_is_for(command: str) -> None:
    told = CliRunner().invoke(app, [command, "--help"], prog_name="footfall")
    assert told.exit_code == 0, told.output
    assert f"footfall {command}" in told.output


def test_the_help_has_every_command_in_order() -> None:
    told = CliRunner().invoke(app, ["--help"]).output
    places = [told.index(f"│ {command} ") for command in COMMANDS]
    assert places == sorted(places)


def test_a_command_that_is_none_is_refused() -> None:
    refused = CliRunner().invoke(app, ["fly"])
    assert refused.exit_code != 0
    assert "fly" in refused.output
