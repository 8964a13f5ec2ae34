"""One fingerprint of everything that can change a chapter's results.

Prose is left out on purpose: an edited sentence re-renders the page and runs no cell.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from book.pipeline.chapters import Chapter
from recsys_lib.kept import sha256_of


@dataclass(frozen=True)
class Inputs:
    """What the chapters share: where the library, data, models and lock are."""

    library: Path
    data: tuple[Path, ...]
    models: tuple[Path, ...]
    lock: Path
    hardware: str
    own: Mapping[str, str] = field(default_factory=dict)  # hashes of the reader's files


@dataclass(frozen=True)
class Fingerprint:
    """Hash of each input by name; two runs are the same when all of them are."""

    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits, printed on the page."""
        return _hash(json.dumps(self.parts, sort_keys=True).encode())

    def changes(self, older: Mapping[str, str]) -> list[str]:
        """Names of the inputs that differ from an older fingerprint's parts."""
        names = sorted({*self.parts, *older})
        return [n for n in names if self.parts.get(n) != older.get(n)]


def fingerprint(
    chapter: Chapter, parameters: Mapping[str, object], inputs: Inputs
) -> Fingerprint:
    """Fingerprint a chapter: code, parameters, reached modules, data, models, lock.

    Args:
        chapter: Its code cells count; its prose, captions and tags do not.
        parameters: What papermill will inject.
        inputs: The shared files and the hardware class.

    Returns:
        One hash for each named input.
    """
    parts = {
        "code cells": _hash("\0".join(chapter.code).encode()),
        "lock file": _locked_versions(inputs.lock),
        "hardware": inputs.hardware,
    }
    parts |= {f"parameter {k}": repr(v) for k, v in parameters.items()}
    reached = reached_modules(chapter.code, inputs.library)
    parts |= {f"recsys_lib/{path.name}": hash_file(path) for path in reached}
    parts |= {f"data {path.name}": hash_file(path) for path in inputs.data}
    parts |= {f"your data {name}": sha[:16] for name, sha in inputs.own.items()}
    parts |= {f"model {path.name}": hash_file(path) for path in inputs.models}
    return Fingerprint(parts)


def reached_modules(code: Iterable[str], library: Path) -> list[Path]:
    """List the library's files that code imports, followed from module to module.

    Args:
        code: Sources of cells; IPython magics are allowed.
        library: Folder of the flat package.

    Returns:
        Paths in alphabetical order, `__init__.py` included once anything is reached.
    """
    plain = TransformerManager().transform_cell
    waiting = [name for cell in code for name in _imports(plain(cell), library)]
    reached: set[Path] = set()
    while waiting:
        path = library / f"{waiting.pop()}.py"
        if path not in reached:
            reached.add(path)
            waiting += _imports(path.read_text(), library)
    return sorted(reached)


def _imports(source: str, library: Path) -> set[str]:
    """Names of the library's modules that one source imports, at any depth."""
    package, found = library.name, set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    parts = [name.split(".") for name in found]
    inside = {(*p, "__init__")[1] for p in parts if p[0] == package}
    modules = {name for name in inside if (library / f"{name}.py").exists()}
    return modules | ({"__init__"} if inside else set())


def _locked_versions(lock: Path) -> str:
    """Hash of the locked packages at the versions that are really installed."""
    names = re.findall(r"^([\w.-]+)==", lock.read_text(), re.MULTILINE)
    installed = {
        _canonical(d.metadata["Name"]): d.version for d in metadata.distributions()
    }
    lines = [f"{n}=={installed.get(_canonical(n), 'missing')}" for n in sorted(names)]
    return _hash("\n".join(lines).encode())


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def hash_file(path: Path) -> str:
    """Sixteen hexadecimal digits of a file's SHA-256."""
    return sha256_of(path)[:16]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
