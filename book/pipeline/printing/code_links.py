"""Sphinx extension: the library's names in code are links to its pages.

Names are followed from the import statements of the same page. A name that the page
also assigns is no link, since it may mean something else there.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from book.pipeline.running.fingerprint import python_of

TARGETS = "library.json"
# As Pygments marks them: the module of an import statement; and names joined by dots,
# which neither follow a dot nor name an argument.
_MODULE = re.compile(r'<span class="nn">(recsys_lib[\w.]*)</span>')
_DOT = '<span class="o">.</span>'
_NAMES = re.compile(
    rf'(?<!{re.escape(_DOT)})<span class="n">\w+</span>'
    rf'(?:{re.escape(_DOT)}<span class="n">\w+</span>)*(?!<span class="o">=<)'
)
_NAME = re.compile(r'<span class="n">(\w+)</span>')


def setup(app: Sphinx) -> dict[str, bool]:
    """Link the code of each page as it is written, and types in signatures."""
    app.connect("html-page-context", _link)
    app.connect("missing-reference", _find_alias)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _find_alias(
    app: Sphinx, env: BuildEnvironment, node: Any, text: nodes.TextElement
) -> nodes.Element | None:
    """Sphinx looks for types among the classes only; they may be aliases, too."""
    if node["refdomain"] != "py" or node["reftype"] != "class":
        return None
    page, path, domain = node["refdoc"], node["reftarget"], env.get_domain("py")
    return domain.resolve_xref(env, page, app.builder, "obj", path, node, text)


def link_names(html: str, paths: Mapping[str, str], targets: Mapping[str, str]) -> str:
    """Make links of modules and names in highlighted code.

    Args:
        html: What Pygments wrote, with anything around it.
        paths: Name in the code -> path of what it names, such as "recsys_lib.plots".
        targets: Path -> address. The longest path that has one is linked.
    """

    def link(path: str, code: str) -> str:
        return f'<a class="library" href="{targets[path]}">{code}</a>'

    def module(hit: re.Match[str]) -> str:
        return link(hit[1], hit[0]) if hit[1] in targets else hit[0]

    def names(hit: re.Match[str]) -> str:
        first, *attributes = _NAME.findall(hit[0])
        parts = hit[0].split(_DOT)
        for n in range(len(parts), 0, -1):
            path = ".".join([paths.get(first, ""), *attributes[: n - 1]])
            if path in targets:
                return _DOT.join([link(path, _DOT.join(parts[:n])), *parts[n:]])
        return hit[0]

    return _NAMES.sub(names, _MODULE.sub(module, html))


def imported_names(cells: Iterable[str]) -> dict[str, str]:
    """Names that cells import from the library, and the path of what each names.

    >>> imported_names(["from recsys_lib.ranking import index as ours", "%ls"])
    {'ours': 'recsys_lib.ranking.index'}
    """
    paths = dict[str, str]()
    for node in _nodes(cells):
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                paths |= {x.asname or x.name: f"{module}.{x.name}" for x in names}
            case ast.Import(names=names):
                paths |= {x.asname: x.name for x in names if x.asname}
    return {name: x for name, x in paths.items() if x.startswith("recsys_lib.")}


def assigned_names(cells: Iterable[str]) -> set[str]:
    """Names that cells define themselves: variables, arguments, functions, classes.

    >>> sorted(assigned_names(["def f(x): y = x"]))
    ['f', 'x', 'y']
    """
    found = set()
    for node in _nodes(cells):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
    return found


def _nodes(cells: Iterable[str]) -> Iterable[ast.AST]:
    for source in (source for cell in cells for source in python_of(cell)):
        try:
            yield from ast.walk(ast.parse(source))
        except SyntaxError:  # not Python: an output, or a cell in another language
            continue


def _targets(app: Sphinx, page: str) -> dict[str, str]:
    """Address of each name of the library, as seen from a page."""
    elsewhere = Path(app.srcdir, TARGETS)
    if elsewhere.exists():  # an edition whose library is printed with another
        up = "../" * page.count("/")
        found: dict[str, str] = json.loads(elsewhere.read_text())
        return {path: f"{up}{address}" for path, address in found.items()}
    return {
        path: f"{app.builder.get_relative_uri(page, found.docname)}#{found.node_id}"
        for path, found in cast(PythonDomain, app.env.get_domain("py")).objects.items()
    }


def _link(
    app: Sphinx, page: str, _template: str, context: Any, doctree: nodes.document | None
) -> None:
    if doctree is None or "recsys_lib" not in context["body"]:
        return
    cells = [node.astext() for node in doctree.findall(nodes.literal_block)]
    paths, assigned = imported_names(cells), assigned_names(cells)
    targets = _targets(app, page)
    for path in sorted({*paths.values()} - {*targets}):
        logging.getLogger(__name__).warning(
            "%s is imported, but no page of the library has it", path, location=page
        )
    linked = {name: path for name, path in paths.items() if name not in assigned}
    context["body"] = link_names(context["body"], linked, targets)
