"""Sphinx extension: roles that cite records, and mathematics without a script.

Math is written as MathML, so that the built book opens from disk and asks no server.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pybtex.plugin
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxRole
from sphinx.writers.html5 import HTML5Translator

from book.pipeline.language.catalogues import PRESS, said, use_language
from book.pipeline.results import Results


class _Citation(SphinxRole):
    """{record}`ch4.search_ms:.1f`: the number itself; {interval} adds its interval."""

    def run(self) -> tuple[list[nodes.Node], list[Any]]:
        results: Results = self.env.app.book_results  # type: ignore[attr-defined]
        written = results.text if self.name.endswith("record") else results.interval
        name = self.text.partition(":")[0]
        number = written(self.text)
        options = {"explanation": name, "classes": ["record"]}
        options["details"] = results.describe(name)
        number = said(number, PRESS)  # a fact may be a word: smoke, film
        return [RecordNumber(self.rawtext, number, **options)], []


class RecordNumber(nodes.abbreviation):  # type: ignore[misc]
    """A number of a record; `record.js` shows its details on hover, focus and tap."""


def _open_number(writer: HTML5Translator, node: RecordNumber) -> None:
    name = node["explanation"]
    key, record = name.split(".")[:2]
    chapter = f"chapters/{key.removeprefix('ch'):0>2}_"
    docs = writer.builder.env.found_docs
    page = next((name for name in docs if name.startswith(chapter)), "")
    here = getattr(writer.builder, "current_docname", "")
    attributes = {"title": name, "data-details": node["details"]}
    if page:
        uri = writer.builder.get_relative_uri(here, page)
        attributes["data-cell"] = f"{uri}#record-{record}"
    writer.body.append(writer.starttag(node, "abbr", "", **attributes))


def _close_number(writer: HTML5Translator, _node: RecordNumber) -> None:
    writer.body.append("</abbr>")


def _as_text(_writer: Any, _node: RecordNumber) -> None:
    """Nothing around the number, outside of HTML."""


class _Given(SphinxRole):
    """{given}`0.468673`: a number from a source or a definition, not measured here."""

    def run(self) -> tuple[list[nodes.Node], list[Any]]:
        return [nodes.Text(self.text)], []


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the roles and the math renderer."""
    app.connect("builder-inited", _load_results)
    app.connect("html-page-context", _leave_thebe_out, priority=900)
    app.connect("html-page-context", _name_folds)
    app.connect("html-page-context", _list_sources)
    plain = (_as_text, _as_text)
    shown = (_open_number, _close_number)
    app.add_node(RecordNumber, html=shown, latex=plain, text=plain)
    app.add_role("record", _Citation())
    app.add_role("interval", _Citation())
    app.add_role("given", _Given())
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
    _look_up_once()
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _look_up_once() -> None:
    """Cache two look-ups that are repeated for each citation and figure number.

    pybtex reads the entry points of all installed packages, Sphinx loads the page of
    the figure. Together they took 3.9 of 9.3 s of CPU.
    """
    pybtex.plugin._load_entry_point = cache(pybtex.plugin._load_entry_point)
    resolve = StandardDomain._resolve_numref_xref
    reading = cache(_Reading)

    def resolve_once(
        self: StandardDomain, env: BuildEnvironment, *arguments: Any
    ) -> Any:
        return resolve(self, reading(env), *arguments)  # type: ignore[arg-type]

    StandardDomain._resolve_numref_xref = resolve_once  # type: ignore[assignment]


class _Reading:
    """An environment that loads each page once; the pages must not be changed."""

    def __init__(self, env: BuildEnvironment) -> None:
        self._env = env
        self.get_doctree = cache(env.get_doctree)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)


def _load_results(app: Sphinx) -> None:
    use_language(app.config.language)
    results = Results.load(Path(app.srcdir) / "results")
    app.book_results = results  # type: ignore[attr-defined]


def _leave_thebe_out(
    _app: Sphinx, _page: str, _name: str, context: Any, *_: Any
) -> None:
    """Remove the script of live cells: it needs a server and is added twice."""
    scripts = context.get("script_files", [])
    context["script_files"] = [s for s in scripts if not _of_thebe(s)]


def _list_sources(_app: Sphinx, _page: str, _name: str, context: Any, *_: Any) -> None:
    """Give each source the role of its list's items; docutils' own is deprecated."""
    if body := context.get("body"):
        context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def _name_folds(_app: Sphinx, _page: str, _name: str, context: Any, *_: Any) -> None:
    """Let screen readers read what stands on a fold, which myst-nb names in English."""
    if body := context.get("body"):
        context["body"] = body.replace(' aria-label="Toggle hidden content"', "")


def _of_thebe(script: Any) -> bool:
    attributes = getattr(script, "attributes", {})
    return "thebe" in f"{script} {attributes.get('body', '')}".lower()


def _inline_math(writer: HTML5Translator, node: nodes.math) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block_math(writer: HTML5Translator, node: nodes.math_block) -> None:
    label = node.get("number")
    anchor = f' id="{node["ids"][0]}"' if node.get("ids") else ""
    tag = f'<span class="eqno">({label})</span>' if label else ""
    math = convert(node.astext(), display="block")
    writer.body.append(f'<div class="math"{anchor}>{tag}{math}</div>\n')
    raise nodes.SkipNode
