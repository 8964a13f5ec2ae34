"""Every form of the book from one executed result: HTML, PDF, ePub, notebooks.zip.

Each edition has all of them. Each names the fingerprint of the result;
`published.json` lists the files with hashes.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from book.pipeline.chapters import BookError
from book.pipeline.language.catalogues import ENGLISH, PRESS, said, say, speaking
from book.pipeline.language.fonts import GET_FONT, has_chinese_font
from book.pipeline.printing.archive import build_wheel, write_archive
from book.pipeline.printing.editions import EVERY, staged
from book.pipeline.printing.epub import check_epub, write_epub
from book.pipeline.printing.offers import with_forms
from book.pipeline.printing.render import PRINTED, sphinx, swap
from book.pipeline.printing.settings import project_version, settings
from recsys_lib.artifacts import sha256_of

FORMATS = ("html", "epub", "notebooks", "pdf")
_STORED = ("epub", "pdf")  # which take long
_SUFFIXES = {"epub": ".epub", "notebooks": ".zip", "pdf": ".pdf"}


@dataclass(frozen=True)
class Edition:
    """The book in one language.

    Attributes:
        language: Of its texts.
        folder: Of its pages below those of the English edition, whose own is "".
        staged: What jupyter-book reads of it.
    """

    language: str
    folder: str
    staged: Path

    def file(self, form: str) -> str:
        """Name of the file of a form, such as "book-zh.pdf"."""
        stem = "notebooks" if form == "notebooks" else "book"
        return "-".join(filter(None, (stem, self.folder))) + _SUFFIXES[form]


def editions_of(made: Path) -> list[Edition]:
    """The editions that a build has staged, the English first."""
    every = [Edition(x, folder, staged(made, x)) for x, folder in EVERY.items()]
    return [edition for edition in every if edition.staged.exists()]


def publish(root: Path, made: Path, formats: Sequence[str] = FORMATS) -> Path:
    """Write the forms of a built book into its folder `publish`; return that.

    Args:
        root: Of the project.
        made: Folder of the build, with `stage`, `html` and `results`.
        formats: Of `FORMATS`; HTML is always written, for it is what is deployed.

    Raises:
        BookError: If a format is unknown, or cannot be written here.
    """
    if unknown := [x for x in formats if x not in FORMATS]:
        raise BookError(f"FORMATS: {unknown[0]!r} is none of {', '.join(FORMATS)}")
    if "pdf" in formats:  # before anything is made
        from book.pipeline.printing.paper import find_chromium

        find_chromium()
    folder = made / "publish.new"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    editions = editions_of(made)
    wanted = [form for form in FORMATS[1:] if form in formats]
    press = _Press(root, made, folder, len(editions) * len(wanted) + 2)
    for edition in editions:
        with speaking(edition.language):
            for form in wanted:
                press.make(form, edition)
    press.html(editions)
    press.sign()
    swap(folder, made / "publish")
    return made / "publish"


class _Press:
    """What the forms of one result share, and one method for each form."""

    def __init__(self, root: Path, made: Path, folder: Path, steps: int) -> None:
        self.root, self.made, self.folder = root, made, folder
        self.facts: dict[str, Any] = json.loads(
            (made / "results/run.json").read_text("utf-8")
        )
        self.version = project_version(root)
        self.fingerprint = fingerprint_of(self.facts)
        self._began, self._step, self._steps = time.perf_counter(), 0, steps

    def say(self, what: str) -> None:
        """A line of progress within a step."""
        print(f"  {what}, {time.perf_counter() - self._began:.0f} s", flush=True)

    def _begin(self, what: str) -> None:
        self._step += 1
        seconds = time.perf_counter() - self._began
        print(
            f"publish {self._step} of {self._steps}: {what}, {seconds:.0f} s",
            flush=True,
        )

    def make(self, form: str, edition: Edition) -> None:
        """Write a form; take it from the last run, if that printed the same pages.

        A run that was stopped so goes on where it was.
        """
        file = self.folder / edition.file(form)
        self._begin(file.name)
        stored = self.made / "forms" / edition.file(form)
        mark = stored.with_name(f"{stored.name}.of")
        key = self._key(edition)
        if stored.exists() and mark.exists() and mark.read_text() == key:
            shutil.copy(stored, file)
            self.say("the pages have not changed since it was made")
            return
        getattr(self, form)(edition, file)
        if file.exists() and form in _STORED:
            stored.parent.mkdir(exist_ok=True)
            mark.unlink(missing_ok=True)
            shutil.copy(file, stored)
            mark.write_text(key)

    def _key(self, edition: Edition) -> str:
        """What the pages of an edition were printed of, and the styles of the forms."""
        printed = (self.made / "html" / edition.folder / PRINTED).read_text()
        styles = sorted(Path(__file__).parent.glob("*.css"))
        return " ".join([printed, *map(sha256_of, styles)])

    def epub(self, edition: Edition, file: Path) -> None:
        pages = sphinx(edition.staged, self.root, "epub")
        write_epub(
            pages / "book.epub",
            file,
            identifier=self._urn(edition),
            description=self._made_of,
        )
        self.say(check_epub(file))

    def notebooks(self, edition: Edition, file: Path) -> None:
        wheel = build_wheel(self.root, self.folder)
        lock = Path(shutil.copy(self.root / "requirements.lock", self.folder))
        pages = (self.made / "html" / edition.folder / "notebooks").glob("*.ipynb")
        files = [(x.name, x) for x in [*pages, wheel, lock]]
        results = (self.made / "results").glob("*.json")
        write_archive(
            file,
            [*files, *((f"results/{x.name}", x) for x in results)],
            title=settings(edition.staged / "_config.yml")["title"],
            version=self.version,
            fingerprint=self.fingerprint,
        )

    def pdf(self, edition: Edition, file: Path) -> None:
        from book.pipeline.printing.paper import write_pdf

        if not has_chinese_font():
            if edition.language != ENGLISH:
                self.say(f"left out, for there is no Chinese font here: {GET_FONT}")
                return
            self.say(f"no Chinese font here, its Chinese will be boxes: {GET_FONT}")
        pages = sphinx(edition.staged, self.root, "singlehtml")
        config = settings(edition.staged / "_config.yml")
        first = settings(edition.staged / "_toc.yml")["root"]
        n_pages = write_pdf(
            (pages / f"{first}.html").resolve(),
            file,
            title=config["title"],
            about=[
                config["author"],
                self._made_of,
                say(
                    "Profile {profile}, measured on {cpu}, {n} cores",
                    profile=said(self.facts["profile"], PRESS),
                    cpu=self.facts["cpu"],
                    n=self.facts["cores"],
                ),
            ],
            progress=self.say,
        )
        self.say(f"{n_pages} pages")

    def _urn(self, edition: Edition) -> str:
        parts = ("urn:recsys-book", self.version, self.fingerprint, edition.folder)
        return ":".join(filter(None, parts))

    @property
    def _made_of(self) -> str:
        return say(
            "Edition {version}, fingerprint of the results {fingerprint}",
            version=self.version,
            fingerprint=self.fingerprint,
        )

    def html(self, editions: Sequence[Edition]) -> None:
        """The pages, with links to the forms, which lie beside them."""
        self._begin("HTML")
        pages = self.folder / "html"
        shutil.copytree(self.made / "html", pages)
        for edition in reversed(editions):  # the English last, whose folder holds all
            place = pages / edition.folder
            files = {form: edition.file(form) for form in _SUFFIXES}
            there = {k: x for k, x in files.items() if (self.folder / x).exists()}
            with speaking(edition.language):
                for file in place.rglob("*.html"):
                    file.write_text(with_forms(file.read_text(), there))
            for name in there.values():
                shutil.copy(self.folder / name, place)
        (pages / ".nojekyll").touch()  # GitHub would leave out folders with "_"

    def sign(self) -> None:
        """Write what was published, of which result."""
        self._begin("published.json")
        files = sorted(x for x in self.folder.iterdir() if x.is_file())
        made = {
            "title": settings(self.made / "stage/_config.yml")["title"],
            "version": self.version,
            "fingerprint": self.fingerprint,
            "chapters": self.facts["fingerprints"],
            "files": {
                x.name: {"bytes": x.stat().st_size, "sha256": sha256_of(x)}
                for x in files
            },
        }
        text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        (self.folder / "published.json").write_text(text)
        for name, file in made["files"].items():
            print(f"  {name}: {file['bytes'] / 1e6:.1f} MB")


def fingerprint_of(facts: dict[str, Any]) -> str:
    """One fingerprint over those of all chapters: sixteen hexadecimal digits."""
    content = json.dumps(facts["fingerprints"], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
