"""The Chinese edition: what is translated, what is checked, and what the pages show."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser
from test_book import in_browser

from book.pipeline.language.catalogues import CHINESE, marked, say, speaking, translated
from book.pipeline.language.labels import (
    label_of,
    labels_in,
    translated_drawing,
    translated_lines,
    translated_table,
    width_em,
)
from book.pipeline.language.terms import terms, with_chinese_first, without_chinese
from book.pipeline.language.units import units
from book.pipeline.translating import update
from book.pipeline.translating.checks import faults, placeholders
from book.pipeline.translating.sources import messages
from book.pipeline.translating.update import check, count

ROOT = Path(__file__).resolve().parents[1]
BASE = {"item": "物品", "recall": "召回率", "AUC": "ROC 曲线下面积"}
_WORD = r"[A-Za-z][a-z'’-]*"
_SENTENCE = re.compile(rf"{_WORD}(?:[,;:]? {_WORD}){{4,}}")
_COMMON = {
    *re.findall(r"\w+", "the of is are and to in with that for a an it its be by on")
}


def english_sentences(html: str) -> Iterator[str]:
    """Runs of five English words or more, outside of code, names and citations."""
    page = BeautifulSoup(html, "html.parser")
    for node in page(["pre", "code", "script", "style", "svg", "math", "noscript"]):
        node.decompose()
    for node in page.select(".citation, .docutils.citation-list, kbd, template, title"):
        node.decompose()
    for node in page.select("span.english"):  # marked: its translation is to come
        node.decompose()
    for name in page("em"):  # the title of a work
        if name.get_text().isascii():
            name.decompose()
    shown = re.sub(r"[“《][\x00-\x7f]+[”》]", "", page.get_text("\n"))  # titles
    for text in shown.splitlines():
        for hit in _SENTENCE.finditer(text):
            if _COMMON & {*hit[0].lower().split()}:
                yield hit[0]


def test_units_are_the_prose_of_a_page_and_nothing_else() -> None:
    page = """\
(sec-1)=
# 1. A title

A paragraph with {record}`ch1.n:.0f` items
on two lines.

:::{admonition} The question
:class: important
Its body.
:::

| model | quality |
|---|---|
| EASE | {interval}`ch1.x:.2f` |

$$
x = y
$$

```{code-cell} ipython3
x = "no prose"
```

```{figure} one.svg
:alt: What it shows.
:name: fig-one

The caption.
```

- an item
  of two lines

Term
: its definition

<div>
No Markdown
</div>
"""
    found = [unit.text for unit in units(page)]
    assert found == [
        "1. A title",
        "A paragraph with {record}`ch1.n:.0f` items on two lines.",
        "The question",
        "Its body.",
        "model",
        "quality",
        "EASE",
        "What it shows.",
        "The caption.",
        "an item of two lines",
        "Term",
        "its definition",
    ]


def test_a_text_without_translation_stays_english_with_a_mark() -> None:
    with speaking(CHINESE):
        page = translated("# No such title\n\nNobody translated this.\n", "intro")
    sentence = marked("Nobody translated this.")
    assert page == f"# {marked('No such title')}\n\n{sentence}\n"
    assert 'lang="en"' in sentence


def test_the_press_writes_in_the_language_in_use() -> None:
    assert say("{n} stand", n=3) == "3 stand"
    with speaking(CHINESE):
        assert say("{n} stand", n=3) == "3 条站得住"
    assert say("{n} stand", n=3) == "3 stand"


@pytest.mark.parametrize(
    ("english", "chinese", "fault"),
    [
        ("{record}`ch1.n` ms", "毫秒", "{record}`ch1.n` is missing"),
        ("{record}`ch1.n` ms", "{record}`ch1.m` 毫秒", "{record}`ch1.m` is not"),
        ("see [1.1](sec-1-1)", "见 [1.1](sec-1-2)", "](sec-1-1) is missing"),
        ("as {cite}`a2020` says", "如其所说", "{cite}`a2020` is missing"),
        ("run `make book`", "运行 `make books`", "`make book` is missing"),
        ("it is $x = 1$", "它是 $x = 2$", "$x = 1$ is missing"),
        ("{term}`Items <item>` are", "{term}`产品 <item>` 是", "{term} shows '产品'"),
        ("an item is read", "读一个产品", "the term 'item' is '物品'"),
        ("a model", "一个model", "spacing at '一个model'"),
        ("{record}`ch1.n` ms", "{record}`ch1.n`毫秒", "spacing at"),
        ("slow, but good", "慢,但是好", "half-width punctuation at"),
        ("it is good.", "很好.", "half-width punctuation at"),
        ("**Good.** And", "**很好。**而且", "emphasis does not close"),
        ("good", "fine", "no Chinese in it"),
    ],
)
def test_a_fault_of_a_translation_is_named(
    english: str, chinese: str, fault: str
) -> None:
    assert any(fault in x for x in faults(english, chinese, BASE)), [
        *faults(english, chinese, BASE)
    ]


def test_a_good_translation_has_no_fault() -> None:
    english = "The *recall* of {record}`ch1.n:.0f` items is high {cite}`a2020`, **see**"
    chinese = "{record}`ch1.n:.0f` 个物品的*召回率*很高 {cite}`a2020`，**见**"
    assert [*faults(english, chinese, BASE)] == []
    assert [
        *faults("The recall of it", "它记得", BASE, excused=frozenset({"recall"}))
    ] == []
    assert [*faults("The AUC of it", "它的 AUC", BASE)] == []


def test_placeholders_are_counted() -> None:
    assert placeholders("{record}`ch1.n` and {record}`ch1.n`")["{record}`ch1.n`"] == 2


def test_the_glossary_has_both_terms_on_the_chinese_page() -> None:
    source = (ROOT / "book/glossary.md").read_text()
    base = terms(source)
    assert len(base) == source.count("\n  (")
    assert len({*base.values()}) == len(base)  # one Chinese term, one meaning
    page = with_chinese_first(source)
    assert all(f"\n{chinese}\n{term}\n  " in page for term, chinese in base.items())
    assert "消融实验" not in without_chinese(source)


SVG = """\
<svg><g id="text_1">
 <text style="font-size: 9px; text-anchor: end" x="9" y="9">{}</text>
</g></svg>"""
LINES = """\
<svg><g id="text_1">
 <text style="font-size: 9px" transform="translate(10 70)">language model +</text>
 <text style="font-size: 9px" transform="translate(10 81)">popularity</text>
</g></svg>"""


def test_labels_of_a_drawing_are_replaced_where_they_stand() -> None:
    assert [*labels_in(SVG.format("history of 10"))] == ["history of 10"]
    assert label_of("history of 10") == "history of {n}"
    with speaking(CHINESE):
        single = translated_drawing(SVG.format("history of 10"))
        block = translated_drawing(LINES)
    assert 'x="9" y="9">历史长 10</text>' in single
    assert "text-anchor: start" in block
    assert re.findall(r">([^<>]+)</text>", block) == ["语言模型 + 流行度"]
    assert "translate(10.000000 75.500000)" in block  # between the two lines
    assert translated_drawing(LINES) == LINES
    assert width_em("向量") == 2


TABLE = """\
<table><tr><th></th><th>quality</th><th>gain_low</th><th>setting</th></tr>
<tr><th>EASE</th><td>{}</td><td>0.12 [0.1, 0.2]</td><td>{}</td></tr></table>"""
LINE = "p99 within {} ms: not reachable, nearest: int8 model + flat: p99 7.5 ms, 9 MB\n"


@pytest.mark.parametrize(
    ("cells", "labels", "chinese"),
    [
        (("no worse", "True"), ["no worse", "True"], ["不劣", "是"]),
        (
            ("image + text", "penalty, decay in seconds"),
            ["image", "text", "penalty", "decay in seconds"],
            ["图像 + 文本", "惩罚系数，衰减秒数"],
        ),
        (
            ("int8 model", "2/3 of the layers"),
            ["int8 model"],
            ["int8 模型", "2/3 的层"],
        ),
        (("AMD EPYC (avx2)", "query: | passage:"), [], []),
        (("2.13.0+cpu", "NaN"), [], []),
        (("nobody translated this", "text, or not so"), None, []),
    ],
)
def test_words_in_the_cells_of_a_table_are_labels_and_names_stay(
    cells: tuple[str, str], labels: list[str] | None, chinese: list[str]
) -> None:
    table = TABLE.format(*cells)
    heads = ["quality", "gain", "low", "setting", "EASE"]
    if labels is not None:
        assert [*labels_in(table)] == heads + labels
    with speaking(CHINESE):
        shown = translated_table(table)
    assert "<th>EASE</th>" in shown
    assert ">质量<" in shown
    assert ">增益，下限<" in shown
    assert ">0.12 [0.1, 0.2]<" in shown
    assert all(f"<td>{text}</td>" in shown for text in chinese or cells)
    assert translated_table(table) == table


def test_a_printed_line_is_put_together_from_its_parts() -> None:
    with speaking(CHINESE):
        shown = translated_lines(LINE.format(5) + "load: as printed\n")
    assert shown == (
        "p99 不超过 5 毫秒：达不到，最接近：int8 模型 + 精确：p99 7.5 毫秒，9 MB\n"
        "load: as printed\n"
    )
    assert translated_lines(LINE) == LINE


def test_every_translation_keeps_what_it_must() -> None:
    assert check(ROOT) == []


def test_a_changed_paragraph_makes_its_translation_a_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = "This sentence was translated before it changed."
    new = "This sentence was translated before it was changed."
    monkeypatch.setattr(update, "messages", lambda _root: {"page": {old: ["page.md"]}})
    update.update(tmp_path, {})
    path = tmp_path / "book/locale/zh_CN/page.po"
    empty = f'msgid "{old}"\nmsgstr ""'
    text = path.read_text()
    assert empty in text
    path.write_text(text.replace(empty, f'msgid "{old}"\nmsgstr "译文"'))
    monkeypatch.setattr(update, "messages", lambda _root: {"page": {new: ["page.md"]}})
    update.update(tmp_path, {})
    made = path.read_text()
    assert old in made  # the translator sees what it was made of
    assert "fuzzy" in made
    assert f'msgid "{new}"\nmsgstr "译文"' in made


def test_the_pages_that_are_translated_stay_so() -> None:
    counted = count(ROOT)
    assert {*counted} >= {*messages(ROOT)}
    for name in ("intro", "glossary", "references", "decisions", "press"):
        assert counted[name].missing == counted[name].stale == 0, name


def test_english_sentences_are_found() -> None:
    page = (
        "<p>The cat is on the mat.</p><p>中文 and so on</p><pre>it is in the code</pre>"
        '<p><span class="english">Marked, it may be on the page.</span></p>'
    )
    assert [*english_sentences(page)] == ["The cat is on the mat"]


@pytest.mark.book
def test_no_page_has_an_english_sentence_without_the_mark(smoke_book: Path) -> None:
    found = {
        path.stem: [*english_sentences(path.read_text())]
        for path in sorted((smoke_book / "html/zh").rglob("*.html"))
    }
    assert {"intro", "ledger", "07_outlook", "appendix_a", "library"} <= {*found}
    assert {page: english for page, english in found.items() if english} == {}


@pytest.mark.book
def test_both_editions_have_the_same_pages_and_numbers(smoke_book: Path) -> None:
    html = smoke_book / "html"
    for path in [html / "intro.html", *sorted(html.glob("chapters/*.html"))]:
        other = html / "zh" / path.relative_to(html)
        english, chinese = path.read_text(), other.read_text()
        assert 'lang="en"' in english[:400]
        assert 'lang="zh-CN"' in chinese[:400]
        assert english.count('hreflang="zh-CN"') == chinese.count('hreflang="en"') == 2
        shown = [sorted(_numbers(text)) for text in (english, chinese)]
        assert shown[0] == shown[1], path.stem


def _numbers(html: str) -> list[str]:
    """The shaded numbers of a page; words such as the profile are translated."""
    found = re.findall(r'<abbr class="record"[^>]*>([^<]*)</abbr>', html)
    return [number for number in found if any(x.isdigit() for x in number)]


@pytest.mark.book
@in_browser
def test_the_switch_keeps_the_place(smoke_book: Path, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto((smoke_book / "html/glossary.html").as_uri())
    page.evaluate(
        "document.getElementById('term-LRU').scrollIntoView({behavior: 'instant'})"
    )
    page.evaluate("document.querySelector('a.language-switch').click()")
    page.wait_for_url("**/zh/glossary.html#at-*")
    shown = page.evaluate(
        "document.getElementById('term-LRU').getBoundingClientRect().top"
    )
    assert 0 <= shown < 400
    page.close()


@pytest.mark.book
@in_browser
@pytest.mark.parametrize("word", ["流行度", "冷启动物品", "开环负载"])
def test_search_finds_chinese_words(
    word: str, smoke_book: Path, browser: Browser
) -> None:
    page = browser.new_page()
    page.goto((smoke_book / "html/zh/search.html").as_uri() + f"?q={word}")
    page.wait_for_selector("#search-results ul.search li a")
    links = page.locator("#search-results ul.search li a").all()
    found = [link.get_attribute("href") or "" for link in links]
    assert any("glossary" in href for href in found)
    page.close()
