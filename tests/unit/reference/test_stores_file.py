"""stores.csv: what is read from it, and every fault by line."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.store_rows import DEFAULT_LOITERING_DELAY_S
from shared.adapters.stores_file import COLUMNS, read_stores

HEADER = "store_id,name,merchant,service_type,location,latitude,longitude,radius_m"


def faults(*lines: str, header: str = HEADER) -> list[str]:
    """The faults of a file with these lines after the header."""
    return read_stores("\n".join((header, *lines)).encode()).faults


def test_a_row_becomes_a_store() -> None:
    table = read_stores(f"{HEADER}\n17,Tesco Express,Tesco,Retail,Camden,51.5154,-0.1419,80\n".encode()).table
    assert table is not None
    assert table.store_id == ("17",)
    assert (table.name, table.merchant, table.service_type) == (("Tesco Express",), ("Tesco",), ("Retail",))
    assert table.location == ("Camden",)
    assert (table.latitude[0], table.longitude[0], table.radius_m[0]) == (51.5154, -0.1419, 80.0)
    assert table.loitering_delay_s[0] == DEFAULT_LOITERING_DELAY_S


def test_columns_may_come_in_any_order_with_the_optional_ones_and_a_byte_order_mark() -> None:
    header = "radius_m,time_zone,store_id,name,merchant,service_type,loitering_delay_s,location,latitude,longitude"
    rows = "80,Europe/London,1,a,b,c,30,d,51,-1\r\n90,,2,a,b,c,,d,52,-2\r\n"
    read = read_stores(f"\ufeff{header}\r\n{rows}".encode())
    assert read.faults == []
    assert read.table is not None
    assert read.table.store_id == ("1", "2")
    assert read.table.loitering_delay_s.tolist() == [30.0, DEFAULT_LOITERING_DELAY_S]


def test_spaces_around_a_cell_do_not_count() -> None:
    table = read_stores(f"{HEADER}\n 1 , Tesco ,Tesco , Retail,Camden , 51.5,-0.1 , 80\n".encode()).table
    assert table is not None
    assert (table.store_id, table.merchant, table.latitude[0]) == (("1",), ("Tesco",), 51.5)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1,n,m,s,l,151.2,-0.1,80", "latitude: 151.2 is out of range -90..90 (latitude and longitude swapped?)"),
        ("1,n,m,s,l,191.2,-0.1,80", "latitude: 191.2 is out of range -90..90"),
        ("1,n,m,s,l,51.5,180.5,80", "longitude: 180.5 is out of range -180..180"),
        ("1,n,m,s,l,north,-0.1,80", "latitude: 'north' is no number"),
        ("1,n,m,s,l,nan,-0.1,80", "latitude: 'nan' is no number"),
        ("1,n,m,s,l,inf,-0.1,80", "latitude: inf is out of range -90..90"),
        ("1,n,m,s,l,5_1.5,-0.1,80", "latitude: '5_1.5' is no number"),
        ("1,n,m,s,l,51.5,,80", "longitude: is empty; a number is needed"),
        ("1,n,m,s,l,0,0.0,80", "latitude: latitude 0 and longitude 0 is a position that was never set"),
        ("1,n,m,s,l,51.5,-0.1,9.99", "radius_m: 9.99 is out of range 10..10000"),
        ("1,n,m,s,l,51.5,-0.1,10001", "radius_m: 10001 is out of range 10..10000"),
        (",n,m,s,l,51.5,-0.1,80", "store_id: has 0 characters; valid are 1 to 128"),
        ("x" * 129 + ",n,m,s,l,51.5,-0.1,80", "store_id: has 129 characters; valid are 1 to 128"),
    ],
)
def test_a_fault_names_its_line_its_column_and_its_value(line: str, fault: str) -> None:
    assert faults("0,n,m,s,l,51.5,-0.1,80", line) == [f"stores.csv line 3, {fault}"]


def test_a_row_with_a_cell_too_many_is_a_fault_and_the_rows_after_it_are_still_checked() -> None:
    assert faults("1,n,m,s,l,51.5,-0.1,80,x", "2,n,m,s,l,51.5,-0.1,0") == [
        "stores.csv line 2: has 9 fields, and the header has 8",
        "stores.csv line 3, radius_m: 0 is out of range 10..10000",
    ]


def test_an_id_that_comes_twice_names_the_line_where_it_came_first() -> None:
    row = "7,n,m,s,l,51.5,-0.1,80"
    assert faults(row, "8,n,m,s,l,51.5,-0.1,80", row, row) == [
        "stores.csv line 4, store_id: '7' is also on line 2",
        "stores.csv line 5, store_id: '7' is also on line 2",
    ]


def test_lines_are_those_of_the_file_also_after_newlines_in_quotes_and_empty_lines() -> None:
    assert faults('1,"a\nshop\r\nname",m,s,l,51.5,-0.1,80', "", "2,n,m,s,l,99,-0.1,80") == [
        "stores.csv line 6, latitude: 99 is out of range -90..90 (latitude and longitude swapped?)"
    ]


def test_all_faults_of_a_file_are_listed_by_line_and_column() -> None:
    listed = faults("1,n,m,s,l,99,190,5", ",n,m,s,l,0,0,80")
    assert [fault.partition(":")[0] for fault in listed] == [
        "stores.csv line 2, latitude",
        "stores.csv line 2, longitude",
        "stores.csv line 2, radius_m",
        "stores.csv line 3, store_id",
        "stores.csv line 3, latitude",
    ]


def test_the_header_must_hold_the_known_columns_once() -> None:
    header = "store_id,name,merchant,service_type,location,lat,longitude,radius_m,name"
    assert faults("1,n,m,s,l,51.5,-0.1,80,n", header=header) == [
        f"stores.csv line 1: unknown column 'lat'; valid are {', '.join(COLUMNS)}",
        "stores.csv line 1: the column name is given twice",
        "stores.csv line 1: the column latitude is missing",
    ]


def test_a_time_zone_must_be_in_the_iana_database() -> None:
    header = HEADER + ",time_zone"
    assert faults("1,n,m,s,l,51.5,-0.1,80,Europe/London", "2,n,m,s,l,51.5,-0.1,80,Europe", header=header) == [
        "stores.csv line 3, time_zone: 'Europe' is no IANA time zone, such as Europe/London"
    ]


@pytest.mark.parametrize("zone", ["localtime", "Factory"])
def test_a_zone_of_no_place_is_refused(zone: str) -> None:
    assert faults(f"1,n,m,s,l,51.5,-0.1,80,{zone}", header=HEADER + ",time_zone") == [
        f"stores.csv line 2, time_zone: {zone!r} is no IANA time zone, such as Europe/London"
    ]


def test_a_loitering_delay_is_at_most_a_day() -> None:
    assert faults("1,n,m,s,l,51.5,-0.1,80,86401", header=HEADER + ",loitering_delay_s") == [
        "stores.csv line 2, loitering_delay_s: 86401 is out of range 0..86400"
    ]


def test_a_file_without_stores_is_refused() -> None:
    assert faults() == ["stores.csv line 2: there is no store in the file"]
    assert read_stores(b"").faults[0].startswith("stores.csv line 1: the header is missing")


def test_what_is_no_csv_is_refused_at_its_line() -> None:
    assert faults("1,n,m,s,l,51.5,-0.1,80", '2,"n"x,m,s,l,51.5,-0.1,80')[0].startswith("stores.csv line 3: is no CSV")


def test_a_quote_that_never_closes_is_refused_at_the_line_where_it_opens() -> None:
    assert faults('1,"n,m,s,l,51.5,-0.1,80', "2,n,m,s,l,51.5,-0.1,80")[0].startswith("stores.csv line 2: is no CSV")


def test_what_is_not_utf8_is_refused_at_its_line() -> None:
    assert read_stores(HEADER.encode() + b"\n1,caf\xe9").faults == [
        f"stores.csv line 2: byte {len(HEADER) + 6} is not UTF-8"
    ]


@given(st.binary() | st.text().map(str.encode) | st.text().map(lambda text: f"{HEADER}\n{text}".encode()))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_stores_or_faults_and_never_an_exception(data: bytes) -> None:
    read = read_stores(data)
    assert (read.table is None) == bool(read.faults)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"]) | st.just("\n"), max_size=8)
LAND = st.tuples(st.floats(51, 52), st.floats(-1, 0))
PLACES = st.builds(lambda text, place, radius: (text, *place, radius), TEXT, LAND, st.floats(10, 10_000))


@given(st.lists(PLACES, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_a_csv_writer_writes_is_read_back_value_for_value(places: list[tuple[str, float, float, float]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER.split(","))
    for number, (name, *numbers) in enumerate(places):
        writer.writerow([number, name, name, name, name, *numbers])
    table = read_stores(text.getvalue().encode()).table
    assert table is not None
    assert table.name == tuple(name.strip() for name, *_ in places)
    columns = np.array([numbers for _, *numbers in places])
    assert np.array_equal(np.stack([table.latitude, table.longitude, table.radius_m], axis=1), columns)
