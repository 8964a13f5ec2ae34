"""Every form of the book from one executed result: HTML, PDF, ePub, notebooks.zip.

Each names the fingerprint of the result; `published.json` lists the files with hashes.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from book.pipeline.chapters import BookError
from book.pipeline.printing.archive import build_wheel, write_archive
from book.pipeline.printing.epub import check_epub, write_epub
from book.pipeline.printing.offers import with_forms
from book.pipeline.printing.render import sphinx, swap
from book.pipeline.printing.settings import project_version, settings
from recsys_lib.artifacts import sha256_of

FORMATS = ("html", "epub", "notebooks", "pdf")
_FILES = {"epub": "book.epub", "notebooks": "notebooks.zip", "pdf": "book.pdf"}


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
    press = _Press(root, made, folder, len({*formats, "html"}) + 1)
    for name in FORMATS[1:]:
        if name in formats:
            getattr(press, name)()
    press.html([_FILES[x] for x in ("pdf", "epub", "notebooks") if x in formats])
    press.sign()
    swap(folder, made / "publish")
    return made / "publish"


class _Press:
    """What the forms of one result share, and one method for each form."""

    def __init__(self, root: Path, made: Path, folder: Path, steps: int) -> None:
        self.root, self.made, self.folder = root, made, folder
        self.staged = made / "stage"
        self.facts: dict[str, Any] = json.loads(
            (made / "results/run.json").read_text("utf-8")
        )
        self.config = settings(self.staged / "_config.yml")
        self.title: str = self.config["title"]
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

    def epub(self) -> None:
        self._begin("ePub")
        pages = sphinx(self.staged, self.root, "epub")
        write_epub(
            pages / "book.epub",
            self.folder / _FILES["epub"],
            identifier=f"urn:recsys-book:{self.version}:{self.fingerprint}",
            description=f"Edition {self.version}, fingerprint {self.fingerprint}.",
        )
        self.say(check_epub(self.folder / _FILES["epub"]))

    def notebooks(self) -> None:
        self._begin("notebooks.zip")
        wheel = build_wheel(self.root, self.folder)
        lock = Path(shutil.copy(self.root / "requirements.lock", self.folder))
        pages = (self.made / "html/notebooks").glob("*.ipynb")
        files = [(x.name, x) for x in [*pages, wheel, lock]]
        results = (self.made / "results").glob("*.json")
        write_archive(
            self.folder / _FILES["notebooks"],
            [*files, *((f"results/{x.name}", x) for x in results)],
            title=self.title,
            version=self.version,
            fingerprint=self.fingerprint,
        )

    def pdf(self) -> None:
        from book.pipeline.printing.paper import has_chinese_font, write_pdf

        self._begin("PDF")
        if not has_chinese_font():
            self.say("no Chinese font here: claims in Chinese will be boxes")
        pages = sphinx(self.staged, self.root, "singlehtml")
        n_pages = write_pdf(
            (pages / f"{self._first_page}.html").resolve(),
            self.folder / _FILES["pdf"],
            title=self.title,
            about=[
                self.config["author"],
                f"Edition {self.version}, profile {self.facts['profile']}",
                f"Fingerprint of the results: {self.fingerprint}",
                f"Measured on {self.facts['cpu']}, {self.facts['cores']} cores",
            ],
            say=self.say,
        )
        self.say(f"{n_pages} pages")

    def html(self, forms: list[str]) -> None:
        """The pages, with links to the forms, which lie beside them."""
        self._begin("HTML")
        pages = self.folder / "html"
        shutil.copytree(self.made / "html", pages)
        for file in pages.rglob("*.html"):
            file.write_text(with_forms(file.read_text(), forms))
        for form in forms:
            shutil.copy(self.folder / form, pages)
        (pages / ".nojekyll").touch()  # GitHub would leave out folders with "_"

    def sign(self) -> None:
        """Write what was published, of which result."""
        self._begin("published.json")
        files = sorted(x for x in self.folder.iterdir() if x.is_file())
        made = {
            "title": self.title,
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

    @property
    def _first_page(self) -> str:
        return str(settings(self.staged / "_toc.yml")["root"])


def fingerprint_of(facts: dict[str, Any]) -> str:
    """One fingerprint over those of all chapters: sixteen hexadecimal digits."""
    content = json.dumps(facts["fingerprints"], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
