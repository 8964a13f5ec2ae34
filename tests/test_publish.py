"""`make publish`: every form of the book, from one executed result."""

import json
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import papermill
import pytest
from conftest import CHROMIUM
from nbformat.v4 import new_code_cell
from test_pipeline import project  # noqa: F401 (a fixture)

from book.pipeline.__main__ import main
from book.pipeline.chapters import BookError
from book.pipeline.language.catalogues import CHINESE
from book.pipeline.language.fonts import has_chinese_font
from book.pipeline.printing.notebooks import sources_of, start_source
from book.pipeline.printing.offers import offers
from book.pipeline.printing.plain_markdown import Names, plain
from book.pipeline.results import Results
from recsys_lib.data.carried import SHA256

ROOT = Path(__file__).resolve().parents[1]
A = {"value": 2.0, "low": 1.5, "high": 2.5, "n": 3, "unit": "ms"}
NAMES = Names(
    Results({"ch4": {"a": A}}),
    figures={"fig-a": "Fig. 7"},
    sources={"wang2020": "[Wang et al., 2020](https://x.org)", "li": "(Li, 1961)"},
    places={"sec-1-1": "01_overview.ipynb#1.1-Speed"},
    headings={"sec-1-1": "1.1 Speed"},
)
needs_pdf = pytest.mark.skipif(
    not (find_spec("pypdf") and CHROMIUM), reason="make publish installs pypdf"
)


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        ("{record}`ch4.a:.1f` ms", "2.0 ms"),
        ("{interval}`ch4.a:.1f`", "2.0 [1.5, 2.5]"),
        ("{given}`5` of {term}`words <word>`", "5 of words"),
        ("{numref}`fig-a`; {numref}`figure %s <fig-a>`", "Fig. 7; figure 7"),
        ("{cite}`wang2020, li`", "[Wang et al., 2020](https://x.org); (Li, 1961)"),
        ("[there](sec-1-1)", "[there](01_overview.ipynb#1.1-Speed)"),
        ("[](sec-1-1)", "[1.1 Speed](01_overview.ipynb#1.1-Speed)"),
        ("[all](../provenance.md)", "all"),
        ("{download}`it <../results/ch4.json>`", "[it](results/ch4.json)"),
        ("(sec-1-1)=\n## 1.1 Speed", "## 1.1 Speed"),
        ("`{record}` and [a](b) in `[c](d)`", "`{record}` and a in `[c](d)`"),
        ("```python\n:::{x}\n(a)=\n```", "```python\n:::{x}\n(a)=\n```"),
        (
            ":::{admonition} The {given}`1`\n:class: note\nOne.\n\nTwo.\n:::\nAfter.",
            "> **The 1**\n>\n> One.\n>\n> Two.\nAfter.",
        ),
        (
            "::::{note}\n:::{dropdown} More\nIn.\n:::\n::::",
            "> **Note**\n>\n> > **More**\n> >\n> > In.",
        ),
        (":::{admonition} A\nRun\n: 3 s\n:::", "> **A**\n>\n> **Run**: 3 s"),
        ("$$\nx\n$$ (eq-x)", "$$\nx\n$$"),
        (
            "::::{grid} 2\n:::{grid-item}\nA.\n:::\n:::{grid-item}\nB.\n:::\n::::",
            "A.\n\nB.\n\n",
        ),
    ],
)
def test_myst_becomes_plain_markdown(myst: str, markdown: str) -> None:
    assert plain(myst, NAMES) == markdown


@pytest.mark.parametrize(
    ("myst", "message"),
    [
        ("{margin}`x`", "the role margin has no equivalent"),
        (":::{figure} a.png\n:::", "the directive figure has no equivalent"),
        ("{cite}`nobody`", "no source 'nobody'"),
        ("{record}`ch4.b`", "no record 'ch4.b'"),
    ],
)
def test_what_has_no_equivalent_is_refused(myst: str, message: str) -> None:
    with pytest.raises(BookError, match=message):
        plain(myst, NAMES)


def test_every_source_has_authors_and_a_year() -> None:
    sources = sources_of(ROOT / "book/references.bib")
    assert len(sources) > 50
    named = [x for x in sources.values() if re.search(r"[A-Z].*, \d{4}[\])]", x)]
    assert len(named) > 0.9 * len(sources)


def test_a_page_offers_only_what_leads_somewhere() -> None:
    alone = offers("chapters/05_practice", "5. Practice", "")
    assert re.findall('href="([^"]*)"', alone) == ["../notebooks/05_practice.ipynb"]
    assert "href" not in offers("ledger", "B. The ledger", "")
    page = offers(
        "chapters/05_practice", "5. <em>Practice</em>", "https://github.com/o/r"
    )
    assert re.findall('href="([^"]*)"', page)[1:] == [
        "https://github.com/o/r/blob/main/chapters/05_practice.md",
        "https://colab.research.google.com/github/o/r/blob/gh-pages/notebooks/"
        "05_practice.ipynb",
        "https://mybinder.org/v2/gh/o/r/main?urlpath="
        "lab%2Ftree%2Fchapters%2F05_practice.md",
        "https://github.com/o/r/issues/new?template=fault.yml&amp;title=5.%20Practice",
    ]
    elsewhere = offers("intro", "A book", "https://git.example.org/r")
    assert "colab" not in elsewhere
    assert 'href="https://git.example.org/r/issues"' in elsewhere


def test_all_forms_are_of_one_result(
    project: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (project / name).write_text((ROOT / name).read_text())
    monkeypatch.setenv("REPOSITORY", "https://github.com/o/r/")
    formats = "html epub notebooks"
    command = ["publish", "--profile", "smoke", "--device", "cpu"]
    assert main([*command, "--formats", formats]) == 0, capfd.readouterr().err
    shown = capfd.readouterr().out
    assert "publish 1 of 6: book.epub" in shown
    assert "the pages have not changed" not in shown
    assert main([*command, "--formats", formats]) == 0
    again = capfd.readouterr().out
    assert again.count("the pages have not changed since it was made") == 2
    folder = project / "_build/publish"
    made = json.loads((folder / "published.json").read_text())
    files = {"book.epub", "book-zh.epub", "notebooks.zip", "notebooks-zh.zip"}
    assert set(made["files"]) >= files

    page = (folder / "html/chapters/01_small.html").read_text()
    assert '<a href="../notebooks.zip">All notebooks</a>' in page
    assert "book.pdf" not in page
    assert "colab.research.google.com/github/o/r/" in page
    for href in re.findall(r'<nav class="offers.*</nav>', page)[0].split('href="')[1:]:
        target = href.partition('"')[0]
        assert (
            target.startswith("https:") or (folder / "html/chapters" / target).exists()
        ), target

    chinese = (folder / "html/zh/chapters/01_small.html").read_text()
    assert '<a href="../notebooks-zh.zip">' in chinese
    assert "o/r/blob/gh-pages/zh/notebooks/01_small.ipynb" in chinese
    assert "notebooks.zip" not in chinese
    with zipfile.ZipFile(folder / "book-zh.epub") as epub:
        opf = epub.read("content.opf").decode()
        assert f"{made['fingerprint']}:zh" in opf
        assert "<dc:language>zh-CN</dc:language>" in opf

    with zipfile.ZipFile(folder / "book.epub") as epub:
        names = epub.namelist()
        assert names[0] == "mimetype"
        assert made["fingerprint"] in epub.read("content.opf").decode()
        pages = [name for name in names if name.endswith(".xhtml")]
        for name in pages:
            ElementTree.fromstring(epub.read(name))
        text = epub.read("chapters/01_small.xhtml").decode()
        assert "2.50" in text
        assert "<script" not in text
        assert "01_small.xhtml" in epub.read("nav.xhtml").decode()

    with zipfile.ZipFile(folder / "notebooks.zip") as archive:
        assert (
            f"`{made['fingerprint']}`" in archive.read(archive.namelist()[0]).decode()
        )
        archive.extractall(project / "clean")
    run_from_zip(next((project / "clean").iterdir()), monkeypatch)


def run_from_zip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the notebook where the book's library seems not to be installed."""
    notebook = nbformat.read(folder / "01_small.ipynb", 4)
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert "The mean is 2.50 ms, its spread 2.0 [1.0, 3.0]." in text
    assert "**Fig. 1.** The line rises." in text
    assert "{record}" not in text
    assert ":::" not in text
    parameters = next(
        c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])
    )
    assert 'profile = "smoke"' in parameters.source
    data = folder / "recsys-book/data"
    data.mkdir(parents=True)
    for name in SHA256:
        (data / name).touch()
    # The first cell then uses this environment, as a stranger would one that it made.
    monkeypatch.setenv("RECSYS_BOOK_PYTHON", sys.executable)
    hidden = "import importlib.util\nimportlib.util.find_spec = lambda name: None"
    notebook.cells.insert(0, new_code_cell(hidden))
    notebook.cells.append(new_code_cell("import os\nprint(os.environ['RECSYS_DATA'])"))
    notebook.cells.append(new_code_cell("get_ipython().run_line_magic('pwd', '')"))
    done = papermill.execute_notebook(
        notebook, None, cwd=folder, progress_bar=False, kernel_name="python3"
    )
    assert "environment of their own" in str(done.cells[2].outputs)
    assert str(data) in str(done.cells[-2].outputs)
    outputs = [o for c in done.cells for o in c.get("outputs", [])]
    kinds = {kind for o in outputs for kind in o.get("data", {})}
    assert {"image/svg+xml", "application/vnd.recsys-lib.record+json"} <= kinds
    failing = nbformat.from_dict(notebook)
    failing.cells = [*notebook.cells[:3], new_code_cell("1 / 0")]
    with pytest.raises(papermill.PapermillExecutionError, match="division by zero"):
        papermill.execute_notebook(
            failing, None, cwd=folder, progress_bar=False, kernel_name="python3"
        )


def test_plain_sphinx_builds_the_staged_book(project: Path) -> None:  # noqa: F811
    """The way out of Jupyter Book 1, as JUPYTER_BOOK_2.md describes it."""
    assert main(["build", "--profile", "smoke", "--device", "cpu"]) == 0
    book = "from jupyter_book.cli.main import main; main()"
    sphinx = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html"]
    for edition, tag in (("stage", "en"), ("stage-zh", "zh-CN")):
        staged, out = project / "_build" / edition, project / "out" / edition
        command = [sys.executable, "-c", book, "config", "sphinx", str(staged)]
        subprocess.run(command, check=True, capture_output=True)
        command = [*sphinx, str(staged), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        page = (out / "chapters/01_small.html").read_text()
        assert f'lang="{tag}"' in page[:400]
        assert "2.0 [1.0, 3.0]" in page
        assert "The line rises." in page


def test_the_first_cell_is_python_that_names_this_version() -> None:
    source = start_source(ROOT, "https://github.com/o/r/releases/download/v1")
    compile(source, "start", "exec")
    assert source.startswith("# First cell of a published notebook")
    assert "RELEASE = '0.1.0', 'https://github.com/o/r/releases" in source
    assert all(sha in source for sha in SHA256.values())


@needs_pdf
def test_the_pdf_has_contents_and_page_numbers(tmp_path: Path) -> None:
    from pypdf import PdfReader

    from book.pipeline.printing.paper import starts, write_pdf

    long = "x = " + " + ".join(f"value_{n}" for n in range(60))
    (tmp_path / "all.html").write_text(f"""<article class="bd-article">
<section><h1>Title</h1><span id="document-one"></span><h2>1. One</h2><p>first
大模型 马长</p>
<details class="above-input"><summary>Show the code</summary><p>folded</p></details>
<details><summary>Numbers</summary><p>unfolded</p></details><pre>{long}</pre>
<span id="document-two"></span><h2>2. Two</h2><p>second</p></section></article>""")
    pdf = tmp_path / "book.pdf"
    n = write_pdf(tmp_path / "all.html", pdf, title="A book", about=["Edition 1"])
    texts = [page.extract_text() for page in PdfReader(pdf).pages]
    assert n == len(texts)
    begin = dict(starts(pdf))
    whole = "\n".join(texts)
    assert "A book" in texts[0]
    assert re.search(rf"1\. One\s*{begin['1. One']}\n", texts[1])
    assert begin["2. Two"] == begin["1. One"] + 1
    assert texts[-1].rstrip().endswith(str(n))
    if has_chinese_font():
        assert re.search(r"大模型\s+马长", whole)  # no radicals that look alike
    assert "unfolded" in whole
    assert "folded\n" not in whole.replace("unfolded", "")
    assert "value_59" in whole.replace("\n", "")


def test_without_a_chinese_font_the_chinese_pdf_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from book.pipeline.printing import publish

    (tmp_path / "results").mkdir()
    (tmp_path / "results/run.json").write_text('{"fingerprints": {}}')
    monkeypatch.setattr(publish, "has_chinese_font", lambda: False)
    press = publish._Press(ROOT, tmp_path, tmp_path, 1)
    file = tmp_path / "book-zh.pdf"
    press.pdf(publish.Edition(CHINESE, "zh", tmp_path), file)
    assert not file.exists()
    assert (
        "left out, for there is no Chinese font here: apt install fonts-noto-cjk"
        in (capsys.readouterr().out)
    )


def test_without_chromium_the_pdf_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pypdf")
    from book.pipeline.printing import paper

    monkeypatch.setattr(paper.shutil, "which", lambda _: None)
    with pytest.raises(BookError, match=r'apt install chromium, .*FORMATS="html epub'):
        paper.find_chromium()
