"""What the README tells people to type, typed."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.cloud import FOOTFALL, Cloud
from tests.polling import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
LINES = [
    line.partition("  #")[0].rstrip()
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
TYPED_ELSEWHERE = {"make demo", "make test", "make up", ". .venv/bin/activate", "KEY=…"}
"""The demo has a test of its own, this is `make test`, and the cloud of this test is up, with a key."""


def test_every_make_target_that_is_mentioned_exists():
    targets = set(re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = set(re.findall(r"make (\w+)", (ROOT / "README.md").read_text()))
    assert mentioned <= targets, mentioned - targets


def test_every_path_in_the_map_exists():
    names = re.findall(r"^\| `([^`]+)`(?:, `([^`]+)`)? \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert names
    for name in {part for pair in names for part in pair if part}:
        assert (ROOT / name).exists(), name
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_the_commands_to_play_with_do_what_they_say(cloud: Cloud):
    typed = [line for line in LINES if line not in TYPED_ELSEWHERE]
    followed = ""
    following = None
    key = cloud.stack.host.key("default")
    for line in typed:
        if "--follow" in line:
            following = cloud.begin(*line.split()[1:])
            continue
        command = line.replace("7071", str(cloud.ports.http)).replace("footfall", str(FOOTFALL), 1)
        command = command.replace(".local/", f"{cloud.home.path}/")
        if line.startswith("curl"):
            command = line.replace("7071", str(cloud.ports.http)).replace("curl", "curl --silent --fail-with-body", 1)
        ran = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env=cloud.environment | {"KEY": key}, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
        if "simulate" in line:
            assert '"pings":2000' in ran.stdout
            assert following is not None, "offers are followed before the simulation starts"
            assert following.stdout is not None
            followed = wait_until(following.stdout.readline, 60, "the first offer")
        if "tables" in line:
            assert "silver.pings" in ran.stdout
        if " why " in line:
            assert "walked into" in ran.stdout or "was near a store" in ran.stdout, ran.stdout
        if " replay " in line:
            assert re.search(r"replayed [\d,]+ events of 4 partitions", ran.stdout), ran.stdout
            assert "under the files to try" in ran.stdout
    assert following is not None
    following.terminate()
    following.communicate(timeout=20)
    assert "walk-" in followed
