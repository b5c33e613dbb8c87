"""The page in headless Chromium: what it says is what gold says."""

from collections.abc import Iterator
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Route, expect

from shared.medallion.proportions import difference_interval
from tests.browser import PHONE, Visit, chromium, visit
from tests.gold_api import KEY, GoldApi
from tests.gold_world import AS_OF, NEVER_TOLD, PROMOTIONS, TODAY, gold_world

pytestmark = pytest.mark.integration

NOW = AS_OF + timedelta(seconds=28)
PERIODS = {"Today": (0, 1), "Yesterday": (1, 1), "7 days": (0, 7), "28 days": (0, 28)}
WORLD = gold_world()


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", name="api")
def _api() -> Iterator[GoldApi]:
    api = GoldApi(WORLD, AS_OF)
    yield api
    api.close()


@pytest.fixture(name="page")
def _page(browser: Browser, api: GoldApi) -> Iterator[Visit]:
    with visit(browser, api.page, NOW) as page:
        yield page
        assert page.console == []
        assert page.leaves_the_origin() == []


def of_period(table: str, period: str) -> pl.DataFrame:
    back, days = PERIODS[period]
    last = TODAY - timedelta(days=back)
    return WORLD[table].filter(pl.col("event_date").is_between(last - timedelta(days=days - 1), last))


def day_of(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b}"


def said(count: int | None) -> str:
    return "withheld" if count is None else f"{count:,}"


def at_merchant(rows: pl.DataFrame, merchant: str) -> pl.DataFrame:
    return rows.join(WORLD["stores"].filter(merchant=merchant), on="store_id", how="semi")


def key_figures(page: Visit) -> list[str]:
    return [page.text(f"kpi-{name}") for name in ("visits", "new", "sent", "delivered")]


def figures_of(period: str) -> list[str]:
    return expected_figures(of_period("store_daily", period), of_period("offers_hourly", period))


def expected_figures(visits: pl.DataFrame, offers: pl.DataFrame) -> list[str]:
    sums = (*visits.select("visits", "new_devices").sum().row(0), *offers.select("sent", "delivered").sum().row(0))
    return [said(count) for count in sums]


@pytest.mark.parametrize("period", PERIODS)
def test_the_key_figures_of_a_period_are_the_sums_of_the_tables(page: Visit, period: str):
    page.choose_period(period)
    assert key_figures(page) == figures_of(period)


@pytest.mark.parametrize("period", ["7 days", "28 days"])
def test_the_charts_of_a_long_period_have_a_bar_a_day(page: Visit, period: str):
    page.choose_period(period)
    visits = of_period("store_daily", period).group_by("event_date").agg(pl.col("visits").sum()).sort("event_date")
    assert page.table("visits-table") == [[day_of(at), said(count)] for at, count in visits.iter_rows()]


@pytest.mark.parametrize("zone", ["Europe/London", "Asia/Kolkata", "America/New_York"])
def test_the_charts_of_a_day_tell_its_hours_in_the_zone_of_who_looks(browser: Browser, api: GoldApi, zone: str):
    offers = (
        of_period("offers_hourly", "Today")
        .group_by("hour")
        .agg(pl.col("sent", "delivered").sum(), told=pl.col("sent").count())
    )
    with visit(browser, api.page, NOW, zone=zone) as page:
        expected = [
            [
                f"{hour:%H:%M} to {hour + timedelta(hours=1):%H:%M}",
                *(said(n if told else None) for n in (sent, delivered)),
            ]
            for at, sent, delivered, told in offers.sort("hour").iter_rows()
            for hour in [at.astimezone(ZoneInfo(zone))]
        ]
        assert page.table("offers-table") == expected
        assert zone.replace("Kolkata", "Calcutta") in page.text("zone").replace("Kolkata", "Calcutta")


def test_the_charts_and_the_map_are_drawn(page: Visit):
    for canvas in ("#visits-chart canvas", "#offers-chart canvas", "#map canvas"):
        colours = page.page.locator(canvas).evaluate(
            """canvas => new Set(new Uint32Array(canvas.getContext("2d")
                .getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"""
        )
        assert colours > 10, canvas


@pytest.mark.parametrize("period", ["Today", "7 days"])
def test_the_stores_are_listed_with_their_visits_and_offers_busiest_first(page: Visit, period: str):
    page.choose_period(period)
    visits = of_period("store_daily", period).group_by("store_id").agg(sum_or_null("visits"))
    offers = of_period("offers_hourly", period).group_by("store_id").agg(sum_or_null("sent"))
    expected = {row[0]: row[1] for row in visits.iter_rows()}, {row[0]: row[1] for row in offers.iter_rows()}
    rows = page.table("stores-table")
    ids = page.page.locator("#stores-table tbody tr").evaluate_all("rows => rows.map((row) => row.dataset.key)")
    assert len(ids) == 100
    assert [row[1:] for row in rows] == [[said(expected[0].get(one, 0)), said(expected[1].get(one, 0))] for one in ids]
    counts = [expected[0][one] for one in ids]
    assert counts == sorted(expected[0].values(), key=lambda n: -1 if n is None else n, reverse=True)[:100]


def sum_or_null(column: str) -> pl.Expr:
    return pl.when(pl.col(column).count() > 0).then(pl.col(column).sum()).alias(column)


def test_a_store_is_found_by_name_and_shown_on_the_map(page: Visit):
    page.page.get_by_label("Find a store").fill("wagamama")
    names = page.page.locator("#stores-table tbody th")
    assert names.count() == WORLD["stores"].filter(pl.col("name").str.to_lowercase().str.contains("wagamama")).height
    names.first.get_by_role("button").click()
    row = page.table("stores-table")[0]
    expect(page.page.locator("#map .tip")).to_contain_text(f"{row[1]} visits, {row[2]} offers sent")


def test_a_store_that_is_no_longer_one_keeps_its_figures(browser: Browser):
    busiest = of_period("store_daily", "Today").sort("visits", descending=True, nulls_last=True).row(0, named=True)
    stores = WORLD["stores"].filter(pl.col("store_id") != busiest["store_id"])
    api = GoldApi({**WORLD, "stores": stores}, AS_OF)
    with visit(browser, api.page, NOW) as page:
        name, visits, _ = page.table("stores-table")[0]
        assert name == f"{busiest['store_id']}No longer among the stores"
        assert visits == said(busiest["visits"])
        assert key_figures(page) == figures_of("Today")
        assert page.console == []
    api.close()


def test_the_map_is_moved_with_the_keyboard(page: Visit):
    page.page.get_by_label("Find a store").fill("wagamama")
    page.page.locator("#stores-table button").first.click()
    before = page.page.locator("#map .tip").bounding_box()
    canvas = page.page.locator("#map canvas")
    canvas.focus()
    canvas.press("ArrowLeft")
    expect(page.page.locator("#map .tip")).to_be_visible()
    after = page.page.locator("#map .tip").bounding_box()
    assert before is not None
    assert after is not None
    assert after["x"] - before["x"] == pytest.approx(60, abs=1)


@pytest.mark.parametrize("period", ["Today", "Yesterday", "28 days"])
def test_a_promotion_is_told_with_its_offers_as_in_the_table(page: Visit, period: str):
    page.choose_period(period)
    offers = (
        of_period("offers_hourly", period).group_by("promotion_id").agg(pl.col("considered", "sent", "delivered").sum())
    )
    expected = {row[0]: [said(count) for count in row[1:]] for row in offers.iter_rows()}
    assert {row[0]: row[1:4] for row in page.table("promotions-table")} == expected


def test_the_lift_of_a_day_is_that_of_the_table(page: Visit):
    rows = {row[0]: row[4] for row in page.table("promotions-table")}
    days = {row["promotion_id"]: row for row in of_period("promotion_daily", "Today").iter_rows(named=True)}
    for promotion in PROMOTIONS:
        day = days[promotion]
        if day["dwell_lift"] is None:
            assert rows[promotion].startswith("not told")
            continue
        lift, low, high = (100 * day[f"dwell_lift{end}"] for end in ("", "_low", "_high"))
        assert rows[promotion].startswith(f"{lift:+.1f} pts ({low:+.1f} to {high:+.1f})")
    assert rows[NEVER_TOLD].startswith("not told")


def test_a_return_is_told_when_it_is_final(page: Visit):
    assert {row[5] for row in page.table("promotions-table")} == {"not final yet"}
    page.choose_period("28 days")
    assert all("pts" in row[5] for row in page.table("promotions-table") if row[0] != NEVER_TOLD)


def test_the_lift_of_several_days_is_computed_as_gold_computes_that_of_one(page: Visit):
    random = np.random.default_rng(3)
    devices = random.integers(1, 400, (2, 200))
    hits = random.binomial(devices, random.uniform(0, 1, (2, 200)))
    frame = pl.DataFrame({"a": hits[0], "m": devices[0], "b": hits[1], "n": devices[1]})
    low, high = difference_interval((pl.col("a"), pl.col("b")), (pl.col("m"), pl.col("n")))
    expected = frame.select(low=low, high=high)
    found = page.page.evaluate(
        """async (rows) => {
            const folder = document.querySelector("script[type=module]").src.replace("app.js", "");
            const { difference } = await import(`${folder}lift.js`);
            return rows.map(([a, m, b, n]) => difference(a, m, b, n));
        }""",
        frame.rows(),
    )
    assert [row["low"] for row in found] == pytest.approx(expected["low"].to_list(), abs=1e-12)
    assert [row["high"] for row in found] == pytest.approx(expected["high"].to_list(), abs=1e-12)


def test_the_reasons_are_those_of_the_table(page: Visit):
    sums = of_period("offers_hourly", "Today").select(pl.col("^not_sent_.*$").sum()).row(0)
    assert [row[2] for row in page.table("reasons-table")] == [said(n) for n in sorted(sums, reverse=True) if n]


@pytest.mark.parametrize("period", ["Today", "7 days"])
def test_the_quality_of_a_hub_is_that_of_the_table(page: Visit, period: str):
    page.choose_period(period)
    sums = (
        of_period("data_quality_hourly", period).group_by("hub").agg(pl.col("captured", "rejected", "duplicates").sum())
    )
    expected = {hub: [captured, rejected, twice] for hub, captured, rejected, twice in sums.iter_rows()}
    for row in page.table("quality-table"):
        hub = next(name for name in expected if row[0].startswith(name))
        captured, rejected, twice = expected.pop(hub)
        assert row[1] == said(captured)
        assert row[2].startswith(said(rejected))
        assert row[3] == said(twice)
    assert expected == {}


def test_a_merchant_narrows_visits_offers_and_stores(page: Visit):
    page.choose_merchant("caffè nero")
    visits, offers = (at_merchant(of_period(name, "Today"), "Caffè Nero") for name in ("store_daily", "offers_hourly"))
    assert key_figures(page) == expected_figures(visits, offers)
    assert [row[0] for row in page.table("promotions-table")] == ["espresso-bar-nero"]
    assert page.text("stores-note") == f"{WORLD['stores'].filter(merchant='Caffè Nero').height} stores"


def test_a_merchant_with_an_apostrophe_is_no_sql(page: Visit):
    page.choose_merchant("McDonald's")
    visits, offers = (at_merchant(of_period(name, "Today"), "McDonald's") for name in ("store_daily", "offers_hourly"))
    assert visits.height
    assert key_figures(page) == expected_figures(visits, offers)


def test_a_name_that_is_no_merchants_narrows_nothing_and_says_so(page: Visit):
    page.choose_merchant("Nobody")
    expect(page.page.get_by_label("Merchant")).to_have_attribute("aria-invalid", "true")
    assert key_figures(page) == figures_of("Today")


def test_a_promotion_narrows_the_offers_and_says_that_visits_are_those_of_all(page: Visit):
    page.choose_promotion("pret-soup")
    offers = of_period("offers_hourly", "Today").filter(promotion_id="pret-soup")
    assert key_figures(page) == expected_figures(of_period("store_daily", "Today"), offers)
    assert [row[0] for row in page.table("promotions-table")] == ["pret-soup"]
    assert "A visit has no promotion" in page.text("visits-note")


def test_what_is_withheld_is_called_so_and_is_no_zero(browser: Browser):
    measures = pl.all().exclude("event_date", "hour", "store_id", "promotion_id")
    names = ("store_hourly", "store_daily", "offers_hourly")
    hidden = {name: WORLD[name].with_columns(pl.when(pl.lit(value=False)).then(measures)) for name in names}
    api = GoldApi({**WORLD, **hidden}, AS_OF)
    with visit(browser, api.page, NOW) as page:
        assert key_figures(page) == ["withheld"] * 4
        assert page.text("kpi-visits-note") == "fewer than 5 devices"
        cells = of_period("store_hourly", "Today").height
        assert page.text("visits-note") == f"Without {cells:,} store-hours withheld (fewer than 5 devices)."
        assert {row[1] for row in page.table("visits-table")} == {"withheld"}
        assert {cell for row in page.table("promotions-table") for cell in row[1:4]} == {"withheld"}
        assert "withheld" in {cell for row in page.table("stores-table") for cell in row[1:]}
        assert page.console == []
    api.close()


def test_an_empty_lake_is_a_friendly_state(browser: Browser):
    api = GoldApi({name: frame.clear() for name, frame in WORLD.items()}, None)
    with visit(browser, api.page, NOW) as page:
        expect(page.page.get_by_role("heading", name="Nothing here yet")).to_be_visible()
        expect(page.page.locator("#figures")).to_be_hidden()
        assert serious(page) == []
        assert page.console == []
        api.as_of = AS_OF
        api.replace(WORLD)
        page.page.clock.fast_forward(10_000)
        page.page.wait_for_selector("#figures[aria-busy=false]")
        assert key_figures(page) == figures_of("Today")
    api.close()


def test_new_gold_is_shown_without_a_reload_and_the_page_says_as_of_when(browser: Browser):
    api = GoldApi(WORLD, AS_OF)
    with visit(browser, api.page, NOW) as page:
        assert page.text("as-of").startswith("As of 24 Mar, 16:41 · ")
        more = WORLD["store_daily"].with_columns(pl.col("visits") + 1)
        api.as_of = AS_OF + timedelta(minutes=2)
        api.replace({**WORLD, "store_daily": more})
        page.page.clock.fast_forward(10_000)
        visits = more.filter(event_date=TODAY)["visits"].sum()
        expect(page.page.locator("#kpi-visits")).to_have_text(said(visits))
        assert page.text("as-of").startswith("As of 24 Mar, 16:43 · ")
    api.close()


def test_old_gold_shows_its_latest_day_and_does_not_call_it_today(browser: Browser, api: GoldApi):
    with visit(browser, api.page, NOW + timedelta(days=3)) as page:
        assert page.page.locator(".periods").locator("span").all_inner_texts()[:2] == ["Latest day", "Day before"]
        assert "3 days ago" in page.text("as-of")
        assert key_figures(page) == figures_of("Today")


def test_a_key_that_does_not_open_the_api_is_said(browser: Browser, api: GoldApi):
    with visit(browser, api.page.replace(KEY, "another"), NOW) as page:
        expect(page.page.get_by_role("alert")).to_contain_text("Use a host key of the app")


def test_when_the_app_is_away_the_page_says_so_and_keeps_its_figures(page: Visit, api: GoldApi):
    before = key_figures(page)
    page.page.route("**/api/sql", lambda route: route.fulfill(status=400, json={"error": "the query took too long"}))
    page.choose_period("28 days")
    expect(page.page.get_by_role("alert")).to_have_text("the query took too long")
    assert key_figures(page) == before
    page.page.unroute("**/api/sql")
    page.page.clock.fast_forward(10_000)
    expect(page.page.get_by_role("alert")).to_be_hidden()
    assert key_figures(page) == figures_of("28 days")
    page.console.clear()  # Chromium itself tells of an answer 400


def test_a_query_that_finds_the_app_busy_is_asked_again(page: Visit, api: GoldApi):
    answers = iter([429, 429])

    def busy_twice(route: Route) -> None:
        status = next(answers, None)
        if status is None:
            route.fallback()
        else:
            route.fulfill(status=status, json={"error": "2 queries are running"})

    page.page.route("**/api/sql", busy_twice)
    page.choose_period("28 days")
    assert key_figures(page) == figures_of("28 days")
    expect(page.page.get_by_role("alert")).to_be_hidden()
    page.console.clear()  # Chromium itself tells of an answer 429


def test_the_key_stands_in_no_address_but_the_pages_own(page: Visit):
    addresses = [request.url for request in page.requests]
    assert [address for address in addresses if KEY in address] == [page.address]
    assert not any(
        "Referer" in request.all_headers() or "referer" in request.all_headers() for request in page.requests
    )
    assert KEY not in page.page.content()


def test_the_page_is_served_under_a_strict_policy(page: Visit):
    for request in page.requests:
        if "/dashboard" in request.url:
            response = request.response()
            assert response is not None
            policy = response.all_headers()["content-security-policy"]
            assert policy.startswith("default-src 'self';")
            assert "unsafe" not in policy


@pytest.mark.parametrize("size", [(1280, 1180), PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_it_is_accessible_and_no_wider_than_the_screen(
    browser: Browser, api: GoldApi, size: tuple[int, int], is_dark: bool
):
    with visit(browser, api.page, NOW, size=size, is_dark=is_dark) as page:
        page.screenshot(f"dashboard{'-phone' if size == PHONE else ''}{'-dark' if is_dark else ''}.png")
        for summary in page.page.locator("summary").all():
            summary.click()
        assert serious(page) == []
        assert not page.is_wider_than_the_screen()
        page.choose_period("28 days")
        assert serious(page) == []
        assert not page.is_wider_than_the_screen()


def serious(page: Visit) -> list[str]:
    """What axe finds that keeps people out: its serious and critical violations."""
    found = Axe().run(page.page).response["violations"]
    return [
        f"{one['id']}: {[node['html'] for node in one['nodes']][:3]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def test_everything_is_reached_with_the_keyboard(page: Visit):
    reached = set()
    for _ in range(40):
        page.page.keyboard.press("Tab")
        reached.add(
            page.page.evaluate(
                "document.activeElement.id || document.activeElement.name || document.activeElement.tagName"
            )
        )
    assert {"period", "merchant", "promotion", "SUMMARY", "CANVAS", "store-search", "BUTTON"} <= reached


def test_23_000_stores_are_drawn_and_listed(browser: Browser):
    sample = WORLD["stores"]
    copies = 23_000 // sample.height + 1
    random = np.random.default_rng(1)
    stores = pl.concat([sample.with_columns(store_id=pl.col("store_id") + f"-{copy}") for copy in range(copies)]).head(
        23_000
    )
    stores = stores.with_columns(
        latitude=pl.Series(random.normal(52.5, 1.2, stores.height)),
        longitude=pl.Series(random.normal(-1.3, 1.1, stores.height)),
    )
    busy = stores.select(
        "store_id",
        event_date=pl.lit(TODAY),
        visits=pl.Series(random.poisson(9, stores.height)),
        new_devices=1,
        returning_devices=1,
    )
    no_offers = WORLD["offers_hourly"].clear()
    api = GoldApi({**WORLD, "stores": stores, "store_daily": busy, "offers_hourly": no_offers}, AS_OF)
    with visit(browser, api.page, NOW) as page:
        assert page.text("stores-note") == "The busiest 100 of 23,000 stores."
        assert page.text("kpi-visits") == said(busy["visits"].sum())
        page.page.get_by_label("Zoom in").click()
        page.screenshot("dashboard-23000-stores.png")
        assert page.console == []
    api.close()
