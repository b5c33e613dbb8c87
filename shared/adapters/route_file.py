"""A route as a file: a CSV with the columns latitude and longitude becomes positions, in its order."""

import csv
from pathlib import Path

import msgspec

from shared.domain.simulation import Position
from shared.errors import RequestRefused


def read_route(path: Path) -> list[Position]:
    """The positions in the file. Raises RequestRefused when it is not there, or not that, and names the line."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            return [_position(row, path, rows.line_num) for row in rows]
    except FileNotFoundError as error:
        raise RequestRefused(f"this deployment has no {path.name}: give positions in the request") from error


def _position(row: dict[str, str], path: Path, line: int) -> Position:
    try:
        return msgspec.convert(row, Position, strict=False)
    except msgspec.ValidationError as error:
        raise RequestRefused(f"{path.name} line {line}: {error}") from error
