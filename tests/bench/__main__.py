"""Runs every benchmark, each in a process of its own, and ends with a table of all figures.

    python -m tests.bench [part of a name ...]

Ends with the first benchmark that fails.
"""

import subprocess
import sys
import time
from pathlib import Path

from tests.bench import report

FOLDER = Path(__file__).parent


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(parts: list[str]) -> None:
    files = [
        file for file in sorted(FOLDER.glob("bench_*.py")) if not parts or any(part in file.name for part in parts)
    ]
    if not files:
        sys.exit(f"no benchmark in {FOLDER.name} has {' or '.join(parts)} in its name")
    taken: dict[str, float] = {}
    for file in files:
        say(f"== {file.stem}")
        began = time.monotonic()
        ended = subprocess.run([sys.executable, "-m", f"tests.bench.{file.stem}"], cwd=FOLDER.parents[1], check=False)
        if ended.returncode:
            sys.exit(f"{file.stem} failed with {ended.returncode}")
        taken[file.stem] = time.monotonic() - began
        say(f"   {taken[file.stem]:.0f} s")
    say("\n" + report.table(report.read()))
    say(f"\n{sum(taken.values()):.0f} s: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in taken.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
