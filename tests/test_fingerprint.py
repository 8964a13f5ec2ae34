"""Which change of which file makes which chapter run again."""

from pathlib import Path

import pytest

from book.pipeline.chapters import Chapter
from book.pipeline.running.fingerprint import Fingerprint, Inputs, fingerprint

FILES = {
    "__init__.py": "",
    "ground.py": "import os",
    "a/__init__.py": "from recsys_lib import ground",
    "a/model.py": "from .deep import helper",
    "a/lazy.py": "def f():\n    from ..b.near import x",
    "a/deep/__init__.py": "VALUE = 1",
    "a/deep/helper.py": "from ...c import alone as x",
    "a/deep/sibling.py": "",
    "b/__init__.py": "",
    "b/near.py": "import recsys_lib.b.further as x",
    "b/further.py": "",
    "c/__init__.py": "",
    "c/alone.py": "",
    "nobody.py": "from recsys_lib.a import model",
}
CELLS = {  # of each chapter, and what it reaches besides recsys_lib/__init__.py
    "import numpy": None,
    "%matplotlib inline\nimport recsys_lib": "",
    "from recsys_lib.a.deep import VALUE": "ground a a.deep",
    "import recsys_lib.a.model as m": "ground a a.model a.deep a.deep.helper c c.alone",
    "from recsys_lib.a import lazy": "ground a a.lazy b b.near b.further",
    "def f():\n    from recsys_lib.b import near": "b b.near b.further",
    "%%time\nfrom recsys_lib.c import alone": "c c.alone",
    "!ls\n%time import recsys_lib.a.deep.sibling": "ground a a.deep a.deep.sibling",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A library of packages in packages, and a chapter for each of the cells."""
    for name, content in FILES.items():
        file = tmp_path / "recsys_lib" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    for number, cell in enumerate(CELLS, start=1):
        write(tmp_path, number, cell)
    (tmp_path / "requirements.lock").write_text("numpy==1\n")
    return tmp_path


def write(project: Path, number: int, cell: str) -> Path:
    path = project / f"0{number}_chapter.md"
    path.write_text(f"# A chapter\n\n```{{code-cell}} ipython3\n{cell}\n```\n")
    return path


def fingerprints(
    project: Path, models: tuple[Path, ...] = ()
) -> dict[str, Fingerprint]:
    lock = project / "requirements.lock"
    inputs = Inputs(project / "recsys_lib", (), models, lock, "one core")
    chapters = [Chapter(path) for path in sorted(project.glob("0*.md"))]
    return {c.code[0]: fingerprint(c, {}, inputs) for c in chapters}


def reaches(cell: str, name: str) -> bool:
    """Whether a chapter reaches a file, as written above by hand."""
    module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return CELLS[cell] is not None and module in ["__init__", *CELLS[cell].split()]


@pytest.mark.parametrize("name", FILES)
def test_a_change_reaches_exactly_the_chapters_that_import_it(
    project: Path, name: str
) -> None:
    before = fingerprints(project)
    with (project / "recsys_lib" / name).open("a") as file:
        file.write("\n# changed")
    after = fingerprints(project)
    assert before.keys() == CELLS.keys()
    for cell, found in after.items():
        expected = [f"recsys_lib/{name}"] if reaches(cell, name) else []
        assert found.changes(before[cell].parts) == expected, cell


def test_a_package_that_is_added_or_missing_is_a_change(project: Path) -> None:
    cell = "from recsys_lib import absent"
    write(project, 9, cell)
    before = fingerprints(project)
    assert before[cell].parts["recsys_lib/absent"] == "missing"
    (project / "recsys_lib/absent.py").write_text("")
    after = fingerprints(project)
    changed = [c for c in after if after[c].changes(before[c].parts)]
    assert changed == [cell]
    assert "recsys_lib/absent.py" in after[cell].parts


def test_a_cell_that_is_no_python_fails_when_it_runs_and_not_before(
    project: Path,
) -> None:
    cell = "import recsys_lib.c.alone (\nx = 'import'"
    write(project, 9, cell)
    assert "recsys_lib/c/alone.py" not in fingerprints(project)[cell].parts


def test_a_model_is_its_weights_and_what_is_beside_them(project: Path) -> None:
    model = project / "model"
    (model / "1_Pooling").mkdir(parents=True)
    files = ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"]
    for name in files:
        (model / name).write_text("{}")
    before = fingerprints(project, (model,))["import numpy"]
    assert {f"model {name}" for name in files} < before.parts.keys()
    (model / "tokenizer.json").write_text('{"lowercase": true}')
    after = fingerprints(project, (model,))["import numpy"]
    assert after.changes(before.parts) == ["model tokenizer.json"]
    weights = (model / "model.safetensors",)
    alone = fingerprints(project, weights)["import numpy"]
    assert "model model.safetensors" in alone.parts
