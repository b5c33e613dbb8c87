"""What the demo shows of a gold table fits beside itself on the terminal, and is whole."""

from datetime import UTC, datetime

import polars as pl
from rich.console import Console

from infra.commands.demo_view import first_rows

ROWS = pl.DataFrame(
    {
        "event_date": [datetime(2026, 6, 1, tzinfo=UTC).date()] * 4,
        "hour": [datetime(2026, 6, 1, 12, tzinfo=UTC)] * 4,
        "store_id": ["1032116", "1", "2", "3"],
        "promotion_id": ["footfall-welcome"] * 4,
        "considered": [12, 2, 3, 4],
        "failed": [0] * 4,
        "not_sent_outranked": [1, 2, 3, 4],
    }
)


def shown(width: int) -> str:
    console = Console(width=width)
    with console.capture() as printed:
        console.print(first_rows("gold.offers_hourly", ROWS, width))
    return printed.get()


def test_as_many_columns_as_fit_are_shown_whole():
    assert "considered" in shown(58)
    assert "considered" not in shown(57)
    assert all("…" not in shown(width) for width in range(30, 120))


def test_columns_that_say_nothing_are_left_out_and_all_are_counted():
    assert "gold.offers_hourly: 4 rows, 7 columns" in shown(120)
    assert "failed" not in shown(120)
    assert "event_date" not in shown(120)


def test_a_terminal_of_any_width_gets_the_first_column():
    assert "hour" in shown(10)
