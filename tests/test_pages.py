"""The smoke book's pages as a reader sees them: three widths, light and dark."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from test_book import in_browser, pages

WIDTHS = (1400, 768, 360)
THEMES = ("light", "dark")
SMALLEST_PX = 9
CONTRAST = 4.5
AXE = files("axe_playwright_python").joinpath("axe.min.js")

SHOWN = """() => [...document.querySelectorAll("img.drawing")]
  .filter(image => image.offsetParent !== null)
  .map(image => [image.currentSrc, Math.round(image.getBoundingClientRect().width)])"""

# Faults of one drawing that is shown `width` px wide on a page of colour `back`.
FAULTS = """({svg, width, back, smallest, contrast}) => {
  document.body.innerHTML = `<div style="width:${width}px">${svg}</div>`;
  const root = document.querySelector("svg"), found = [];
  root.setAttribute("width", "100%");
  root.removeAttribute("height");
  const light = colour => {
    const part = colour.match(/[0-9.]+/g).slice(0, 3).map(x => x / 255)
      .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2] + 0.05;
  };
  const texts = [...root.querySelectorAll("text")].filter(t => t.textContent.trim());
  const edge = root.getBoundingClientRect();
  const boxes = texts.map(text => {
    const name = text.textContent.trim(), style = getComputedStyle(text);
    const m = text.getScreenCTM(), scale = Math.hypot(m.a, m.b);
    const size = parseFloat(style.fontSize) * scale;
    if (size < smallest) found.push(`${name}: ${size.toFixed(1)} px`);
    const [a, b] = [light(style.fill), light(back)].sort((x, y) => y - x);
    if (a / b < contrast) found.push(`${name}: contrast ${(a / b).toFixed(1)}`);
    const box = text.getBoundingClientRect(), trim = 0.2 * size;
    if (box.left < edge.left - 2 || box.right > edge.right + 2)
      found.push(`${name}: cut off`);
    const flat = Math.abs(m.b) < Math.abs(m.a);
    const [x, y] = flat ? [1, trim] : [trim, 1];
    return [name, box.left + x, box.right - x, box.top + y, box.bottom - y];
  });
  boxes.forEach((p, i) => boxes.slice(0, i).forEach(q => {
    if (p[1] < q[2] && q[1] < p[2] && p[3] < q[4] && q[3] < p[4])
      found.push(`${p[0]} | ${q[0]}: overlap`);
  }));
  for (const axis of root.querySelectorAll('g[id^="matplotlib.axis"]')) {
    const ticks = [...axis.querySelectorAll('g[id*="tick_"]')]
      .map(tick => tick.textContent.trim()).filter(Boolean);
    const twice = ticks.filter((tick, i) => ticks.indexOf(tick) !== i);
    if (twice.length) found.push(`ticks ${twice.join(", ")}: twice`);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def drawing(browser: Browser) -> Iterator[Page]:
    """An empty page, to measure drawings in."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    yield page
    page.close()


def faults_of(page: Page, svg: str, width: int, back: str) -> list[str]:
    given = {"svg": svg[svg.index("<svg") :], "width": width, "back": back}
    given |= {"smallest": SMALLEST_PX, "contrast": CONTRAST}
    return page.evaluate(FAULTS, given)


MORE = ("provenance", "glossary", "references")


def printed(book: Path) -> list[Path]:
    """The pages with results or prose, and one of the library's, which are alike."""
    named = [book / f"html/{name}.html" for name in MORE]
    all_pages = pages(book)
    library = [path for path in all_pages if path.parent.name == "library"]
    return [p for p in [*all_pages, *named] if p not in library[1:]]


def violations(page: Page) -> list[str]:
    """What axe finds on a page: the rule, how often, and the first place."""
    page.evaluate(AXE.read_text())
    options = {"resultTypes": ["violations"]}
    found: list[Any] = page.evaluate(
        "options => axe.run(document, options).then(found => found.violations)", options
    )
    return [
        f"{x['id']} ({len(x['nodes'])}): {x['nodes'][0]['html'][:100]}" for x in found
    ]


@pytest.mark.book
@in_browser
@pytest.mark.parametrize("theme", THEMES)
def test_pages_fit_and_can_be_read(
    theme: str,
    smoke_book: Path,
    browser: Browser,
    drawing: Page,
) -> None:
    faults, seen = [], set()
    for path in printed(smoke_book):
        page = browser.new_page(color_scheme=theme, reduced_motion="reduce")
        page.goto(path.as_uri(), wait_until="load")
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        n_figures = page.locator("article figure").count()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function(
                "[...document.images].every(image => image.complete)"
            )
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                faults.append(f"{path.name}, {width} px: the page is {wide} px wide")
            shown = page.evaluate(SHOWN)
            if len(shown) < n_figures:
                faults.append(f"{path.name}, {width} px: {len(shown)} figures shown")
            for source, size in shown:
                if (source, size) in seen:
                    continue
                seen.add((source, size))
                svg = Path(source.removeprefix("file://")).read_text()
                place = f"{path.stem}, {figure_of(page, source)}, {width} px: "
                faults += [place + x for x in faults_of(drawing, svg, size, back)]
        page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        faults += [f"{path.name}: {x}" for x in violations(page)]
        page.close()
    assert not faults, f"{theme}:\n" + "\n".join(faults)


@pytest.mark.book
@in_browser
@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_no_fault_in_the_chinese_pages(
    theme: str, smoke_book: Path, browser: Browser
) -> None:
    names = ("intro", "chapters/01_overview", "ledger", "library", "search")
    faults = []
    for path in [smoke_book / f"html/zh/{name}.html" for name in names]:
        page = browser.new_page(color_scheme=theme, reduced_motion="reduce")
        page.goto(path.as_uri(), wait_until="load")
        faults += [f"{path.name}: {x}" for x in violations(page)]
        page.close()
    assert faults == []


def figure_of(page: Page, source: str) -> str:
    """The name of the figure that a drawing belongs to."""
    find = """source => [...document.querySelectorAll("img.drawing")]
      .find(image => image.currentSrc === source)?.closest("figure")?.id ?? source"""
    name: str = page.evaluate(find, source)
    return name


@pytest.mark.book
@in_browser
def test_headings_shrink_with_their_level(
    smoke_book: Path,
    browser: Browser,
) -> None:
    page = browser.new_page()
    page.goto(pages(smoke_book)[1].as_uri())
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        first, second, third = (
            page.locator(f"article {level}").first.evaluate(
                "heading => parseFloat(getComputedStyle(heading).fontSize)"
            )
            for level in ("h1", "h2", "h3")
        )
        assert first > second > third, f"{width} px"
    title, search = (
        page.locator(place).first.bounding_box()
        for place in ("article h1", ".bd-header-article .search-button__button")
    )
    assert search["y"] + search["height"] <= title["y"], "the icon covers the title"
    page.close()


@in_browser
def test_faults_of_a_drawing_are_found(drawing: Page) -> None:
    text = '<text x="{}" y="{}" style="font-size: {}px; fill: {}">{}</text>'
    tick = '<g id="xtick_{}">' + text.format(150, 90, 10, "#000000", "4") + "</g>"
    svg = (
        '<svg viewBox="0 0 200 100">'
        + text.format(10, 20, 10, "#000000", "one")
        + text.format(12, 22, 10, "#000000", "two")
        + text.format(10, 50, 4, "#000000", "small")
        + text.format(10, 80, 10, "#bbbbbb", "pale")
        + f'<g id="matplotlib.axis_1">{tick.format(1)}</g></svg>'
    )
    found = faults_of(drawing, svg, 400, "rgb(255, 255, 255)")
    assert found == ["small: 8.0 px", "pale: contrast 1.9", "two | one: overlap"]
    twice = svg.replace(
        "</g></svg>", tick.format(2).replace("150", "180") + "</g></svg>"
    )
    assert faults_of(drawing, twice, 400, "rgb(255, 255, 255)")[-1] == "ticks 4: twice"
