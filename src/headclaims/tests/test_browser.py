"""Pages opened in Debian's chromium: nothing goes wrong or asks the network, and what is clicked answers."""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from headclaims.report.claim_figures import ClaimFigures
from headclaims.report.figures.bars import Bars
from headclaims.report.figures.heat_map import HeatMap
from headclaims.report.figures.line import Line
from headclaims.report.figures_file import figures_json
from headclaims.report.page import write_page
from headclaims.tests.report_folders import (
    HOSTILE,
    claims,
    edited,
    figures,
    mapped,
    record,
    suite_records,
    token_graph,
    write_folder,
)

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine; apt-get install chromium")
WIDTHS, SCHEMES = (1280, 400), ("light", "dark")
GRAPH = token_graph(3000, 4, 16)


SENTENCES = [
    {"says": "One head stands apart", "claims": ["category-score-lowest"], "outcome": "found", "answer": "found"},
    {
        "says": "Some of it holds",
        "claims": ["fails", "open"],
        "outcome": "not supported",
        "answer": "not supported: fails; undecided: open (about 99 prompts)",
    },
    {"says": "It is so", "claims": ["lacking"], "outcome": "not assessable", "answer": "can't be told here: no words"},
    {"says": "It is algebra", "claims": ["fails"], "outcome": "by construction", "answer": "true by construction"},
    {"says": "It is common", "claims": ["fails"], "outcome": "not rare", "answer": "true, and not rare: 7 of 9 heads"},
]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a folder by hand, with a map of 3,000 tokens and 12,000 edges."""
    folder = write_folder(tmp_path_factory.mktemp("page"))
    of = figures()
    of["communities-are-semantic"] = mapped(GRAPH)
    suite_records(folder)
    edited(folder, lambda content: content.update(scorecard=SENTENCES))
    kept = figures_json(record(claims()), {name: asdict(one) for name, one in of.items()})
    (folder / "figures.json").write_text(kept, encoding="utf-8")
    return write_page(folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests, each with its own context."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@dataclass
class Opened:
    """A page once all is drawn, and what it complained of and asked for on the way."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


DRAWN = 'html[data-drawn="all"]'


def opened(browser: Browser, path: Path, width: int = 1280, scheme: str = "light", anchor: str = "") -> Opened:
    """Open a page and wait until all that can be seen is drawn."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    found = Opened(context.new_page())
    found.page.on("console", lambda said: found.complaints.append(said.text) if said.type != "log" else None)
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.on("request", lambda asked: found.requests.append(asked.url))
    found.page.goto(path.as_uri() + anchor)
    found.page.wait_for_selector(DRAWN, state="attached", timeout=120_000)
    return found


def unfold(page: Page, tab: str = "report") -> None:
    """Open all that is folded, on one of the tabs."""
    page.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")
    if page.locator('[role="tab"]').count():
        page.click(f"#tab-{tab}")
    page.wait_for_function("!drawing && ![...undrawn.keys()].some(isShown)", timeout=120_000)


@pytest.fixture(scope="module")
def wide(page_file: Path, browser: Browser) -> Page:
    """The page at 1,280 pixels, by day, for tests that leave it as they found it."""
    return opened(browser, page_file).page


def serious(page: Page) -> None:
    """Assert that axe-core finds nothing of serious impact: contrast, names, roles, what a keyboard reaches."""
    # A plot is an image to it, whose text takes the page's own colours.
    violations = Axe().run(page, context={"exclude": [".plot"]}).response["violations"]
    found = [one for one in violations if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []


@pytest.mark.parametrize(("width", "scheme"), list(product(WIDTHS, SCHEMES)))
def test_all_is_drawn_at_any_width_by_day_and_night(page_file: Path, browser: Browser, width: int, scheme: str) -> None:
    of = opened(browser, page_file, width, scheme)
    assert of.complaints == []
    assert [url for url in of.requests if not url.startswith(("data:", "blob:"))] == [page_file.as_uri()]
    # What is folded is not drawn until it is opened.
    assert of.page.evaluate("[...document.querySelectorAll('details .plot')].every((p) => !p.querySelector('svg'))")
    unfold(of.page)
    serious(of.page)
    # Every plot has its drawing, as wide as there is room for; nothing makes the page wider than the window.
    plots = of.page.evaluate(
        "[...document.querySelectorAll('.plot')].map((p) => [p.clientWidth, p.querySelector('.main-svg')?.clientWidth])"
    )
    assert len(plots) > 20
    assert all(drawn == pytest.approx(room, abs=1) for room, drawn in plots)
    assert of.page.evaluate("document.documentElement.scrollWidth") <= width
    assert of.page.evaluate("window.hacked") is None
    ink, paper = of.page.evaluate(
        """[...[document.querySelector('.plot .xtitle, .plot .xtick text')].map((t) => getComputedStyle(t).fill),
        getComputedStyle(document.body).backgroundColor].map((c) => Number(c.match(/\\d+/)[0]))"""
    )
    assert (ink < 100 < 200 < paper) if scheme == "light" else (paper < 100 < 200 < ink)
    # The map is no empty canvas.
    of.page.click("#tab-map")
    of.page.wait_for_function("!drawing && !undrawn.size")
    serious(of.page)
    assert of.page.evaluate("document.documentElement.scrollWidth") <= width
    assert (
        of.page.evaluate(
            """(() => { const c = document.querySelector('.map-canvas');
        const pixels = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        return new Set(new Uint32Array(pixels.buffer)).size; })()"""
        )
        > 100
    )
    of.page.context.close()


def test_figures_of_claim_authors_are_drawn_each_by_itself(tmp_path: Path, browser: Browser) -> None:
    """Two claims draw under the same names, maps among them: every figure has its element, its drawing, its numbers."""
    folder, of = write_folder(tmp_path), figures()
    for name in ("fails", "open"):
        claim = ClaimFigures("As defined")
        claim.draw("trend", lambda name=name: Line(title=name, caption=HOSTILE, x=[1, 2], series={HOSTILE: [1, 2]}))  # type: ignore[misc]
        claim.draw("bars", lambda: Bars(title=HOSTILE, caption="", labels=[HOSTILE], values=[1.0]))
        claim.draw("cells", lambda: HeatMap(title="", caption="", matrix=[[1.0]], rows=[HOSTILE], columns=["a"]))
        claim.draw("token_map", lambda: token_graph())
        of[name] = claim
    kept = figures_json(record(claims()), {name: asdict(one) for name, one in of.items()})
    (folder / "figures.json").write_text(kept, encoding="utf-8")
    seen = opened(browser, write_page(folder))
    assert seen.complaints == []
    assert seen.page.evaluate("window.hacked") is None
    ids = seen.page.evaluate("[...document.querySelectorAll('figure')].map((f) => f.id)")
    assert len(ids) == len(set(ids))
    assert {f"{claim}-{name}" for claim in ("fails", "open") for name in ("trend", "bars", "cells", "token-map")} < {
        *ids
    }
    unfold(seen.page, "map")
    unfold(seen.page)
    plots = "[...document.querySelectorAll('.plot')]"
    assert seen.page.evaluate(f"{plots}.every((p) => p.querySelector('.main-svg'))")
    maps = seen.page.evaluate("[...document.querySelectorAll('.map-legend')].map((l) => l.children.length)")
    assert maps == [3, 3, 3]
    for name in ("fails-trend", "open-trend", "open-token-map"):
        if name == "open-token-map":
            seen.page.click("#tab-map")
        with seen.page.expect_download() as started:
            seen.page.click(f'button.numbers[data-figure="{name}"]')
        assert started.value.suggested_filename == f"{name}.csv"
    seen.page.context.close()


def neighbours(token: int) -> tuple[list[str], list[str]]:
    """Whom a token of the graph attends to and who attends to it, by falling score, as the page lists them."""
    ranked = sorted(zip(GRAPH.edges, GRAPH.scores, strict=True), key=lambda edge: -edge[1])
    out = [f"{GRAPH.tokens[b].strip()} {score:.4g}" for (a, b), score in ranked if a == token]
    into = [f"{GRAPH.tokens[a].strip()} {score:.4g}" for (a, b), score in ranked if b == token]
    return out, into[:30]


def listed(page: Page) -> tuple[str, list[list[str]]]:
    """The heading of what was chosen on the map, and the rows of both tables."""
    rows = page.evaluate(
        """[...document.querySelectorAll('.map-details table')].map((t) => [...t.tBodies[0].rows].map(
        (r) => r.cells[0].textContent + ' ' + Number(r.cells[1].textContent)))"""
    )
    return page.inner_text(".map-details h3"), rows


@pytest.mark.parametrize("width", WIDTHS)
def test_search_and_click_on_the_map_are_answered(page_file: Path, browser: Browser, width: int) -> None:
    page = opened(browser, page_file, width).page
    page.click("#tab-map")
    page.locator(".map-canvas").scroll_into_view_if_needed()
    page.fill(".map-search", "w17")
    heading, (out, into) = listed(page)
    assert heading.startswith("w17: community ")
    assert (out, into) == neighbours(17)
    assert "tokens begin so" in page.inner_text(".map-found")
    page.fill(".map-search", "no such")
    assert page.inner_text(".map-found") == "No token of the map begins with “no such”."
    assert page.locator(".map-details h3").count() == 0
    page.click(".map-all")
    x, y = page.evaluate("document.querySelector('.map-canvas').placeOf('w2')")
    page.click(".map-canvas", position={"x": x, "y": y})
    heading, rows = listed(page)
    # Another token may lie on top of it.
    chosen = [token.strip() for token in GRAPH.tokens].index(heading.split(": community ")[0])
    assert rows == list(neighbours(chosen))
    at = page.evaluate(f"document.querySelector('.map-canvas').placeOf({json.dumps(GRAPH.tokens[chosen].strip())})")
    assert abs(at[0] - x) + abs(at[1] - y) < 3
    page.locator(".map-details table button").first.click()
    assert listed(page)[0].startswith(rows[0][0].split()[0])
    page.context.close()


def test_a_hostile_token_is_a_token(wide: Page) -> None:
    page = wide
    page.click("#tab-map")
    page.fill(".map-search", HOSTILE)
    heading, (out, into) = listed(page)
    assert heading.startswith(f"{HOSTILE}: community ")
    assert (out, into) == neighbours(1)
    assert page.evaluate("window.hacked") is None
    assert page.locator(".map-details img").count() == 0
    page.click(".map-all")


def test_zooming_and_moving_keep_tokens_under_the_pointer(wide: Page) -> None:
    page = wide
    place = "document.querySelector('.map-canvas').placeOf('w2')"
    page.click("#tab-map")
    page.locator(".map-canvas").scroll_into_view_if_needed()
    before = page.evaluate(place)
    page.click(".map-in")
    zoomed = page.evaluate(place)
    assert zoomed != before
    box = page.locator(".map-canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 340, box["y"] + 275, steps=8)
    page.mouse.up()
    # The first steps, until it is clear that this is no click, do not move it.
    moved = page.evaluate(place)
    assert 30 <= moved[0] - zoomed[0] <= 40
    assert -25 <= moved[1] - zoomed[1] <= -18
    page.click(".map-all")
    assert page.evaluate(place) == pytest.approx(before)


@pytest.mark.parametrize(("name", "rows"), [("head-scores", 6), ("pattern", 6), ("token-map", 12_000)])
def test_numbers_are_downloaded(wide: Page, name: str, rows: int) -> None:
    page = wide
    unfold(page, "map" if name == "token-map" else "report")
    with page.expect_download() as started:
        page.click(f'button.numbers[data-figure="{name}"]')
    text = Path(started.value.path()).read_text(encoding="utf-8")
    assert started.value.suggested_filename == f"{name}.csv"
    table = list(csv.reader(io.StringIO(text)))
    assert len(table) == 1 + rows
    assert {len(row) for row in table} == {len(table[0])}
    if name == "head-scores":
        assert table[:3] == [["head", "layer", "index", "score"], ["L0H0", "0", "0", "3"], ["L0H1", "0", "1", "2"]]
    if name == "pattern":
        assert table[2][:5] == ["1", HOSTILE, "0", "BOS", "0.5"]


def test_on_paper_every_plot_is_as_wide_as_the_paper(page_file: Path, browser: Browser) -> None:
    """Drawn for a wide dark window, printed on white."""
    page = opened(browser, page_file, 1280, "dark").page
    page.emulate_media(media="print")
    # Nothing is folded on paper, the other tab's map is there, and nothing is left to draw.
    page.wait_for_function("!document.querySelector('main details:not([open]), [role=tabpanel][hidden]')")
    assert page.evaluate("[...document.querySelectorAll('.plot')].every((p) => p.querySelector('.main-svg'))")
    page.set_viewport_size({"width": 680, "height": 900})
    reach = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.plot .main-svg')].map((s) => s.getBoundingClientRect().right))"
    )
    assert reach <= 680
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.plot .xtick text, .plot text')).fill")
        == "rgb(0, 0, 0)"
    )
    assert page.locator("button.numbers").first.is_hidden()
    assert len(page.pdf(format="A4")) > 50_000
    page.emulate_media(media="screen")
    page.wait_for_function("!document.querySelector('main details[open].more, #map:not([hidden])')")
    page.context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_scorecard_is_on_the_first_screen_and_its_links_open_claims(
    page_file: Path, browser: Browser, width: int
) -> None:
    page = opened(browser, page_file, width).page
    box = page.locator(".scorecard").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 900
    page.locator(".scorecard summary").click()
    page.locator(".scorecard details a", has_text="open").click()
    assert page.locator("#claim-open details.more").get_attribute("open") is not None
    heading = page.locator("#claim-open h3")
    page.wait_for_function("document.querySelector('#claim-open').getBoundingClientRect().top < 200")
    assert heading.is_visible()
    # Closed by hand, the same link opens it once more.
    page.locator("#claim-open details.more > summary").click()
    page.evaluate("scrollTo(0, 0)")
    page.locator(".scorecard details a", has_text="open").click()
    assert page.locator("#claim-open details.more").get_attribute("open") is not None
    page.context.close()


def test_the_contents_stand_beside_a_wide_page_and_fold_on_a_narrow_one(page_file: Path, browser: Browser) -> None:
    page = opened(browser, page_file).page
    page.evaluate("document.querySelector('#suite').scrollIntoView({ behavior: 'instant' })")
    beside, main = page.locator(".contents").bounding_box(), page.locator("main").bounding_box()
    assert beside is not None
    assert main is not None
    assert beside["y"] == pytest.approx(0, abs=1)
    assert beside["x"] + beside["width"] <= main["x"]
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_function("!document.querySelector('.contents details').open")
    page.locator(".contents summary").click()
    page.locator(".contents a", has_text="category-score-lowest").click()
    assert page.locator(".contents details").get_attribute("open") is None
    assert page.locator("#claim-category-score-lowest details.more").get_attribute("open") is not None
    page.context.close()


@pytest.mark.parametrize(("token", "heading"), [("w17", "w17: community "), (HOSTILE, f"{HOSTILE}: community ")])
def test_a_link_to_a_token_shows_it_on_the_map(page_file: Path, browser: Browser, token: str, heading: str) -> None:
    seen = opened(browser, page_file, anchor=f"#token={quote(token, safe='')}")
    assert seen.page.locator("#map").is_visible()
    assert seen.page.locator("#report").is_hidden()
    assert listed(seen.page)[0].startswith(heading)
    link = seen.page.locator(".map-details h3 a").get_attribute("href")
    assert link is not None
    assert unquote(link) == f"#token={token}"
    # Another token leaves its own link in the address; one that is not there is said not to be.
    seen.page.locator(".map-details table button").first.click()
    assert seen.page.evaluate("decodeURIComponent(location.hash)") != f"#token={token}"
    seen.page.evaluate("location.hash = '#token=nowhere'")
    seen.page.wait_for_function("document.querySelector('.map-found').textContent !== ''")
    assert seen.page.inner_text(".map-found") == "No token of the map is “nowhere”."
    assert seen.complaints == []
    assert seen.page.evaluate("window.hacked") is None
    seen.page.context.close()


def test_tabs_and_folds_answer_a_keyboard(page_file: Path, browser: Browser) -> None:
    page = opened(browser, page_file).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#tab-report")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-map"
    assert page.locator("#map").is_visible()
    page.keyboard.press("ArrowRight")
    assert page.locator("#report").is_visible()
    page.focus("#claim-fails details.more > summary")
    page.keyboard.press("Enter")
    assert page.locator("#claim-fails .definition, #claim-fails .source").first.is_visible()
    page.context.close()


def test_a_cell_of_a_pattern_names_its_words(page_file: Path, browser: Browser) -> None:
    page = opened(browser, page_file).page
    unfold(page)
    plot = page.locator("#pattern .plot").first
    plot.scroll_into_view_if_needed()
    ticks = plot.locator(".ytick text, .yaxislayer-above text").all_text_contents()
    assert "BOS" in ticks
    assert "blue" in ticks
    cells = plot.locator(".nsewdrag").bounding_box()
    assert cells is not None
    # The last row's last cell: blue to itself.
    page.mouse.move(cells["x"] + cells["width"] * 5 / 6, cells["y"] + cells["height"] * 5 / 6)
    page.wait_for_selector("#pattern .hovertext")
    assert page.locator("#pattern .hovertext").text_content() == "2 blue → 2 blue: 0.250"
    page.context.close()
