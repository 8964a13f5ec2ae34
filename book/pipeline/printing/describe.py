"""Sphinx extension: each page's own description, for search engines and previews."""

from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

SHORTEST, LONGEST = 40, 180  # characters


def setup(app: Sphinx) -> dict[str, bool]:
    """Describe each page as it is written."""
    app.connect("html-page-context", _add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _add(
    _app: Sphinx, _page: str, _name: str, context: Any, doctree: nodes.document | None
) -> None:
    if doctree is not None:
        paragraphs = (node.astext() for node in doctree.findall(nodes.paragraph))
        if text := description(paragraphs):
            tag = f'<meta name="description" content="{escape(text)}" />'
            context["metatags"] = context.get("metatags", "") + tag


def description(paragraphs: Any) -> str:
    """The first paragraph that says something, cut at a sentence or a word.

    >>> description(["Short.", "A longer paragraph says what the page is about."])
    'A longer paragraph says what the page is about.'
    """
    texts = (" ".join(text.split()) for text in paragraphs)
    text = next((text for text in texts if len(text) >= SHORTEST), "")
    if len(text) <= LONGEST:
        return text
    cut = text[:LONGEST]
    end = max(cut.rfind(x) for x in (". ", "? ", "。", "？"))
    if end >= SHORTEST:
        return cut[: end + 1]
    return (cut.rpartition(" ")[0] or cut) + " …"
