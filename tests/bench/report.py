"""What the benchmarks found, in one file, `build/bench.json`: a list of {name, value, unit, baseline, ratio, note}.

A benchmark calls `record` for each of its main figures; a figure of the same name is replaced, so that benchmarks can
run one at a time. `table` says all of them.
"""

from pathlib import Path

import msgspec

REPORT = Path(__file__).parents[2] / "build" / "bench.json"


class Figure(msgspec.Struct, frozen=True):
    """One measured figure; `ratio` is how many times as good as the baseline it is, whichever way is good."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    note: str = ""


def record(
    name: str, value: float, unit: str, baseline: float | None = None, note: str = "", *, file: Path = REPORT
) -> Figure:
    """Put a figure into the file, in the place of an earlier one of that name.

    `baseline` is in the same unit. More is better where the unit is a rate ("pings/s"), less where it is not.
    """
    is_rate = unit.partition(" ")[0].endswith("/s")
    ratio = None if baseline is None else value / baseline if is_rate else baseline / value
    figure = Figure(name, _rounded(value), unit, _rounded(baseline), _rounded(ratio), note)
    others = [earlier for earlier in read(file) if earlier.name != name]
    file.parent.mkdir(exist_ok=True)
    content = msgspec.json.encode(sorted([*others, figure], key=lambda item: item.name))
    file.write_bytes(msgspec.json.format(content, indent=2) + b"\n")
    return figure


def read(file: Path = REPORT) -> list[Figure]:
    """All figures in the file, by name; none where there is no file."""
    return msgspec.json.decode(file.read_bytes(), type=list[Figure]) if file.exists() else []


def table(figures: list[Figure]) -> str:
    """The figures in words, one a line."""
    rows = [("", "", "unit", "baseline", "ratio", ""), *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        f"{name:<{widths[0]}}  {value:>{widths[1]}} {unit:<{widths[2]}}  {baseline:>{widths[3]}}  {ratio:>{widths[4]}}"
        f"  {note}".rstrip()
        for name, value, unit, baseline, ratio, note in rows
    )


def _row(figure: Figure) -> tuple[str, str, str, str, str, str]:
    baseline = "" if figure.baseline is None else _text(figure.baseline)
    ratio = "" if figure.ratio is None else f"{_text(figure.ratio)} x"
    return figure.name, _text(figure.value), figure.unit, baseline, ratio, figure.note


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _rounded[T: (float, float | None)](value: T) -> T:
    """Four digits: more would be noise."""
    return value if value is None else float(f"{value:.4g}")
