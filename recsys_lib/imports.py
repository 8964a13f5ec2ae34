"""Follow imports from file to file by parsing sources, without importing them.

Every import statement counts, also in a function, in a `try` or under `TYPE_CHECKING`,
and so does `import_module` of a literal name.
"""

import ast
import hashlib
import inspect
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import recsys_lib

MISSING = "missing"


@dataclass(frozen=True)
class Closure:
    """The files and packages that some code imports, directly or through others.

    Attributes:
        files: Path of each file of the package, such as "recsys_lib/a/b.py" -> SHA-256.
            A name such as "recsys_lib/a/c" that is neither a module nor defined in the
            package's `__init__` -> "missing".
        others: Other packages, except those of Python's standard library.
    """

    files: Mapping[str, str]
    others: frozenset[str]


def import_closure(sources: Iterable[str], package: Path) -> Closure:
    """Follow the imports of some code through one package, and list other packages.

    Args:
        sources: Python code outside of the package; code that cannot be parsed counts
            as importing nothing.
        package: Folder of the package.
    """
    root, files, others = package.parent, dict[str, str](), set[str]()
    waiting = [_imports(source) for source in sources]
    while waiting:
        for module, name in waiting.pop():
            top = module.partition(".")[0]
            if top != package.name:
                others.add(top)
                continue
            for path in _files_of(module, name, root):
                place = path.relative_to(root)
                if place.as_posix() in files:
                    continue
                files[place.as_posix()] = MISSING
                if path.is_file():
                    content = _read(path)
                    files[place.as_posix()] = _sha256(content)
                    waiting.append(_imports(content, place.parent.parts))
    own = sys.stdlib_module_names
    return Closure(dict(sorted(files.items())), frozenset(others - own))


def code_of(function: Callable[..., object]) -> Mapping[str, str]:
    """Hash the code that a function may run: everything that its module imports.

    Files are read once in a process, which keeps running the code that it has loaded.

    Returns:
        Path of each file of this library, and of the function's own file -> SHA-256;
        name of each other package, and "python" -> version.

    Raises:
        ValueError: If the function is not defined in a file, but in a notebook for
            example.
    """
    return _code_in(Path(inspect.getfile(function)))


@cache
def _code_in(file: Path) -> Mapping[str, str]:
    if not file.is_file():
        raise ValueError(f"the function must be defined in a file; got {file.name}")
    package, file = Path(recsys_lib.__file__).resolve().parent, file.resolve()
    if file.is_relative_to(package):
        place = file.relative_to(package.parent).with_suffix("")
        own, start = dict[str, str](), f"import {'.'.join(place.parts)}"
    else:
        own, start = {file.name: _sha256(_read(file))}, file.read_text()
    reached = import_closure([start], package)
    versions = {name: _version(name) for name in sorted(reached.others)}
    return {**own, **reached.files, **versions, "python": platform.python_version()}


@cache
def _imports(
    source: str | bytes, inside: tuple[str, ...] = ()
) -> frozenset[tuple[str, str]]:
    """Modules that a source imports, each with a name imported from it or "".

    Args:
        source: Python code; running it reports a syntax error, so this does not.
        inside: Names of the enclosing packages, where relative imports start.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return frozenset()
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                found |= {(alias.name, "") for alias in aliases}
            case ast.ImportFrom(module=module, names=aliases, level=level):
                around = inside[: len(inside) - level + 1] if level else ()
                if level <= len(inside):
                    base = ".".join([*around, *([module] if module else [])])
                    found |= {(base, alias.name) for alias in aliases}
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module))],
            ):
                found.add((module, ""))
    return frozenset(found)


def _files_of(module: str, name: str, root: Path) -> Iterator[Path]:
    """Files that an import runs; a path that does not exist for a missing module."""
    place = root
    for part in module.split("."):
        place /= part
        yield from _file_of(place)
    if name == "*":  # may import any of its modules
        yield from place.glob("*.py")
        yield from place.glob("*/__init__.py")
    elif name and place.is_dir():
        submodule = list(_file_of(place / name))
        exists = all(path.is_file() for path in submodule)
        if exists or not _defines(place / "__init__.py", name):
            yield from submodule


def _file_of(place: Path) -> Iterator[Path]:
    """The file of a module or package; the path itself if there is no such file."""
    files = place / "__init__.py", place.with_name(f"{place.name}.py")
    found = next((path for path in files if path.is_file()), place)
    if found != place or not place.is_dir():  # a folder without __init__ has no file
        yield found


def _defines(file: Path, name: str) -> bool:
    """Whether a package may define a name in its `__init__`."""
    bound = {"__file__", "__name__", "__path__", "__doc__"}
    for node in ast.walk(ast.parse(_read(file) if file.is_file() else "")):
        match node:
            case ast.Name(id=found, ctx=ast.Store()):
                bound.add(found)
            case ast.FunctionDef(name=found) | ast.ClassDef(name=found):
                bound.add(found)
            case ast.alias(name=found, asname=other):
                bound.add(other or found)
    return bool(bound & {name, "*", "__getattr__"})


@cache
def _version(package: str) -> str:
    """Version of the distribution that installed a package; "" if there is none."""
    try:
        return metadata.version(package)  # the usual name; searching all takes longer
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(package, [])
        return ", ".join(f"{x} {metadata.version(x)}" for x in sorted(set(names)))


def _read(file: Path) -> bytes:
    return file.read_bytes()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
