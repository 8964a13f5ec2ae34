"""Sphinx extension: each figure in four drawings, wide and narrow, light and dark.

The chapter draws the wide and the narrow one; the dark ones are the same files in other
colours. The page shows one of the four; print and notebooks have the wide light one.
"""

import colorsys
import hashlib
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from book.pipeline.chapters import Notebook
from recsys_lib.records import NARROW_MIME

FOLDER = "_static/figures"
NARROW_WINDOW = "(max-width: 40rem)"
# The colours of recsys_lib.plots, and what a dark page has instead.
DARK = {
    "#0072b2": "#5bb8f0",
    "#bf4e00": "#ff9b57",
    "#00785a": "#3ccb9e",
    "#aa3f86": "#ee9acb",
    "#4a3a9e": "#b3a6ff",
    "#806000": "#e0be4c",
    "#666666": "#b0b0b0",
    "#e6e6e6": "#3a3f47",  # the grid
    "#ffffff": "none",  # the page shows through
}
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_IMAGE = re.compile(r'<img [^>]*?src="([./]*)_images/([\w-]+)\.svg"[^>]*>')


def setup(app: Sphinx) -> dict[str, bool]:
    """Show the drawings of each figure as a page is written."""
    app.connect("html-page-context", _show)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def darkened(svg: str) -> str:
    """Give a figure the colours of the dark page.

    Colours that are not the book's own keep their hue and turn their lightness.

    >>> darkened("fill: #0072b2; stroke: #262626"), darkened("fill: #cccccc")
    ('fill: #5bb8f0; stroke: #dedede', 'fill: #4b4b4b')
    """
    return _COLOUR.sub(lambda hit: DARK.get(hit[0]) or _turned(hit[0]), svg)


def _turned(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    turned = colorsys.hls_to_rgb(hue, 0.12 + 0.88 * (1 - lightness), saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in turned)


def digest(svg: str) -> str:
    """The name that MyST-NB gives to a drawing."""
    return hashlib.sha256("\n".join(svg.splitlines()).encode()).hexdigest()


def drawings(notebook: Notebook) -> Iterator[tuple[str, str]]:
    """File names and contents of a run's figures, beside the wide light ones.

    Each name begins with the digest of the wide light one.
    """
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    for data in (o.get("data", {}) for o in outputs):
        wide, narrow = data.get("image/svg+xml"), data.get(NARROW_MIME)
        if wide is None:
            continue
        name = digest(wide)
        yield f"{name}-dark.svg", darkened(wide)
        if narrow is not None:
            yield f"{name}-narrow.svg", narrow
            yield f"{name}-narrow-dark.svg", darkened(narrow)


def _show(
    app: Sphinx,
    _page: str,
    _template: str,
    context: Any,
    doctree: nodes.document | None,
) -> None:
    if doctree is not None and app.builder.name == "html":
        files = {path.name for path in Path(app.srcdir, FOLDER).glob("*.svg")}
        body = with_drawings(context["body"], files)
        context["body"] = body.replace("<th></th>", "<td></td>")  # names no column


def with_drawings(body: str, files: set[str]) -> str:
    """Put the drawings of each figure into a page.

    Args:
        body: HTML with the wide light ones.
        files: Names of the other drawings that there are.
    """

    def picture(hit: re.Match[str]) -> str:
        image, root, name = hit[0], hit[1], hit[2]
        if f"{name}-dark.svg" not in files:
            return image
        here = f"{root}{FOLDER}/{name}"
        narrow = f"{name}-narrow.svg" in files
        light = _picture(image, "only-light", here + "-narrow.svg" if narrow else "")
        dark = image.replace(f"{root}_images/{name}.svg", f"{here}-dark.svg")
        dark_narrow = here + "-narrow-dark.svg" if narrow else ""
        return light + _picture(dark, "only-dark", dark_narrow)

    return _IMAGE.sub(picture, body)


def _picture(image: str, theme: str, narrow: str) -> str:
    """One picture that only one theme shows; `narrow` is its file for phones."""
    image = re.sub(r' class="[^"]*"', "", image)
    image = image.replace("<img ", f'<img class="drawing {theme}" ', 1)
    media, file = html.escape(NARROW_WINDOW), html.escape(narrow)
    source = f'<source media="{media}" srcset="{file}">' if narrow else ""
    return f"<picture>{source}{image}</picture>"
