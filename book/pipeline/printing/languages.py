"""Sphinx extension: each page names its counterpart in the other language.

What the theme says to screen readers and has no translation of is translated, too.
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from book.pipeline.language.catalogues import CHINESE, ENGLISH, say
from book.pipeline.printing.editions import FOLDERS, LIBRARY, TAGS

_NAMES = {ENGLISH: "English", CHINESE: "中文"}
_ONCE = (
    LIBRARY,
    "genindex",
    "py-modindex",
    "headline",
    "decisions",
    "machines",
)  # pages of one edition only


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the links as a page is written."""
    app.connect("config-inited", _add_templates)
    app.connect("html-page-context", _add_links)
    app.connect("build-finished", _translate_theme)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _add_templates(_app: Sphinx, config: Any) -> None:
    config.templates_path.append(str(Path(__file__).parent / "templates"))


def counterpart(page: str, language: str) -> tuple[str, str]:
    """The other language and the relative address of the same page in it.

    >>> counterpart("chapters/01_overview", "en")
    ('zh_CN', '../zh/chapters/01_overview.html')
    >>> counterpart("ledger", "zh_CN")
    ('en', '../ledger.html')
    """
    up = "../" * page.count("/")
    if language == ENGLISH:
        return CHINESE, f"{up}{FOLDERS[CHINESE]}/{page}.html"
    return ENGLISH, f"{up}../{page}.html"


def _add_links(
    app: Sphinx,
    page: str,
    _template: str,
    context: Any,
    _doctree: nodes.document | None,
) -> None:
    others = app.config.html_context.get("editions", [])
    if not others or page.startswith(_ONCE) or app.builder.name != "html":
        return
    here = app.config.language
    other, href = counterpart(page, here)
    name = page.rpartition("/")[2]
    links = {TAGS[here]: f"{name}.html", TAGS[other]: href}
    context["metatags"] = context.get("metatags", "") + "".join(
        f'<link rel="alternate" hreflang="{tag}" href="{place}">\n'
        for tag, place in links.items()
    )
    context["other_edition"] = {
        "href": href,
        "tag": TAGS[other],
        "name": _NAMES[other],
    }


def _translate_theme(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.name == "html" and app.config.language != ENGLISH:
        for path in Path(app.outdir).rglob("*.html"):
            path.write_text(with_theme_translated(path.read_text()))


def with_theme_translated(html: str) -> str:
    """A page with the theme's names of buttons and links in the language in use.

    >>> with_theme_translated('<a title="Link to this term">')
    '<a title="Link to this term">'
    """
    words = {
        "Link to this heading": say("Link to this heading"),
        "Link to this image": say("Link to this image"),
        "Link to this term": say("Link to this term"),
        "Search...": say("Search..."),
        "Toggle primary sidebar": say("Toggle primary sidebar"),
        "Toggle secondary sidebar": say("Toggle secondary sidebar"),
        "Color mode": say("Color mode"),
        "System Settings": say("System Settings"),
        "Main": say("Main"),
        "Page": say("Page"),
    }
    texts = "|".join(map(re.escape, words))
    named = re.compile(rf'((?:title|aria-label|placeholder)=")({texts})"')
    return named.sub(lambda hit: f'{hit[1]}{words[hit[2]]}"', html)
