"""The printed smoke book, opened in a browser the way a reader opens it."""

import json
import os
import re
import subprocess
from pathlib import Path

import jupytext
import pytest
from conftest import CHROMIUM
from playwright.sync_api import Browser, Page

from book.pipeline.chapters import Chapter, find_chapters
from book.pipeline.printing.prose import citations
from book.pipeline.running.execute import load_run

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted((ROOT / "chapters").glob("*.md"))
NEEDED = os.environ.get("BOOK_NEEDS_BROWSER") == "1"
in_browser = pytest.mark.skipif(
    CHROMIUM is None and not NEEDED, reason="no Chromium on this machine's PATH"
)


def pages(book: Path) -> list[Path]:
    html = book / "html"
    return [
        html / "intro.html",
        *sorted(html.glob("chapters/*.html")),
        html / "appendix_a.html",
        html / "ledger.html",
        *sorted(html.glob("library/*.html")),
    ]


def visit(browser: Browser, path: Path, **options: object) -> tuple[Page, list[str]]:
    """Open a page; return it with the faults: console errors, requests to elsewhere."""
    page = browser.new_page(**options)
    faults: list[str] = []
    page.on("request", lambda r: r.url.startswith("file:") or faults.append(r.url))
    page.on("requestfailed", lambda r: faults.append(f"failed {r.url}"))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(path.as_uri(), wait_until="load")
    return page, faults


@pytest.mark.book
def test_no_cell_gives_a_warning_of_python(smoke_book: Path) -> None:
    device = json.loads((smoke_book / "results/run.json").read_text())["device"]
    store = ROOT / f"_build/runs/smoke-{device}"
    runs = [load_run(store, chapter) for chapter in find_chapters(ROOT / "chapters")]
    written = [text for run in runs if run for text in run.stderr.values()]
    assert all(runs)
    assert not [text for text in written if "Warning: " in text]


@pytest.mark.book
@in_browser
def test_pages_ask_no_server_and_fit_a_phone(
    smoke_book: Path, browser: Browser
) -> None:
    for path in pages(smoke_book):
        page, faults = visit(browser, path, viewport={"width": 360, "height": 740})
        assert not faults, path
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, f"{path.name} is {wide} px wide on a phone"
        mute = page.locator("article img:not([alt]), article img[alt='']").count()
        assert mute == 0, path
        page.close()


@pytest.mark.book
@in_browser
def test_a_dark_page_and_a_phone_have_figures_of_their_own(
    smoke_book: Path, browser: Browser
) -> None:
    page, _ = visit(browser, pages(smoke_book)[1], color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = page.locator("figure img.only-dark").first
    assert dark.is_visible()
    assert not page.locator("figure img.only-light").first.is_visible()
    assert dark.evaluate("image => getComputedStyle(image).filter") == "none"
    file = "image => image.currentSrc.replace(/^.*[0-9a-f]{64}/, '')"
    assert dark.evaluate(file) == "-dark.svg"
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_function(
        "document.querySelector('figure img.only-dark').currentSrc.includes('narrow')"
    )
    assert dark.evaluate(file) == "-narrow-dark.svg"
    page.close()


@pytest.mark.book
@in_browser
def test_search_finds_a_chapter(smoke_book: Path, browser: Browser) -> None:
    page, faults = visit(browser, smoke_book / "html/search.html")
    page.goto((smoke_book / "html/search.html").as_uri() + "?q=throughput")
    page.wait_for_selector("#search-results ul.search li a")
    links = page.locator("#search-results ul.search li a").all()
    assert any("chapters/" in (link.get_attribute("href") or "") for link in links)
    assert not faults
    page.close()


@pytest.mark.book
def test_every_page_names_its_fingerprint(smoke_book: Path) -> None:
    for path in (smoke_book / "html/chapters").glob("*.html"):
        html = path.read_text()
        assert re.search(
            r"Fingerprint.{0,200}?<span class=\"pre\">[0-9a-f]{16}", html, re.S
        )
        assert "run" in html
        assert html.count("<figure") >= 5, f"{path.stem} has fewer than five figures"


@pytest.mark.book
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_every_figure_and_record_of_a_chapter_is_there(
    path: Path, smoke_book: Path
) -> None:
    chapter = Chapter(path)
    html = (smoke_book / f"html/chapters/{path.stem}.html").read_text()
    cells = [c.metadata.get("mystnb", {}) for c in chapter.notebook.cells]
    names = [c["figure"]["name"] for c in cells if "figure" in c]
    assert len(names) > 4
    assert [n for n in names if f'id="{n}"' not in html] == []
    made = json.loads((smoke_book / f"results/{chapter.key}.json").read_text())
    assert len(made) > 50
    assert {r["name"] for r in made.values()} == set(made)
    cited = {c for _, text in chapter.prose for _, _, c in citations(text)}
    own = {c.split(":")[0].split(".")[1] for c in cited if c.startswith(chapter.key)}
    assert own <= set(made)
    assert len(own) > 20


@pytest.mark.book
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_the_names_of_the_library_in_code_lead_to_its_pages(
    path: Path, smoke_book: Path
) -> None:
    html = (smoke_book / f"html/chapters/{path.stem}.html").read_text()
    links = set(re.findall(r'class="library" href="\.\./([^"#]+)#([^"]+)"', html))
    assert len(links) > 10
    for page, target in links:
        assert f'id="{target}"' in (smoke_book / "html" / page).read_text()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapters_are_committed_as_jupyterlab_saves_them(path: Path) -> None:
    written = jupytext.writes(jupytext.read(path), fmt="md:myst")
    assert written == path.read_text()


def test_no_outputs_are_committed() -> None:
    done = subprocess.run(
        ["git", "ls-files", "*.ipynb", "_build", "data"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""


def test_the_readme_types_commands_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    typed = set(re.findall(r"^make ([a-z]+)", (ROOT / "README.md").read_text(), re.M))
    assert {"book", "test"} <= typed <= targets
