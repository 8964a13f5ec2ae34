"""Pages of the library, a package each, made from its sources; no module is imported.

A page lists the package's modules with their public functions, classes and constants.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

from recsys_lib.artifacts import cache_files, sha256_of

GROUND = "ground"  # the page of the modules outside of packages
_TITLES = {"parameters": "Args", "attributes": "Attributes", "raises": "Raises"}
_EXAMPLE = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
_SOURCE = re.compile(r"^Source: (.*?)(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(
    r"^:{3,4}\{py:(module|function|class|data)\} ([\w.]+)", re.MULTILINE
)
_LONGEST_VALUE = 60  # characters of a constant that are shown


def library_pages(library: Path) -> Path:
    """Return the folder of the pages, `<package>.md`; made again if a source changed.

    Args:
        library: Folder of `recsys_lib`.
    """
    hashes = {str(x.relative_to(library)): sha256_of(x) for x in library.rglob("*.py")}

    def make(folder: Path) -> None:
        for name, text in _pages(library):
            (folder / f"{name}.md").write_text(text)

    return cache_files("library-pages", [hashes], make)


def addresses(pages: Path) -> dict[str, str]:
    """Path of each module and of what is in it -> its place on the library's pages.

    Args:
        pages: As of `library_pages`.
    """
    found = {}
    for path in sorted(pages.glob("*.md")):
        module = ""
        for kind, name in _NAMED.findall(path.read_text()):
            module = name if kind == "module" else module
            whole = name if kind == "module" else f"{module}.{name}"
            anchor = f"module-{name}" if kind == "module" else whole
            found[whole] = f"library/{path.stem}.html#{anchor}"
    return found


def _pages(library: Path) -> Iterator[tuple[str, str]]:
    import griffe  # takes a third of a second, and most builds make no page

    root: Any = griffe.load(
        library.name,
        search_paths=[library.parent],
        try_relative_path=False,
        allow_inspection=False,
        docstring_parser="google",
    )
    packages = [module for module in _inside(root) if module.is_init_module]
    ground = [module for module in _inside(root) if not module.is_init_module]
    yield GROUND, _page(GROUND, root, ground)
    for package in packages:
        yield package.name, _page(package.name, package, _modules(package))


def _modules(package: Any) -> Iterator[Any]:
    for module in _inside(package):
        yield module
        yield from _modules(module)


def _inside(package: Any) -> list[Any]:
    found = sorted(package.modules.items())
    return [module for _, module in found if not module.is_alias]  # no import


def _page(title: str, package: Any, modules: Iterable[Any]) -> str:
    start = len(package.path) + 1
    parts = [f"# {title}", f":::{{py:module}} {package.path}\n:::", _text(package)]
    for module in modules:
        parts += [f"## {module.path[start:]}", f":::{{py:module}} {module.path}\n:::"]
        parts += [_text(module), *map(_entry, _public(module))]
    return "\n\n".join(filter(None, parts)) + "\n"


def _public(parent: Any) -> Iterator[Any]:
    """What a reader may use: of a class, what has a docstring; no imported name."""
    for name, member in parent.members.items():
        if name.startswith("_") or member.is_alias or member.is_module:
            continue
        if member.docstring or (parent.is_module and not name.islower()):
            yield member


def _entry(item: Any) -> str:
    """A directive of Sphinx's Python domain with signature, docstring and members."""
    in_class, options = item.parent.is_class, ""
    if item.is_function:
        kind, shown = ("method" if in_class else "function"), _signature(item)
        for label in item.labels & {"async", "classmethod", "staticmethod"}:
            options += f":{label}:\n"
    elif item.is_class:
        kind, shown = "class", _signature(item)
    elif in_class:
        kind, shown = "property", item.name
        options = f":type: {json.dumps(_spelled(item.annotation))}\n"
    else:
        kind, shown, value = "data", item.name, str(item.value)
        if len(value) <= _LONGEST_VALUE:
            options = f":value: {json.dumps(value)}\n"
    fence = ":::" if in_class else "::::"
    members = map(_entry, _public(item) if item.is_class else ())
    body = "\n\n".join(filter(None, [_text(item), *members]))
    return f"{fence}{{py:{kind}}} {shown}\n{options}\n{body}\n{fence}"


def _signature(item: Any) -> str:
    function = item if item.is_function else item.all_members.get("__init__")
    if function is None:
        return str(item.name)
    function = function.final_target if function.is_alias else function
    for parameter in function.parameters:
        parameter.annotation = _spelled(parameter.annotation)
    if item.is_function:
        item.returns = _spelled(item.returns)
    return str(function.signature(return_type=item.is_function, name=item.name))


def _spelled(annotation: Any) -> str | None:
    """A type with whole paths for the library's own names, which then are links."""
    if annotation is None or isinstance(annotation, str):
        return annotation
    return "".join(
        name.canonical_path if _is_own(name) else str(name)
        for name in annotation.iterate(flat=True)
    )


def _is_own(part: Any) -> bool:
    """Whether a part of a type is a public name of the library, not an attribute."""
    path = getattr(part, "canonical_path", "")
    is_attribute = type(getattr(part, "parent", None)) is type(part)
    return path.startswith("recsys_lib.") and "._" not in path and not is_attribute


def _text(item: Any) -> str:
    """The docstring: its text, and a definition list of its sections."""
    if not item.docstring:
        return ""
    whole = item.docstring.value
    return "\n\n".join(_section(x, whole) for x in item.docstring.parsed)


def _section(section: Any, docstring: str) -> str:
    kind = section.kind.value
    if kind == "text":
        text = _SOURCE.sub(lambda hit: _defined("Source", hit[1]), section.value)
        return _EXAMPLE.sub(lambda hit: f"```pycon\n{hit[0]}\n```", text)
    if kind == "admonition":
        return _defined(section.title, section.value.description)
    if kind in ("returns", "yields"):  # griffe takes what stands before a colon away
        title = kind.capitalize()
        (text,) = re.findall(
            rf"^{title}:\n((?:[ \t]+.*\n?|\n)+)", docstring, re.MULTILINE
        )
        return _defined(title, dedent(text).strip())
    lines = []
    for entry in section.value:
        name = entry.annotation if kind == "raises" else entry.name
        lines.append(f"- `{name}`: {_indented(entry.description)}")
    return _defined(_TITLES[kind], "\n".join(lines))


def _defined(name: str, text: str) -> str:
    return f"{name}\n: {_indented(text)}"


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")
