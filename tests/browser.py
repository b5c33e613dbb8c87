"""Headless Chromium for tests of the page: no request may leave the origin, nothing may be said on the console."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

BUILD = Path(__file__).parents[1] / "build"
PHONE = (375, 812)
DESK = (1280, 1180)
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium; the test is skipped where there is none."""
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        # The tests may run as root, where Chromium's sandbox does not start; it opens our own page only.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A person's look at the page: the browser's page, and what went on in it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.requests: list[Request] = []
        self.console: list[str] = []
        page.on("request", self._asks)
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"error: {error}"))

    def _asks(self, request: Request) -> None:
        self.requests.append(request)

    def open(self) -> None:
        """Go to the page, and wait until it shows something."""
        self.page.goto(self.address)
        self.page.wait_for_selector("#figures[aria-busy=false], #empty:not([hidden]), #trouble:not([hidden])")

    def settle(self) -> None:
        """Wait until the figures are those of what is chosen."""
        self.page.wait_for_selector("#figures[aria-busy=false]")

    def choose_period(self, words: str) -> None:
        self.page.locator(".periods label", has_text=words).click()
        self.settle()

    def choose_merchant(self, name: str) -> None:
        self.page.get_by_label("Merchant").fill(name)
        self.page.get_by_label("Merchant").press("Enter")
        self.settle()

    def choose_promotion(self, name: str) -> None:
        self.page.locator("#promotion").select_option(name)
        self.settle()

    def text(self, element_id: str) -> str:
        return self.page.locator(f"#{element_id}").inner_text()

    def table(self, element_id: str) -> list[list[str]]:
        """The texts of a table's cells by row, hidden ones too."""
        rows: list[list[str]] = self.page.locator(f"#{element_id} tbody tr").evaluate_all(
            "rows => rows.map((row) => [...row.children].map((cell) => cell.textContent))"
        )
        return rows

    def leaves_the_origin(self) -> list[str]:
        own = urlsplit(self.address).netloc
        return [request.url for request in self.requests if urlsplit(request.url).netloc != own]

    def is_wider_than_the_screen(self) -> bool:
        wide: bool = self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        return wide

    def screenshot(self, name: str) -> None:
        BUILD.mkdir(exist_ok=True)
        self.page.screenshot(path=BUILD / name)


@contextmanager
def visit(
    browser: Browser,
    address: str,
    now: datetime,
    *,
    size: tuple[int, int] = DESK,
    is_dark: bool = False,
    zone: str = "Europe/London",
) -> Iterator[Visit]:
    """Someone opens `address` at `now` in a zone."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if is_dark else "light",
        timezone_id=zone,
        locale="en-GB",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.clock.install(time=now)
    guest = Visit(page, address)
    guest.open()
    yield guest
    context.close()
