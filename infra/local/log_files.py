"""Log files: their last lines, and the lines that are added from now on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log; none when there is no such file."""
    if not log.exists():
        return []
    return log.read_text(errors="replace").splitlines()[-count:]


@dataclass(slots=True)
class LogFollower:
    """Gives the whole lines that were added to a log since the last look."""

    log: Path
    offset: int = 0

    @classmethod
    def from_end(cls, log: Path) -> "LogFollower":
        """Begin with what is added from now on."""
        return cls(log, log.stat().st_size if log.exists() else 0)

    def new_lines(self) -> Iterator[str]:
        """Each new line without its end; a line that is not finished yet waits for the next look."""
        if not self.log.exists():
            return
        with self.log.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                yield line.decode(errors="replace").rstrip()
