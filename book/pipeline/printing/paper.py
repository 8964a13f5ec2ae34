"""The book as a PDF: all pages in one, printed by Chromium, with contents.

Print takes the wide light figures. Folded code is left out, other folded parts are
open, long lines of code wrap, and the hashes of all inputs are left to the pages. The
book is printed twice: the first printing tells on which page each section begins, and
the second has that in its contents.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from book.pipeline.chapters import BookError
from book.pipeline.language.catalogues import say
from book.pipeline.printing.paper_text import make_searchable

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_ARRANGE = """([title, about, contentsTitle]) => {
  const article = document.querySelector("article.bd-article");
  document.body.replaceChildren(article);
  document.documentElement.dataset.theme = "light";
  const gone = "details.above-input, .headerlink, .offers, script, #ledger-controls, " +
    ".copybtn, summary .sd-summary-state-marker, .pareto-front";
  for (const part of article.querySelectorAll(gone)) part.remove();
  for (const part of article.querySelectorAll("details")) {
    const summary = part.querySelector("summary"), words = summary?.textContent.trim();
    const open = document.createElement("div"), name = document.createElement("p");
    open.className = "opened";
    if (part.matches(".inputs")) { part.remove(); continue; }
    summary?.remove();
    if (words && !part.matches(".hide")) {
      name.className = "opened-title";
      name.textContent = words;
      open.append(name);
    }
    open.append(...part.childNodes);
    part.replaceWith(open);
  }
  for (const start of article.querySelectorAll('[id^="document-"]'))
    start.classList.add("paper-page");
  for (const image of document.images) image.loading = "eager";
  const cover = document.createElement("header");
  cover.className = "paper-cover";
  const heading = document.createElement("p");
  heading.className = "paper-title";
  heading.textContent = title;
  cover.append(heading);
  for (const line of about) {
    const said = document.createElement("p");
    said.textContent = line;
    cover.append(said);
  }
  const contents = document.createElement("nav");
  contents.className = "paper-contents";
  const name = document.createElement("p");
  name.className = "paper-title";
  name.textContent = contentsTitle;
  const list = document.createElement("ol");
  const listed = [...article.querySelectorAll("h2, h3")].filter(part =>
    part.tagName === "H2" || /^[0-9A-D]\\.[0-9]/.test(part.textContent.trim()));
  listed.forEach((part, n) => {
    const entry = document.createElement("li"), link = document.createElement("a");
    part.id ||= `paper-${n}`;
    entry.className = `level-${part.tagName.slice(1)}`;
    link.href = `#${part.id}`;
    const words = document.createElement("span"), page = document.createElement("span");
    words.textContent = part.textContent.trim();
    page.className = "page";
    link.append(words, page);
    entry.append(link);
    list.append(entry);
  });
  contents.append(name, list);
  article.prepend(cover, contents);
}"""
_NUMBER = """pages => document.querySelectorAll(".paper-contents .page")
  .forEach((place, n) => { place.textContent = pages[n] ?? ""; })"""
_HEADINGS = """() =>
  [...document.querySelectorAll(".paper-contents a span:first-child")]
    .map(words => words.textContent)"""
_FOOT = """<div style="width: 100%; font: 8px sans-serif; text-align: center">
<span class="pageNumber"></span></div>"""


def find_chromium() -> str:
    """Path of a Chromium.

    Raises:
        BookError: If there is none; the message says how to get one or do without.
    """
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not found:
        raise BookError(
            "the PDF is printed by Chromium, and none is on the PATH: apt install "
            'chromium, or leave it out: make publish FORMATS="html epub notebooks"'
        )
    return str(found)


def write_pdf(
    page_file: Path,
    pdf: Path,
    *,
    title: str,
    about: list[str],
    progress: Callable[[str], None] = print,
) -> int:
    """Print the book; return its number of pages.

    Args:
        page_file: All pages as one HTML page, as Sphinx's singlehtml writes it.
        pdf: The file to write.
        title: On the cover.
        about: Lines below it.
        progress: Called with each line of it.

    Raises:
        BookError: If there is no Chromium.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(),
            args=["--no-sandbox", "--disable-background-networking"],
        )
        page = browser.new_page(color_scheme="light", java_script_enabled=True)
        page.route(re.compile("^https?:"), lambda route: route.abort())
        page.goto(page_file.as_uri(), wait_until="load", timeout=120_000)
        page.evaluate(_ARRANGE, [title, about, say("Contents")])
        page.add_style_tag(path=Path(__file__).with_name("paper.css"))
        page.wait_for_function(
            "[...document.images].every(image => image.complete)", timeout=120_000
        )
        progress("first printing, to number the contents")
        _print(page, pdf)
        headings: list[str] = page.evaluate(_HEADINGS)
        page.evaluate(_NUMBER, _pages(headings, starts(pdf)))
        progress("second printing")
        _print(page, pdf)
        browser.close()
    make_searchable(pdf)
    return len(_reader(pdf).pages)


def _reader(pdf: Path) -> Any:
    from pypdf import PdfReader  # of the extra `publish`, which `make publish` installs

    return PdfReader(pdf)


def _print(page: Page, pdf: Path) -> None:
    page.pdf(
        path=pdf,
        prefer_css_page_size=True,
        print_background=True,
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=_FOOT,
        outline=True,
        tagged=True,
    )


def starts(pdf: Path) -> list[tuple[str, int]]:
    """Title and page of each entry in a PDF's outline, in its order."""
    reader = _reader(pdf)
    found: list[tuple[str, int]] = []

    def walk(entries: list[Any]) -> None:
        for entry in entries:
            if isinstance(entry, list):
                walk(entry)
                continue
            number = reader.get_destination_page_number(entry)
            found.append((str(entry["/Title"]), int(number or 0) + 1))

    walk(reader.outline)
    return found


def _pages(headings: list[str], outline: list[tuple[str, int]]) -> Mapping[int, str]:
    """The page of each heading of the contents; both are in reading order."""
    pages, at = list[str](), 0
    for heading in headings:
        wanted = _letters(heading)
        found = next(
            (
                n
                for n in range(at, len(outline))
                if _letters(outline[n][0]).startswith(wanted)  # twice, if it broke
            ),
            None,
        )
        pages.append("" if found is None else str(outline[found][1]))
        at = at if found is None else found + 1
    return dict(enumerate(pages))


def _letters(text: str) -> str:
    return re.sub(r"\W", "", text)
