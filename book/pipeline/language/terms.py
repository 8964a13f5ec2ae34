"""The base of terms: the glossary, which says each term in English and in Chinese."""

import re

# A term, or several that mean the same, and its definition with the Chinese term.
_ENTRY = re.compile(
    r"^(?P<term>\S[^\n]*)\n  \((?P<chinese>[^\n]*?[^\x00-\x7f][^\n]*?)\) ", re.M
)


def terms(glossary: str) -> dict[str, str]:
    r"""English term -> Chinese term.

    Args:
        glossary: `book/glossary.md`.

    >>> terms("```{glossary}\nitem\n  (物品) What is recommended.\n```")
    {'item': '物品'}
    """
    return {hit["term"]: hit["chinese"] for hit in _ENTRY.finditer(glossary)}


def without_chinese(glossary: str) -> str:
    """The glossary without the Chinese terms: what is translated of it."""
    return _ENTRY.sub(lambda hit: f"{hit['term']}\n  ", glossary)


def with_chinese_first(glossary: str) -> str:
    """The glossary's source for the Chinese page: each entry has both terms.

    Either is then a target of {term}. The entries stay in the English order, which the
    page of the other language has, too.
    """
    head, fence, rest = glossary.partition("```{glossary}\n")
    body, end, tail = rest.partition("\n```")
    body = body.removeprefix(":sorted:\n").strip("\n")
    entries = sorted(re.split(r"\n\n(?=\S)", body), key=str.lower)
    said = (_ENTRY.sub(_both, entry) for entry in entries)
    return head + fence + "\n" + "\n\n".join(said) + "\n" + end + tail


def _both(hit: re.Match[str]) -> str:
    return f"{hit['chinese']}\n{hit['term']}\n  "


def linked(text: str) -> dict[str, str]:
    """Terms that `{term}` names in a text, by lower case, and what is shown of each.

    >>> linked("{term}`Popularity <popularity>`")
    {'popularity': 'Popularity'}
    """
    found = {}
    for inside in re.findall(r"\{term\}`([^`]*)`", text):
        hit = re.fullmatch(r"(.*?)\s*<([^<>]+)>", inside, re.S)
        shown, target = (hit[1], hit[2]) if hit else (inside, inside)
        found[" ".join(target.split()).lower()] = " ".join(shown.split())
    return found
