"""One fingerprint of everything that can change a chapter's results.

Prose does not count: an edited sentence changes the page and runs no cell.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from book.pipeline.chapters import Chapter
from book.pipeline.packages import canonical, installed, pinned
from recsys_lib.artifacts import hashes_of, sha256_of
from recsys_lib.imports import import_closure


@dataclass(frozen=True)
class Inputs:
    """The inputs that all chapters share, and the hardware class.

    A model is a file, or a folder of which the files count that decide its vectors.
    """

    library: Path
    data: tuple[Path, ...]
    models: tuple[Path, ...]
    lock: Path
    hardware: str
    own: Mapping[str, str] = field(default_factory=dict)  # hashes of the reader's files

    @cached_property
    def parts(self) -> dict[str, str]:
        """Their hashes by name, computed once for all chapters."""
        parts = {"lock file": _locked_versions(self.lock), "hardware": self.hardware}
        parts |= {f"data {path.name}": _hash_file(path) for path in self.data}
        parts |= {f"your {name}": sha[:16] for name, sha in self.own.items()}
        for path in self.models:
            model = hashes_of(path) if path.is_dir() else {path.name: sha256_of(path)}
            parts |= {f"model {name}": sha[:16] for name, sha in model.items()}
        return parts


@dataclass(frozen=True)
class Fingerprint:
    """Hash of each input by name; two runs are equal if all hashes are."""

    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Hash of all inputs: sixteen hexadecimal digits, printed on the page."""
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
    parts = {"code cells": _hash("\0".join(chapter.code).encode()), **inputs.parts}
    parts |= {f"parameter {k}": repr(v) for k, v in parameters.items()}
    return Fingerprint(parts | reached_files(chapter.code, inputs.library))


def reached_files(code: Iterable[str], library: Path) -> dict[str, str]:
    """Hash the library's files that cells reach by their imports.

    Args:
        code: Sources of cells; IPython magics are allowed.
        library: Folder of the package.

    Returns:
        Hashes by path, such as "recsys_lib/a/b.py"; "missing" if there is no such file.
    """
    sources = [source for cell in code for source in python_of(cell)]
    files = import_closure(sources, library).files
    return {name: sha[:16] for name, sha in files.items()}


def python_of(cell: str) -> Iterator[str]:
    """The Python of a cell and of its strings, such as the argument of `%timeit`."""
    plain = TransformerManager().transform_cell(cell)
    yield plain
    try:
        tree = ast.parse(plain)
    except SyntaxError:  # reported when the cell runs
        return
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if "import" in text:
                yield from python_of(text)


def _locked_versions(lock: Path) -> str:
    """Hash of the locked packages with their installed versions."""
    names, there = sorted(pinned(lock.read_text())), installed()
    lines = [f"{name}=={there.get(canonical(name), 'missing')}" for name in names]
    return _hash("\n".join(lines).encode())


def _hash_file(path: Path) -> str:
    """Sixteen hexadecimal digits of a file's SHA-256."""
    return sha256_of(path)[:16]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def enumerate_inputs(names: Sequence[str], *, most: int = 6) -> str:
    """List inputs in a line; of many modules of the library, only their number.

    >>> enumerate_inputs(["lock file", "recsys_lib/a.py", "recsys_lib/b.py"], most=1)
    'lock file, 2 modules of recsys_lib'
    """
    modules = [name for name in names if name.startswith("recsys_lib/")]
    if len(modules) <= most:
        return ", ".join(names)
    others = [name for name in names if name not in modules]
    return ", ".join([*others, f"{len(modules)} modules of recsys_lib"])
