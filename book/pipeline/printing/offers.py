"""Sphinx extension: what each page offers, at its end.

A chapter offers its notebook. `make publish` adds the book's other forms. Where
`_config.yml` names a repository, a page also offers its source, Colab, Binder and a
form to report a fault; links that would lead nowhere are left out.
"""

import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docutils import nodes
from sphinx.application import Sphinx

from book.pipeline.language.catalogues import ENGLISH, language, say
from book.pipeline.printing.editions import FOLDERS, LIBRARY
from book.pipeline.printing.settings import repository, settings

PAGES_BRANCH = "gh-pages"  # where publish.yml puts pages and notebooks
_PLACE = "<!--forms {root}-->"
_GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)")
_WRITTEN_BY_THE_PRESS = ("ledger", "provenance")


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the offers as a page is written."""
    app.connect("html-page-context", _add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _add(
    app: Sphinx, page: str, _template: str, context: Any, doctree: nodes.document | None
) -> None:
    if doctree is None or app.builder.name != "html":
        return
    config = Path(app.srcdir, "_config.yml")
    branch = settings(config).get("repository", {}).get("branch", "main")
    context["body"] += offers(page, context["title"], repository(config), branch)


def offers(page: str, title: str, address: str, branch: str = "main") -> str:
    """The line of links of one page.

    Args:
        page: Its name, such as "chapters/05_practice".
        title: Its title, in HTML.
        address: Of the repository, or "".
        branch: Of the sources.
    """
    root = "../" * page.count("/")
    links = [*_notebook(page, root), *_elsewhere(page, title, address, branch)]
    items = "".join(f'<li><a href="{escape(to)}">{what}</a></li>' for what, to in links)
    return (
        f'<nav class="offers" aria-label="{say("This page in other forms")}">'
        f"<ul>{items}{_PLACE.format(root=root)}</ul></nav>"
    )


def with_forms(html: str, files: Mapping[str, str]) -> str:
    """Put links to the published forms of the book into a page.

    Args:
        html: Of the page, in the language in use.
        files: Form, "pdf", "epub" or "notebooks" -> its file beside the first page.

    >>> with_forms("<!--forms ../-->", {"pdf": "book.pdf"})
    '<li><a href="../book.pdf">The book as PDF</a></li>'
    """
    words = {
        "pdf": say("The book as PDF"),
        "epub": say("The book as ePub"),
        "notebooks": say("All notebooks"),
    }

    def links(hit: re.Match[str]) -> str:
        return "".join(
            f'<li><a href="{hit[1]}{files[form]}">{said}</a></li>'
            for form, said in words.items()
            if form in files
        )

    return re.sub(r"<!--forms ([./]*)-->", links, html)


def _notebook(page: str, root: str) -> Iterator[tuple[str, str]]:
    if page.startswith("chapters/"):
        stem = page.rpartition("/")[2]
        yield say("This page as a notebook"), f"{root}notebooks/{stem}.ipynb"


def _elsewhere(
    page: str, title: str, address: str, branch: str
) -> Iterator[tuple[str, str]]:
    if not address:
        return
    if source := _source(page):
        yield say("Its source"), f"{address}/blob/{branch}/{source}"
    github = _GITHUB.fullmatch(address)
    if github and page.startswith("chapters/"):
        stem = page.rpartition("/")[2]
        folder = "" if language() == ENGLISH else f"{FOLDERS[language()]}/"
        place = f"{github[1]}/blob/{PAGES_BRANCH}/{folder}notebooks/{stem}.ipynb"
        yield say("Open in Colab"), f"https://colab.research.google.com/github/{place}"
        lab = quote(f"lab/tree/{page}.md", safe="")
        start = f"https://mybinder.org/v2/gh/{github[1]}/{branch}?urlpath={lab}"
        yield say("Open in Binder"), start
    words = quote(re.sub("<[^>]*>", "", title))
    form = f"{address}/issues/new?template=fault.yml&title={words}"
    yield say("Report a fault"), form if github else f"{address}/issues"


def _source(page: str) -> str:
    """Path of a page's source in the repository; "" if the press wrote the page."""
    if page.startswith("chapters/"):
        return f"{page}.md"
    if page == LIBRARY:
        return "recsys_lib"
    if page.startswith(f"{LIBRARY}/"):
        part = page.rpartition("/")[2]
        return "recsys_lib" if part == "ground" else f"recsys_lib/{part}"
    return "" if page in _WRITTEN_BY_THE_PRESS else f"book/{page}.md"
