"""Frames that wait for one commit: in memory while they are few, else in temporary files."""

import shutil
import tempfile
from pathlib import Path

import polars as pl

MOST_BYTES_IN_MEMORY = 32 * 1024 * 1024


class FrameSpool:
    """Collects frames of one schema, to be read once as one. Close it, or use it as a context, to drop its files."""

    def __init__(self, schema: pl.Schema, most_bytes_in_memory: int) -> None:
        self._most_bytes = most_bytes_in_memory
        self._frames: list[pl.DataFrame] = [schema.to_frame()]
        self._bytes = 0
        self._folder: Path | None = None
        self._files: list[Path] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Put rows at the end."""
        self._frames.append(frame)
        self._bytes += int(frame.estimated_size())
        if self._bytes > self._most_bytes:
            self._spill()

    def rows(self) -> pl.LazyFrame:
        """All rows in order."""
        return pl.concat([*(pl.scan_ipc(file) for file in self._files), *(frame.lazy() for frame in self._frames)])

    def close(self) -> None:
        """Drop what was collected."""
        self._frames, self._files, self._bytes = [], [], 0
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="footfall-"))
        file = self._folder / f"{len(self._files):06d}.arrow"
        pl.concat(self._frames).write_ipc(file, compression="lz4")
        self._files.append(file)
        self._frames, self._bytes = [], 0
