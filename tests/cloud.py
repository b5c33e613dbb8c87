"""A laptop cloud for tests: the real `footfall` command, in a home of its own, on free ports."""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from infra.local.home import Home, StackPorts
from infra.local.ports import free_ports
from infra.local.stack import Stack

FOOTFALL = Path(sys.executable).with_name("footfall")


class Cloud:
    """One home with ports of its own; `footfall` runs commands on it, `stack` asks its services directly."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.ports = StackPorts(*free_ports(6))
        self.stack = Stack(self.home, self.ports)
        self._begun: list[subprocess.Popen[str]] = []

    @property
    def api(self) -> str:
        """The address of the functions."""
        return f"http://127.0.0.1:{self.ports.http}/api"

    @property
    def environment(self) -> dict[str, str]:
        ports = {f"FOOTFALL_{name.upper()}_PORT": str(port) for name, port in asdict(self.ports).items()}
        return {**os.environ, **ports, "FOOTFALL_HOME": str(self.home.path), "COLUMNS": "200", "NO_COLOR": "1"}

    def footfall(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [FOOTFALL, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that goes on, its output in a pipe; `end` stops it, if need be."""
        command = subprocess.Popen(
            [FOOTFALL, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._begun.append(command)
        return command

    def end(self) -> None:
        """Stop the commands that still go on, then the services."""
        for command in self._begun:
            with command:  # waits for it, and closes its pipe
                command.kill()
        self.footfall("down")

    def pids(self) -> dict[str, int | None]:
        """The process of each service, None where it does not run."""
        return {service.name: service.pid for service in self.stack.status()}
