"""The library's pages: what they hold, and that the chapters' code leads to them."""

import re
from pathlib import Path

import pytest

from book.pipeline.chapters import find_chapters
from book.pipeline.printing.code_links import imported_names, link_names
from book.pipeline.printing.library import library_pages

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = {
    "__init__.py": '"""A small library."""',
    "ground.py": 'SIZE = 3\nTABLE = {"a": "%s"}\n_HIDDEN = 1\n' % ("x" * 80),
    "shapes/__init__.py": '"""Shapes and their areas."""',
    "shapes/round.py": '''
"""Round ones."""
from dataclasses import dataclass
from recsys_lib import ground
from recsys_lib.ground import SIZE

@dataclass(frozen=True)
class Circle:
    """A circle.

    Attributes:
        radius: In metres.
    """

    radius: float

    @property
    def width(self) -> float:
        """Twice the radius."""

    async def roll(self, *, far: int = 1) -> "Circle":
        """Roll it.

        Yields:
            Two: at a time.
        """

    def _hidden(self): ...

def area(circle: Circle, *others: Circle) -> float:
    """Area of a circle.

    Args:
        circle: Any
            of them.
        *others: More.

    Returns:
        Square metres: no less than 0.

    Raises:
        ValueError: If it has none.

    Source: Euclid,
    book 12.

    >>> area(Circle(0))
    0.0

    The end.
    """
''',
    "shapes/deep/__init__.py": '"""Deeper."""',
    "shapes/deep/square.py": 'class Failed(ValueError):\n    """It did."""',
}


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    for name, source in LIBRARY.items():
        path = tmp_path / "recsys_lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return library_pages(tmp_path / "recsys_lib")


def test_there_is_a_page_for_each_package_and_one_for_the_ground(pages: Path) -> None:
    assert {p.name for p in pages.glob("*.md")} == {"ground.md", "shapes.md"}
    text = (pages / "ground.md").read_text()
    assert text.startswith("# ground\n\n:::{py:module} recsys_lib\n:::\n\nA small libr")
    assert '{py:data} SIZE\n:value: "3"\n' in text
    assert "{py:data} TABLE\n\n" in text, "a long value is left out"
    assert "_HIDDEN" not in text
    text = (pages / "shapes.md").read_text()
    assert "Shapes and their areas." in text
    assert re.findall("^## (.*)", text, re.M) == ["deep", "deep.square", "round"]


def test_signatures_link_to_types_and_docstrings_become_lists(pages: Path) -> None:
    text = (pages / "shapes.md").read_text()
    path = "recsys_lib.shapes.round.Circle"
    assert f"{{py:function}} area(circle: {path}, *others: {path}) -> float" in text
    assert "{py:class} Circle(radius: float)" in text
    assert f"{{py:method}} roll(*, far: int = 1) -> {path}\n:async:\n" in text
    assert '{py:property} width\n:type: "float"' in text
    assert "{py:class} Failed\n\nIt did." in text
    assert "Attributes\n: - `radius`: In metres." in text
    assert "Args\n: - `circle`: Any\n    of them.\n  - `*others`: More." in text
    assert "Returns\n: Square metres: no less than 0.\n\nRaises" in text
    assert "Yields\n: Two: at a time." in text
    assert "Raises\n: - `ValueError`: If it has none." in text
    assert "Source\n: Euclid,\n  book 12." in text
    assert "```pycon\n>>> area(Circle(0))\n0.0\n```\n\nThe end." in text
    assert "hidden" not in text


def test_they_are_made_again_only_if_a_source_changed(
    pages: Path, tmp_path: Path
) -> None:
    library = tmp_path / "recsys_lib"
    assert library_pages(library) == pages
    (library / "shapes/round.py").write_text('"""Rounder ones."""')
    assert "Rounder ones." in (library_pages(library) / "shapes.md").read_text()


def test_what_a_chapter_imports_is_on_a_page_and_arguments_are_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """griffe warns of an argument that a docstring names and the function lacks."""
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path))
    found = set()
    for page in library_pages(ROOT / "recsys_lib").glob("*.md"):
        text, module = page.read_text(), ""
        for kind, name in re.findall(r"^:+\{py:(\w+)\} ([\w.]+)", text, re.M):
            module = name if kind == "module" else module
            found.add(module if kind == "module" else f"{module}.{name}")
    for chapter in find_chapters(ROOT / "chapters"):
        names = imported_names(chapter.code)
        assert names
        assert set(names.values()) <= found, chapter.stem
    assert not caplog.messages


def span(kind: str, text: str) -> str:
    return f'<span class="{kind}">{text}</span>'


DOT = span("o", ".")
PATHS = {"plots": "recsys_lib.plots", "auc": "recsys_lib.metrics.auc"}
TARGETS = {"recsys_lib.plots": "g#p", "recsys_lib.plots.show": "g#s"} | {
    "recsys_lib.metrics.auc": "m#auc"
}


@pytest.mark.parametrize(
    ("code", "linked"),
    [
        (span("nn", "recsys_lib.plots"), ["g#p"]),
        (span("nn", "recsys_lib.unknown"), []),
        (span("n", "auc") + span("p", "("), ["m#auc"]),
        (
            span("n", "plots") + DOT + span("n", "show") + DOT + span("n", "auc"),
            ["g#s"],
        ),
        (span("n", "plots") + DOT + span("n", "other"), ["g#p"]),
        (span("n", "x") + DOT + span("n", "auc"), []),
        (span("n", "auc") + span("o", "=") + span("mi", "1"), []),
        (span("n", "auc") + span("o", "==") + span("mi", "1"), ["m#auc"]),
        (span("n", "recall"), []),
    ],
)
def test_names_in_code_are_links(code: str, linked: list[str]) -> None:
    html = link_names(code, PATHS, TARGETS)
    assert re.findall('href="([^"]*)"', html) == linked
    assert re.sub("</?a[^>]*>", "", html) == code
