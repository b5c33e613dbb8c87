"""Processes that outlive the command that started them. A file says which they are; only those are ever signalled."""

import json
import logging
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

logger = logging.getLogger(__name__)

_START_TOLERANCE_S = 5
"""The clock may be set after a process started, and its start, as the system tells it, moves along."""


def start(command: Sequence[str], *, pid_file: Path, log: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its output appended to `log`, and write down which process it is.

    Its own session: Ctrl-C in a terminal goes to the command that started it, which then stops things in order.
    """
    for path in (pid_file, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        _note(process.pid, pid_file)
    except BaseException:  # whatever it is: nobody would find the process again
        process.kill()
        raise
    return process


def _note(pid: int, pid_file: Path) -> None:
    process = psutil.Process(pid)
    noted = {"pid": pid, "started": process.create_time(), "command": _command_line(process)}
    written = pid_file.with_suffix(".partial")
    written.write_text(json.dumps(noted))
    written.replace(pid_file)


def _command_line(process: psutil.Process) -> list[str]:
    """As the system has it: a script's begins with its interpreter. For an instant after the start it is empty."""
    while not (command := process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.001)
    return command


def find(pid_file: Path) -> psutil.Process | None:
    """The running process that the file tells of; None when it has ended, also when its pid now is somebody else's."""
    try:
        noted = json.loads(pid_file.read_bytes())
        process = psutil.Process(noted["pid"])
        is_it = (
            process.cmdline() == noted["command"]
            and abs(process.create_time() - noted["started"]) < _START_TOLERANCE_S
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except (FileNotFoundError, psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if is_it else None


def stop(pid_file: Path, patience_s: float) -> bool:
    """End the process with SIGTERM, after `patience_s` with SIGKILL; False when none was running."""
    process = find(pid_file)
    if process is not None:
        process.terminate()
        try:
            process.wait(patience_s)
        except psutil.TimeoutExpired:
            logger.warning("%s did not end in %g s: killing it", pid_file.stem, patience_s)
            process.kill()
            process.wait(patience_s)
    pid_file.unlink(missing_ok=True)
    return process is not None
