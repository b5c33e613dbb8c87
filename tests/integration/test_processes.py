"""Processes that outlive the command that started them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.local import processes
from infra.local.ports import LOOPBACK, free_ports, holder, is_free, is_listening
from tests.polling import wait_until

pytestmark = pytest.mark.integration

type Start = Callable[[str], subprocess.Popen[bytes]]

WAITS = "import signal; print('ready', flush=True); signal.pause()"
IGNORES_SIGTERM = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
)


@pytest.fixture(name="pid_file")
def _pid_file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "service.json"


@pytest.fixture(name="start")
def _start(pid_file: Path) -> Iterator[Start]:
    """Start a Python script as the process of that file, and end it with the test."""
    children = []

    def start(script: str) -> subprocess.Popen[bytes]:
        log = pid_file.with_suffix(".log")
        child = processes.start([sys.executable, "-c", script], pid_file=pid_file, log=log, folder=Path.cwd())
        children.append(child)
        wait_until(lambda: log.exists() and "ready" in log.read_text(), 10, "the child to say ready")
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()


def test_a_process_is_found_by_its_file_and_stopped(pid_file: Path, start: Start) -> None:
    child = start(WAITS)
    found = processes.find(pid_file)
    assert found is not None
    assert found.pid == child.pid
    assert processes.stop(pid_file, patience_s=5)
    assert processes.find(pid_file) is None
    assert not processes.stop(pid_file, patience_s=5)


def test_a_process_that_was_killed_is_not_running(pid_file: Path, start: Start) -> None:
    child = start(WAITS)
    child.kill()
    wait_until(lambda: processes.find(pid_file) is None, 10, "the end of the child, though nobody has waited for it")
    child.wait()


def test_a_process_that_does_not_end_by_itself_is_killed(pid_file: Path, start: Start) -> None:
    child = start(IGNORES_SIGTERM)
    assert processes.stop(pid_file, patience_s=0.2)
    assert not psutil.pid_exists(child.pid)


def test_a_script_is_found_as_well_though_its_interpreter_runs(tmp_path: Path, pid_file: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{sys.executable}\n{WAITS}\n")
    script.chmod(0o755)
    child = processes.start([str(script)], pid_file=pid_file, log=tmp_path / "log", folder=tmp_path)
    assert processes.find(pid_file) is not None
    assert processes.stop(pid_file, patience_s=5)
    child.wait()


def test_a_stranger_that_got_the_pid_is_neither_ours_nor_signalled(pid_file: Path, start: Start) -> None:
    child = start(WAITS)
    processes.stop(pid_file, patience_s=5)
    pid_file.write_text(json.dumps({"pid": os.getpid(), "started": 0, "command": child.args}))
    assert processes.find(pid_file) is None
    assert not processes.stop(pid_file, patience_s=5)  # or this test would have ended here
    pid_file.write_text(json.dumps({"pid": os.getpid(), "started": 0, "command": psutil.Process().cmdline()}))
    assert processes.find(pid_file) is None


def test_a_taken_port_is_told_with_its_holder(pid_file: Path, start: Start) -> None:
    (port,) = free_ports(1)
    assert is_free(port)
    assert not is_listening(port)
    script = f"import socket; s = socket.create_server(('{LOOPBACK}', {port})); {WAITS}"
    child = start(script)
    assert not is_free(port)
    assert is_listening(port)
    assert f"(pid {child.pid})" in (holder(port) or "")
