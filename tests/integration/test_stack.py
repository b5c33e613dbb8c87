"""The laptop cloud as the `footfall` command starts, watches and stops it."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.ports import LOOPBACK
from tests.cloud import Cloud
from tests.polling import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(name="cloud")
def _cloud(tmp_path: Path) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path / "home")
    yield cloud
    cloud.end()


def test_up_starts_what_does_not_run_and_down_stops_all_of_it(cloud: Cloud) -> None:
    started = cloud.footfall("up", "--detach")
    assert started.returncode == 0, started.stderr
    assert f"http://127.0.0.1:{cloud.ports.http}/api" in started.stdout
    assert cloud.stack.host.key("default") in started.stdout
    before = cloud.pids()
    assert None not in before.values()

    assert cloud.footfall("up", "--detach").returncode == 0
    assert cloud.pids() == before

    os.kill(before["eventhubs"] or 0, signal.SIGKILL)
    wait_until(lambda: cloud.pids()["eventhubs"] is None, 10, "the end of the broker")
    state = cloud.footfall("status", "--json")
    assert state.returncode == 1
    assert {one["name"]: one["ready"] for one in json.loads(state.stdout)}["eventhubs"] is False
    assert cloud.footfall("up", "--detach").returncode == 0
    after = cloud.pids()
    assert after["azurite"] == before["azurite"]
    assert after["eventhubs"] not in (None, before["eventhubs"])
    assert cloud.footfall("status").returncode == 0

    assert cloud.footfall("down").returncode == 0
    assert set(cloud.pids().values()) == {None}
    assert cloud.home.data.exists()


def test_a_reset_asks_and_then_deletes_the_data(cloud: Cloud) -> None:
    cloud.home.data.mkdir(parents=True)
    assert cloud.footfall("reset").returncode != 0  # nobody answers
    assert cloud.home.data.exists()
    assert cloud.footfall("reset", "--yes").returncode == 0
    assert not cloud.home.data.exists()


def test_a_taken_port_is_told_with_its_holder_and_the_option_that_moves_it(cloud: Cloud) -> None:
    with socket.create_server((LOOPBACK, cloud.ports.amqp)):
        refused = cloud.footfall("up", "--detach")
    assert refused.returncode == 1
    for word in (str(cloud.ports.amqp), f"(pid {os.getpid()})", "--amqp-port", "FOOTFALL_AMQP_PORT"):
        assert word in refused.stderr
    assert set(cloud.pids().values()) == {None}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_stop_everything(cloud: Cloud, number: signal.Signals) -> None:
    command = cloud.begin("up")
    try:
        wait_until(lambda: all(service.ready for service in cloud.stack.status()), 60, "all services")
        command.send_signal(number)
        assert command.wait(timeout=30) == 0
    finally:
        command.kill()
        command.communicate()
    assert set(cloud.pids().values()) == {None}


def test_sigterm_while_it_starts_leaves_nothing_running(cloud: Cloud) -> None:
    command = cloud.begin("up", "--detach")
    try:
        wait_until(lambda: cloud.pids()["azurite"] is not None, 60, "the first service")
        command.send_signal(signal.SIGTERM)
        assert command.wait(timeout=30) != 0
    finally:
        command.kill()
        command.communicate()
    assert set(cloud.pids().values()) == {None}


def test_a_service_that_cannot_start_is_named_with_its_last_words(cloud: Cloud) -> None:
    cloud.home.path.mkdir()
    settings = {"IsEncrypted": False, "Values": {"CAPTURE_TRIGGER_SOURCE": "EventGrid"}}
    cloud.home.settings.write_text(json.dumps(settings))
    refused = cloud.footfall("up", "--detach")
    assert refused.returncode == 1
    assert "host ended with code" in refused.stderr
    assert "CAPTURE_TRIGGER_SOURCE" in refused.stderr
    assert set(cloud.pids().values()) == {None}
