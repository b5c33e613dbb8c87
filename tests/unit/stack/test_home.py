"""The folder of one laptop cloud."""

import json
from pathlib import Path

import pytest

from infra.local.app_settings import SAMPLE, read_settings, write_settings
from infra.local.home import Home, StackPorts
from shared.errors import ConfigurationError

PORTS = StackPorts(blob=1, queue=2, table=3, amqp=4, health=5, http=6)


def test_the_ports_of_the_last_up_are_remembered(tmp_path: Path) -> None:
    home = Home(tmp_path / "new")
    assert home.remembered_ports() is None
    home.remember_ports(PORTS)
    assert home.remembered_ports() == PORTS


def test_the_settings_lead_the_app_to_the_ports_of_this_stack(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_settings(home, PORTS)
    settings = read_settings(home)
    assert settings.problems() == []
    assert "BlobEndpoint=http://127.0.0.1:1/" in settings.lake_storage.connection_string
    assert "TableEndpoint=http://127.0.0.1:3/" in settings.state_storage.connection_string
    assert "Endpoint=sb://localhost:4;" in settings.event_hub.connection_string


def test_a_setting_that_was_changed_by_hand_stays_and_connections_follow_the_ports(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_settings(home, StackPorts())
    changed = json.loads(home.settings.read_text())
    changed["Values"]["DELIVERY_WINDOW_S"] = "7"
    home.settings.write_text(json.dumps(changed))
    write_settings(home, PORTS)
    settings = read_settings(home)
    assert settings.delivery_window_s == 7
    assert "sb://localhost:4;" in settings.event_hub.connection_string


def test_the_sample_settings_are_those_of_the_default_ports(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_settings(home, StackPorts())
    assert json.loads(home.settings.read_text()) == json.loads(SAMPLE.read_text())


def test_before_the_first_up_there_are_no_settings_and_the_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"local\.settings\.json"):
        read_settings(Home(tmp_path))


def test_a_reset_deletes_the_data_and_leaves_the_tools(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.remember_ports(PORTS)
    write_settings(home, PORTS)
    for path in (home.data / "azurite" / "b", home.log("host"), home.pid_file("host"), tmp_path / "tools" / "azurite"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    home.delete_data()
    assert [path.name for path in tmp_path.iterdir()] == ["tools"]
