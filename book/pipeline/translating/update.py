"""The catalogues on disk: written for a translator, counted and checked."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import yaml
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from book.pipeline.chapters import BookError, find_chapters
from book.pipeline.language.catalogues import CHINESE, Translation, catalogue
from book.pipeline.language.labels import LABELS
from book.pipeline.language.terms import terms
from book.pipeline.running.execute import load_run
from book.pipeline.translating.checks import faults
from book.pipeline.translating.labels import drawn_labels, label_faults
from book.pipeline.translating.sources import Messages, messages

_STALE = 0.1  # of a catalogue's texts may be stale between two translators' visits
_ALIKE = 0.6  # of two English texts, for a translation to be kept as a draft


@dataclass(frozen=True)
class Count:
    """How much of a catalogue is translated.

    Attributes:
        done: Texts with a translation.
        missing: Texts without one.
        stale: Texts whose English has changed since.
    """

    done: int
    missing: int
    stale: int

    def __str__(self) -> str:
        return f"{self.done} translated, {self.missing} not, {self.stale} stale"


def count(root: Path, language: str = CHINESE) -> dict[str, Count]:
    """Count each catalogue; of the labels, those that a build has drawn."""
    found = {}
    for domain, texts in {**messages(root), **_labels(root, language)}.items():
        held = catalogue(language, domain)
        usable = sum(held[x].usable for x in texts if x in held)
        stale = sum(bool(held[x].text) and held[x].stale for x in texts if x in held)
        stale += len(_orphans(held, texts)) if domain != LABELS else 0
        missing = max(len(texts) - usable - stale, 0)
        found[domain] = Count(usable, missing, min(stale, len(texts) - usable))
    return found


def _orphans(held: Mapping[str, Translation], texts: Mapping[str, object]) -> list[str]:
    """Texts that were translated and are no more: their English has changed."""
    return [x for x in held if x not in texts and held[x].text]


def check(root: Path, language: str = CHINESE) -> list[str]:
    """Faults of all translations, each with its catalogue and the English."""
    base = terms((root / "book/glossary.md").read_text())
    path = root / f"book/locale/{language}/terms.yml"
    also = yaml.safe_load(path.read_text()) if path.exists() else {}
    found = [f"terms.yml: {x!r} is no term of the glossary" for x in {*also} - {*base}]
    for domain, texts in messages(root).items():
        held = catalogue(language, domain)
        for english in texts:
            if (known := held.get(english)) and known.usable:
                found += [
                    f"{domain}.po, {_short(english)!r}: {fault}"
                    for fault in faults(
                        english, known.text, base, also=also, excused=known.excused
                    )
                ]
    for english, known in catalogue(language, LABELS).items():
        if known.usable:
            found += [
                f"{LABELS}.po, {english!r}: {x}"
                for x in label_faults(english, known.text)
            ]
    return found


def update(root: Path, drawn: Mapping[str, list[str]], language: str = CHINESE) -> None:
    """Write every catalogue anew: new texts empty, changed ones as drafts to look at.

    Args:
        root: Of the project.
        drawn: Labels of the last build -> their figures; empty to leave them alone.
        language: Of the translations.
    """
    found: Messages = messages(root)
    if drawn:
        found[LABELS] = {**_labels(root, language).get(LABELS, {}), **drawn}
    folder = root / f"book/locale/{language}"
    folder.mkdir(parents=True, exist_ok=True)
    for domain, texts in found.items():
        path = folder / f"{domain}.po"
        old = _load(path, language)
        made = _updated(old, texts, language)
        written = BytesIO()
        write_po(written, made, width=0, ignore_obsolete=True, include_previous=True)
        text = re.sub(rb'"(POT-Creation|PO-Revision)-Date.*\n', b"", written.getvalue())
        if not path.exists() or path.read_bytes() != text:
            path.write_bytes(text)


def check_translation(
    root: Path, *, complete: bool = False, language: str = CHINESE
) -> None:
    """Check every translation, and print how much there is.

    Args:
        root: Of the project.
        complete: Fail for a text that is missing or stale, too: for publishing.
        language: Of the translations.

    Raises:
        BookError: Listing every fault, and the catalogues with too many stale texts.
    """
    found = check(root, language)
    for domain, counted in count(root, language).items():
        rest = counted.missing + counted.stale
        if rest:
            print(f"{language}/{domain}: {counted}")
        if counted.stale > _STALE * (counted.done + rest) or (complete and rest):
            found.append(f"{domain}.po: {counted}; `make translate` lists them")
    if found:
        raise BookError("\n".join(found))


def translate(root: Path, build_folder: Path, language: str = CHINESE) -> list[str]:
    """Write the catalogues for a translator; return what there is to do, in lines.

    Args:
        root: Of the project.
        build_folder: Its runs hold the labels of figures and tables.
        language: Of the translations.
    """
    runs = []
    for chapter in find_chapters(root / "chapters"):
        stores = sorted((build_folder / "runs").glob("*-c*"))
        stored = (load_run(store, chapter) for store in stores if _is_own(store))
        runs += [(chapter, run) for run in stored if run]
    update(root, drawn_labels(runs), language)
    folder = f"book/locale/{language}"
    counted = count(root, language).items()
    return [f"{folder}/{domain}.po: {one}" for domain, one in counted]


def _is_own(store: Path) -> bool:
    """Whether it holds runs of the book's own data and model."""
    return re.fullmatch(r"(smoke|standard|full)-(cpu|cuda)", store.name) is not None


def _labels(root: Path, language: str) -> Messages:
    held = _load(root / f"book/locale/{language}/{LABELS}.po", language)
    texts = {str(x.id): [place for place, _ in x.locations] for x in held if x.id}
    return {LABELS: texts} if texts else {}


def _load(path: Path, language: str) -> Catalog:
    if not path.exists():
        return Catalog(locale=language)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def _updated(old: Catalog, texts: Mapping[str, list[str]], language: str) -> Catalog:
    made = Catalog(locale=language, fuzzy=False, charset="utf-8", header_comment="")
    held = {str(x.id): x for x in old if x.id}
    gone = [x for x in held if x not in texts and held[x].string]
    for text, places in texts.items():
        message = held.get(text)
        previous: list[str] = []
        if message is None and (near := _nearest(text, gone)):
            message, previous = held[near], [near]
            gone.remove(near)
        string = str(message.string) if message else ""
        stale = bool(string) and (bool(previous) or bool(message and message.fuzzy))
        made.add(
            text,
            string,
            auto_comments=sorted({*places})[:3],
            user_comments=list(message.user_comments) if message else [],
            flags={"fuzzy"} if stale else set(),
            previous_id=previous or (list(message.previous_id) if message else []),
        )
    return made


def _nearest(text: str, gone: list[str]) -> str:
    """The text of which this is most probably the new version; "" for none."""
    found = difflib.get_close_matches(text, gone, n=1, cutoff=_ALIKE)
    return found[0] if found else ""


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
