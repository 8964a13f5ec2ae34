from functools import partial
from pathlib import Path

import pytest

import recsys_lib
from book.pipeline.chapters import find_chapters
from recsys_lib import imports
from recsys_lib.embeddings.engines import choice as engine_choice
from recsys_lib.embeddings.engines import onnxruntime as onnx_engine
from recsys_lib.imports import MISSING, code_of, import_closure

LIBRARY = Path(recsys_lib.__file__).parent
FILES = {
    "__init__.py": "VERSION = 1",
    "top.py": "",
    "a/__init__.py": "def made(): ...",
    "a/near.py": "",
    "a/b/__init__.py": "from recsys_lib.top import *",
    "a/b/deep.py": "",
    "folder/plain.py": "",
    "broken.py": "def (",
}
INIT, A, B = "__init__.py", "a/__init__.py", "a/b/__init__.py"


@pytest.fixture
def package(tmp_path):
    for name, content in FILES.items():
        file = tmp_path / "recsys_lib" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return tmp_path / "recsys_lib"


@pytest.mark.parametrize(
    ("source", "reached"),
    [
        ("import recsys_lib", [INIT]),
        ("import recsys_lib.a as x", [INIT, A]),
        ("import os, recsys_lib.a.near", [INIT, A, "a/near.py"]),
        ("from recsys_lib import VERSION", [INIT]),
        ("from recsys_lib import top as x, a", [INIT, A, "top.py"]),
        ("from recsys_lib.a import made", [INIT, A]),
        ("from recsys_lib.a import (\n  made,\n  near,\n)", [INIT, A, "a/near.py"]),
        ("from recsys_lib.a.b.deep import x", [INIT, A, B, "a/b/deep.py", "top.py"]),
        ("from recsys_lib.a.b import anything", [INIT, A, B, "top.py"]),
        ("from recsys_lib.a import *", [INIT, A, B, "a/near.py", "top.py"]),
        ("def f():\n    if f:\n        import recsys_lib.top", [INIT, "top.py"]),
        ("try:\n    import recsys_lib.top\nfinally: pass", [INIT, "top.py"]),
        ("import_module('recsys_lib.top')", [INIT, "top.py"]),
        ("importlib.import_module('recsys_lib.top')", [INIT, "top.py"]),
        ("from recsys_lib.folder import plain", [INIT, "folder/plain.py"]),
        ("import recsys_lib.broken", [INIT, "broken.py"]),
        ("import recsys_library, other.recsys_lib", []),
        ("from . import top", []),
        ("'import recsys_lib'  # import recsys_lib", []),
        ("import recsys_lib (", []),
    ],
)
def test_follows_each_form_of_import(package, source, reached):
    found = import_closure([source], package).files
    assert list(found) == sorted(f"recsys_lib/{name}" for name in reached)
    assert MISSING not in found.values()


@pytest.mark.parametrize(
    ("file", "source", "reached"),
    [
        ("a/near.py", "from . import b", [B, "top.py"]),
        ("a/near.py", "from .b import deep", [B, "a/b/deep.py", "top.py"]),
        ("a/near.py", "from .b.deep import x", [B, "a/b/deep.py", "top.py"]),
        ("a/near.py", "from .. import top", ["top.py"]),
        ("a/near.py", "from ..top import x", ["top.py"]),
        ("a/near.py", "from ... import top", []),
        ("a/__init__.py", "from . import near", ["a/near.py"]),
        ("a/__init__.py", "from .. import top", ["top.py"]),
        ("a/b/deep.py", "from ..near import x\nfrom ... import top", ["top.py", B]),
    ],
)
def test_relative_imports_start_from_their_own_package(package, file, source, reached):
    (package / file).write_text(source)
    module = file.removesuffix(".py").replace("/", ".")
    found = {*import_closure([f"import recsys_lib.{module}"], package).files}
    on_the_way = {INIT, A, file} | (
        {B, "top.py", "a/near.py"} if "/b/" in file else set()
    )
    assert found == {f"recsys_lib/{name}" for name in on_the_way | {*reached}}


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("import recsys_lib.absent", ["absent"]),
        ("from recsys_lib import absent", ["absent"]),
        ("from recsys_lib.a import near, absent", ["a/absent"]),
        ("from recsys_lib.absent import x", ["absent"]),
        ("import recsys_lib.top.absent", ["top/absent"]),
        ("from recsys_lib.folder import absent", ["folder/absent"]),
    ],
)
def test_what_is_neither_module_nor_name_is_missing(package, source, missing):
    found = import_closure([source], package).files
    gone = [name for name, value in found.items() if value == MISSING]
    assert gone == [f"recsys_lib/{name}" for name in missing]


def test_circles_end_and_other_packages_are_noted(package):
    (package / "top.py").write_text(
        "import numpy.linalg\nfrom recsys_lib.a import near"
    )
    (package / "a/near.py").write_text("import json, faiss\nimport recsys_lib.top")
    found = import_closure(["import sklearn, recsys_lib.top"], package)
    assert found.others == {"numpy", "faiss", "sklearn"}
    assert len(found.files) == 4


def test_every_import_of_the_library_and_the_chapters_is_found():
    modules = sorted(LIBRARY.rglob("*.py"))
    names = [x.relative_to(LIBRARY.parent).with_suffix("").parts for x in modules]
    sources = [f"import {'.'.join(name)}" for name in names]
    for chapter in find_chapters(LIBRARY.parent / "chapters"):
        sources += chapter.code
    found = import_closure(sources, LIBRARY).files
    expected = {x.relative_to(LIBRARY.parent).as_posix() for x in modules}
    assert found.keys() == expected
    assert MISSING not in found.values()


def test_code_is_all_that_a_module_imports_with_versions():
    found = code_of(onnx_engine.load_onnx_network)
    assert {
        "recsys_lib/__init__.py",
        "recsys_lib/embeddings/engines/onnxruntime.py",
    } < found.keys()
    assert "recsys_lib/embeddings/engines/onnx_bert.py" in found, (
        "it is imported in a function"
    )
    assert "recsys_lib/embeddings/engines/openvino_convert.py" not in found
    assert found["onnxruntime"] == onnx_engine.onnxruntime.__version__
    assert {"torch", "python"} < found.keys()
    assert not {"openvino", "recsys_lib", "pathlib"} & found.keys()
    assert found.items() < code_of(engine_choice.fastest).items()


def test_the_file_of_a_function_outside_counts_too(tmp_path):
    def code_in(source):
        file = tmp_path / "script.py"
        file.write_text(source)
        namespace = {}
        exec(compile(source, file, "exec"), namespace)
        imports._code_in.cache_clear()
        return code_of(namespace["make"])

    first = code_in("from recsys_lib.data import titles\ndef make(): pass")
    assert {"script.py", "recsys_lib/data/titles.py"} < first.keys()
    second = code_in("from recsys_lib.data import titles\ndef make(): return 1")
    assert {name for name in first if first[name] != second[name]} == {"script.py"}


def test_versions_are_of_the_distribution_whatever_its_name():
    assert "scikit-learn 1." in imports._version("sklearn")
    assert imports._version("no_such_package") == ""


def test_only_functions_of_files_have_code():
    with pytest.raises(TypeError, match="was expected, got partial"):
        code_of(partial(print))
