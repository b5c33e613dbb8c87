"""The file of benchmark figures."""

from tests.bench.report import Figure, read, record, table


def test_a_figure_replaces_the_earlier_one_of_its_name_and_leaves_the_others(tmp_path):
    file = tmp_path / "build" / "bench.json"
    record("match", 2.0, "µs a ping", file=file)
    record("decode", 10.0, "µs a ping", file=file)
    record("match", 1.0, "µs a ping", 4.0, "100 m", file=file)
    assert read(file) == [
        Figure("decode", 10.0, "µs a ping"),
        Figure("match", 1.0, "µs a ping", 4.0, 4.0, "100 m"),
    ]


def test_the_ratio_of_a_rate_grows_with_the_figure_and_that_of_a_cost_falls(tmp_path):
    file = tmp_path / "bench.json"
    assert record("evaluate", 40_000.0, "pings/s a core", 4_000.0, file=file).ratio == 10
    assert record("evaluate", 4_000.0, "µs", 40_000.0, file=file).ratio == 10


def test_the_table_has_a_line_for_each_figure_under_its_heads():
    lines = table([Figure("a", 12_345.0, "pings/s", 1_000.0, 12.3, "note"), Figure("longer", 0.5, "s")]).splitlines()
    assert lines[0].split() == ["unit", "baseline", "ratio"]
    assert lines[1].split() == ["a", "12,345", "pings/s", "1,000", "12.3", "x", "note"]
    assert lines[2].split() == ["longer", "0.5", "s"]
