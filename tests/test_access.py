"""The pages by keyboard, on paper, without motion, and through their search."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from test_book import in_browser, pages

# Places that answer to a mouse alone.
MOUSE_ONLY = """() => [...document.querySelectorAll("body *")]
  .filter(x => x.offsetParent && getComputedStyle(x).cursor === "pointer" && !x.closest(
    "a[href], button, input, select, summary, label, [tabindex]"))
  .map(x => x.outerHTML.slice(0, 120))"""
# What the keyboard does not reach, or where it does not show; not what is folded.
UNSEEN = """() => [...document.querySelectorAll(
    "a[href], button, input, select, summary, [tabindex='0']")]
  .filter(x => x.checkVisibility() && x.getClientRects().length)
  .filter(x => {
    x.focus({focusVisible: true});
    const style = getComputedStyle(x);
    const seen = style.outlineStyle !== "none" || style.boxShadow !== "none";
    return document.activeElement !== x || !(seen || x.closest("svg"));
  }).map(x => x.outerHTML.slice(0, 120))"""
MOVING = """() => [...document.querySelectorAll("*")].filter(x => {
  const style = getComputedStyle(x);
  return style.transitionDuration.split(",").some(t => parseFloat(t) > 0) ||
    style.animationName !== "none" || style.scrollBehavior === "smooth";
}).map(x => x.outerHTML.slice(0, 120))"""


@pytest.mark.book
@in_browser
def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    smoke_book: Path, browser: Browser
) -> None:
    for path in [
        pages(smoke_book)[0],
        pages(smoke_book)[5],
        smoke_book / "html/ledger.html",
    ]:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(path.as_uri())
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent.trim()") == (
            "Skip to main content"
        )
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == "#main-content"
        assert page.evaluate(MOUSE_ONLY) == [], path.name
        assert page.evaluate(UNSEEN) == [], path.name
        page.close()


@pytest.mark.book
@in_browser
def test_nothing_moves_for_a_reader_who_asks_for_that(
    smoke_book: Path, browser: Browser
) -> None:
    page = browser.new_page(reduced_motion="reduce")
    page.goto(pages(smoke_book)[5].as_uri())
    assert page.evaluate(MOVING) == []
    page.close()


@pytest.mark.book
@in_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_paper_is_light_and_shows_every_figure_once(
    theme: str, smoke_book: Path, browser: Browser
) -> None:
    page = browser.new_page(color_scheme=theme)
    page.goto(pages(smoke_book)[5].as_uri())
    page.emulate_media(media="print")
    n_figures = page.locator("article figure").count()
    assert page.locator("img.only-light:visible").count() == n_figures
    shade = "image => getComputedStyle(image).filter"
    assert page.locator("img.only-light").first.evaluate(shade) == "none"
    assert page.locator("img.only-dark:visible").count() == 0
    ink = page.locator("article p").first.evaluate("p => getComputedStyle(p).color")
    assert max(map(int, ink.removeprefix("rgb(").removesuffix(")").split(","))) < 90
    title = page.locator(".admonition-title:visible").first
    behind = title.evaluate("x => getComputedStyle(x).backgroundColor")
    assert behind == "rgb(243, 244, 245)"
    for gone in (".bd-sidebar-primary", ".bd-header-article", "nav.offers"):
        assert page.locator(f"{gone}:visible").count() == 0, gone
    page.close()


@pytest.mark.book
@in_browser
def test_search_finds_a_record_a_claim_and_a_function(
    smoke_book: Path, browser: Browser
) -> None:
    records = json.loads((smoke_book / "results/ch5.json").read_text())
    wanted = {
        sorted(records)[0]: "chapters/05_practice.html",
        "thousand+faces": "ledger.html",
        "ndcg_at_k": "library/metrics.html#recsys_lib.metrics.accuracy.ndcg_at_k",
    }
    for words, target in wanted.items():
        page = browser.new_page()
        page.goto(f"{(smoke_book / 'html/search.html').as_uri()}?q={words}")
        page.wait_for_selector("#search-results ul.search li a")
        links = page.locator("#search-results ul.search li a").all()
        assert target in [link.get_attribute("href") for link in links], words
        page.close()


@pytest.mark.book
def test_every_page_says_its_language_and_what_it_is_about(smoke_book: Path) -> None:
    about = set()
    for path in pages(smoke_book):
        html = path.read_text()
        assert '<html lang="en"' in html, path.name
        assert html.count('<meta name="description"') == 1, path.name
        about.add(html.partition('<meta name="description" content="')[2][:100])
    assert len(about) == len(pages(smoke_book)), "each page has its own"
