"""The first page alone, as one HTML file: what to build on the reader's data."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt

from book.pipeline.printing.first_page import Case, Drawn, decision_table
from book.pipeline.results import Results

_CITED = re.compile(r"\{(record|interval|given)\}`([^`]+)`")
_LINK = re.compile(r"(\()?\[([\d.]+)\]\(sec-[^)]*\)")  # to a chapter, not in the file
_DIRECTIVE = re.compile(r"^:::.*$", re.MULTILINE)
_GLOSS = re.compile(r"^\*\*How to read the gains\.\*\*.*?(?=\n\n)", re.MULTILINE | re.S)

_CAPTION = (
    "Above: the quality of lists for users with a history, against the time of one "
    "request. Below: the same for items without interactions. Each point is a model. "
    "The language model's list comes from stored vectors, one text or all texts."
)
_STYLE = """\
:root { color-scheme: light dark; --line: #8888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }
div.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 15px; }
th, td { text-align: left; vertical-align: top; padding: .5rem .7rem;
  border-bottom: 1px solid var(--line); min-width: 7rem; }
td:first-child, td:nth-child(2) { font-weight: 600; }
@media (max-width: 45rem) {
  table, tbody, tr, td { display: block; }
  thead { display: none; }
  td { border: 0; padding: .15rem 0; }
  td:last-child::before { content: "Section "; }
  tr { padding: .7rem 0; border-bottom: 1px solid var(--line); }
}
figure { margin: 2rem 0; background: #fff; color: #000; padding: .5rem; }
figure svg { max-width: 100%; height: auto; }
"""


@dataclass(frozen=True)
class Report:
    """What a report says beside its table.

    Attributes:
        title: Of the data and models.
        about: Markdown: what was read, and how it was measured.
        figure: The book's headline figure, drawn on these data; None for none.
    """

    title: str
    about: str
    figure: Drawn | None = None


def write_report(
    report: Report, cases: Sequence[Case], results: Results, intro: str
) -> str:
    """Make the page.

    Args:
        report: What stands above and below the table.
        cases: As of `first_page.load_cases`.
        results: Of this run.
        intro: The book's first page, whose words on the measures are repeated.

    Raises:
        BookError: For a record that no chapter makes.
    """
    table = _DIRECTIVE.sub("", decision_table(cases, results))
    gloss = _GLOSS.search(intro)
    parts = [f"# {report.title}", report.about, table, gloss[0] if gloss else ""]
    if drawn := report.figure:
        parts.append(f"## Quality against response time\n\n{_CAPTION}")
    text = filled("\n\n".join(parts), results)
    text = _LINK.sub(lambda x: f"(section {x[2]}" if x[1] else x[2], text)
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = body.replace("<table>", '<div class="table"><table>')
    body = body.replace("</table>", "</table></div>")
    figure = ""
    if drawn:
        alt = html.escape(filled(drawn.alt, results))
        svg = drawn.svg[drawn.svg.index("<svg") :]  # without the XML declaration
        figure = f'<figure role="img" aria-label="{alt}">{svg}</figure>'
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(report.title)}</title>
<style>
{_STYLE}</style>
</head>
<body>
<main>
{body}{figure}
</main>
</body>
</html>
"""


def filled(text: str, results: Results) -> str:
    """Put numbers in place of citations.

    >>> made = {"value": 5.0, "low": 4.0, "high": 6.0, "n": 9, "unit": "ms"}
    >>> filled("{interval}`ch4.rt:.1f` ms, {given}`7`", Results({"ch4": {"rt": made}}))
    '5.0 [4.0, 6.0] ms, 7'
    """

    def number(cited: re.Match[str]) -> str:
        if cited[1] == "given":
            return cited[2]
        written = results.text if cited[1] == "record" else results.interval
        return written(cited[2])

    return _CITED.sub(number, text)
