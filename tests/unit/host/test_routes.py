"""HTTP routes: ASP.NET Core's templates, the more specific first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.host.routes import Route, Router, RouteTemplate


def _router(*templates: str, prefix: str = "api", methods: tuple[str, ...] = ()) -> Router[str]:
    return Router(prefix, [Route(RouteTemplate.parse(text), frozenset(methods), text) for text in templates])


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("stores", "/api/stores", {}),
        ("stores", "/api/Stores/", {}),
        ("stores/{id}", "/api/stores/a%20b", {"id": "a b"}),
        ("stores/{id}", "/api/stores", None),
        ("stores/{id}", "/api/stores/1/2", None),
        ("stores/{id?}", "/api/stores", {}),
        ("stores/{id:int}", "/api/stores/12", {"id": "12"}),
        ("stores/{id:int}", "/api/stores/x", None),
        ("stores/{id:int}", "/api/stores/2147483648", None),
        ("stores/{id:long}", "/api/stores/2147483648", {"id": "2147483648"}),
        ("stores/{id:int?}", "/api/stores", {}),
        ("stores/{id:int?}", "/api/stores/x", None),
        ("stores/{id=7}", "/api/stores", {"id": "7"}),
        ("files/{*rest}", "/api/files/a/b/c.txt", {"rest": "a/b/c.txt"}),
        ("files/{*rest}", "/api/files", {"rest": ""}),
        ("g/{id:guid}", "/api/g/6f9619ff-8b86-d011-b42d-00cf4fc964ff", {"id": "6f9619ff-8b86-d011-b42d-00cf4fc964ff"}),
        ("g/{id:guid}", "/api/g/none", None),
        ("stores", "/stores", None),
        ("", "/api", {}),
    ],
)
def test_a_path_gives_its_parameters_or_does_not_match(template: str, path: str, values: dict[str, str] | None) -> None:
    found = _router(template).find("GET", path)
    assert found == (None if values is None else (template, values))


def test_an_encoded_slash_stays_in_its_segment() -> None:
    found = _router("blobs/{name}").find("GET", "/api/blobs/a%2Fb")
    assert found == ("blobs/{name}", {"name": "a/b"})


@pytest.mark.parametrize(
    ("path", "winner"),
    [
        ("/api/items/new", "items/new"),
        ("/api/items/12", "items/{id:int}"),
        ("/api/items/abc", "items/{name}"),
        ("/api/items/a/b", "items/{*rest}"),
    ],
)
def test_the_more_specific_template_wins_whatever_the_order(path: str, winner: str) -> None:
    templates = ["items/{*rest}", "items/{name}", "items/{id:int}", "items/new"]
    for order in (templates, templates[::-1]):
        found = _router(*order).find("GET", path)
        assert found is not None
        assert found[0] == winner


def test_another_method_is_not_found() -> None:
    router = _router("stores", methods=("POST",))
    assert router.find("GET", "/api/stores") is None
    assert router.find("post", "/api/stores") == ("stores", {})


def test_the_prefix_may_be_empty_or_have_several_parts() -> None:
    assert _router("a", prefix="").find("GET", "/a") == ("a", {})
    assert _router("a", prefix="v1/x").find("GET", "/V1/x/a") == ("a", {})


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("/stores", "must not begin with a slash"),
        ("stores/{id", "neither text nor one"),
        ("a{b}c", "neither text nor one"),
        ("stores/{id:integer}", "constraint 'integer' is not one of int"),
        ("{*rest}/more", "must come last"),
        ("{id?}/more", "must come last"),
        ("{id}/{id}", "uses a parameter twice"),
    ],
)
def test_a_template_that_is_none_is_refused_in_words(template: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        RouteTemplate.parse(template)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60))
def test_no_path_makes_the_router_raise(path: str) -> None:
    _router("{*rest}", "a/{b:int?}").find("GET", "/" + path)
