"""A chapter that reads the records of the others runs after them, and when they change.

Its parameters cell declares `results`, the folder that the press gives it.
"""

import json
from pathlib import Path

import pytest

from book.pipeline.chapters import BookError, find_chapters
from book.pipeline.running.runs import run_chapters

ROOT = Path(__file__).resolve().parents[1]
SMOKE = {"profile": "smoke", "device": "cpu", "seed": 0}
HEAD = """\
---
kernelspec:
  name: python3
  display_name: Python 3
---

# A chapter

```{code-cell} ipython3
:tags: [parameters]

profile = "standard"
device = "cpu"
seed = 1
"""
MAKER = """\
```

```{code-cell} ipython3
from recsys_lib.records import record

record("ms", 2.5, unit="ms")
```
"""
READER = """\
results = ""
```

```{code-cell} ipython3
import json
from pathlib import Path

from recsys_lib.records import record

found = {p.stem: json.loads(p.read_text()) for p in Path(results).glob("ch*.json")}
record("doubled", 2 * found["ch2"]["ms"]["value"])
record("chapters", len(found))
```
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two chapters that measure and, first in reading order, one that reads both."""
    (tmp_path / "chapters").mkdir()
    (tmp_path / "data").mkdir()
    for name in ("recsys_lib", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "chapters/01_reader.md").write_text(HEAD + READER)
    for name in ("02_maker", "03_maker"):
        (tmp_path / f"chapters/{name}.md").write_text(HEAD + MAKER)
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def run(project: Path, *numbers: str) -> dict[str, dict[str, float]]:
    """Values of the records of the chapters run, by stem, in the order given back."""
    every = find_chapters(project / "chapters")
    chosen = [c for c in every if not numbers or c.number in numbers]
    runs = run_chapters(chosen, SMOKE, project)
    return {c.stem: {n: r["value"] for n, r in runs[c].records.items()} for c in runs}


def test_it_runs_last_and_again_when_the_records_change(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BookError, match=r'of 02, 03: run CHAPTERS="02 03 01"'):
        run(project, "01")
    values = run(project)
    assert list(values) == ["01_reader", "02_maker", "03_maker"], "in reading order"
    assert values["01_reader"] == {"doubled": 5, "chapters": 2}
    said = capfd.readouterr().out
    assert said.index("03_maker: done") < said.index("01_reader: first run")

    assert run(project)["01_reader"]["doubled"] == 5
    assert capfd.readouterr().out.count("unchanged") == 3

    maker = project / "chapters/02_maker.md"
    maker.write_text(maker.read_text().replace("2.5", "3.5"))
    assert run(project, "01")["01_reader"]["doubled"] == 5, "the stored run is read"
    assert run(project)["01_reader"]["doubled"] == 7
    assert "01_reader: changed: data ch2.json" in capfd.readouterr().out


def test_the_folder_holds_the_records_alone(project: Path) -> None:
    run(project)
    folder = project / "_build/runs/smoke-cpu/records"
    assert {p.name for p in folder.glob("ch*.json")} == {"ch2.json", "ch3.json"}
    assert json.loads((folder / "ch3.json").read_text())["ms"]["unit"] == "ms"
