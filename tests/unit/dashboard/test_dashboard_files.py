"""What the page's functions answer."""

import re
from pathlib import Path

import azure.functions as func
import pytest

from functions import dashboard

VENDORED = "uPlot.iife.min.js"


def ask_page() -> func.HttpResponse:
    request = func.HttpRequest("GET", "http://localhost/api/dashboard?code=secret", params={"code": "secret"}, body=b"")
    response: func.HttpResponse = dashboard.dashboard.build().get_user_function()(request)
    return response


def ask_file(version: str, name: str) -> func.HttpResponse:
    route = {"version": version, "file": name}
    request = func.HttpRequest("GET", f"http://localhost/api/dashboard/{version}/{name}", route_params=route, body=b"")
    response: func.HttpResponse = dashboard.dashboard_file.build().get_user_function()(request)
    return response


def test_every_file_that_the_page_links_is_served_and_may_be_kept():
    links = re.findall(r'(?:href|src)="dashboard/(\w+)/([\w.]+)"', ask_page().get_body().decode())
    assert {name for _, name in links} == {"icon.svg", "page.css", "uPlot.min.css", VENDORED, "app.js"}
    for version, name in links:
        answer = ask_file(version, name)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_every_module_that_a_module_imports_is_served():
    for name, body in dashboard.files().items():
        if name != VENDORED and name.endswith(".js"):
            assert set(re.findall(r'from "\./([\w.]+)"', body.decode())) <= dashboard.files().keys()


def test_no_file_names_another_origin():
    for name, body in dashboard.files().items():
        addresses = set(re.findall(rb"https?://[^\s\"'`)]+", body))
        assert addresses <= {b"http://www.w3.org/2000/svg", b"https://github.com/leeoniya/uPlot"}, name


@pytest.mark.parametrize("name", ["page.html", "LICENSE", "../dashboard.py", "nothing.js", ""])
def test_what_is_no_file_of_the_page_is_not_found(name: str):
    assert ask_file(dashboard.version(), name).status_code == 404


def test_a_file_of_another_version_is_not_found():
    assert ask_file("000000000000", "app.js").status_code == 404


def test_the_page_holds_no_key_and_is_asked_for_each_time():
    answer = ask_page()
    assert b"secret" not in answer.get_body()
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_nothing_inline_is_needed_and_none_is_allowed():
    html = ask_page().get_body().decode()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", html)
    assert "unsafe" not in ask_page().headers["Content-Security-Policy"]


def test_the_chart_library_is_here_with_its_licence():
    folder: Path = dashboard.PAGE / "uplot"
    assert (folder / "LICENSE").read_text().startswith("The MIT License")
    assert b"(v1.6.32)" in (folder / VENDORED).read_bytes()[:120]
