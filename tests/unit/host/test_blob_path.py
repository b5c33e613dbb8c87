"""Path patterns of blob triggers."""

import pytest

from infra.local.host.blob_path import parse_blob_path


@pytest.mark.parametrize(
    ("path", "name", "values"),
    [
        ("bronze/{name}", "ns/hub/0/2026/x.avro", {"name": "ns/hub/0/2026/x.avro"}),
        ("bronze/{name}.avro", "a/b.avro", {"name": "a/b"}),
        ("bronze/{name}.avro", "a/b.txt", None),
        ("bronze/in/{folder}/{name}.csv", "in/x/y.csv", {"folder": "x", "name": "y"}),
        ("bronze/in/{folder}/{name}.csv", "out/x/y.csv", None),
        ("bronze", "anything/at all", {"name": "anything/at all"}),
        ("bronze/fixed.txt", "fixed.txt", {}),
        ("bronze/fixed.txt", "fixedxtxt", None),
    ],
)
def test_a_name_gives_its_expressions_or_does_not_match(path: str, name: str, values: dict[str, str] | None) -> None:
    assert parse_blob_path(path).match(name) == values


def test_the_listing_is_narrowed_to_what_stands_before_the_first_expression() -> None:
    assert parse_blob_path("bronze/in/{name}.avro").prefix == "in/"
    assert parse_blob_path("bronze/{name}").prefix == ""
    assert parse_blob_path("bronze/fixed.txt").prefix == "fixed.txt"


@pytest.mark.parametrize("path", ["", "/", "{container}/{name}", "bronze/{a}{a}"])
def test_a_path_that_cannot_be_used_is_named(path: str) -> None:
    with pytest.raises(ValueError, match="blob path"):
        parse_blob_path(path)
