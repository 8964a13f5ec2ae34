from nbformat.v4 import new_code_cell, new_notebook, new_output

from book.pipeline.printing.figures import DARK, darkened, drawings, with_drawings
from recsys_lib import plots
from recsys_lib.records import NARROW_MIME

BACK = {"light": "#ffffff", "dark": "#121212"}


def contrast(one: str, other: str) -> float:
    light = [0.05 + luminance(colour) for colour in (one, other)]
    return max(light) / min(light)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_each_colour_can_be_read_on_both_pages() -> None:
    assert len({DARK[colour] for colour in plots.COLOURS}) == len(plots.COLOURS)
    for colour in plots.COLOURS:
        assert contrast(colour, BACK["light"]) >= 4.5
        assert contrast(DARK[colour], BACK["dark"]) >= 4.5
    ink = darkened("#262626")
    assert contrast(ink, BACK["dark"]) >= 10


def test_a_page_gets_the_drawings_that_there_are() -> None:
    data = {"image/svg+xml": "<svg>#0072b2</svg>", NARROW_MIME: "<svg>#ffffff</svg>"}
    cell = new_code_cell(outputs=[new_output("display_data", data)])
    files = dict(drawings(new_notebook(cells=[cell])))
    name = next(iter(files)).removesuffix("-dark.svg")
    assert files == {
        f"{name}-dark.svg": "<svg>#5bb8f0</svg>",
        f"{name}-narrow.svg": "<svg>#ffffff</svg>",
        f"{name}-narrow-dark.svg": "<svg>none</svg>",
    }
    image = f'<img alt="A" class="x" src="../_images/{name}.svg"/>'
    page = with_drawings(f"<a>{image}</a>", {*files})
    assert page.count("<picture>") == page.count('alt="A"') == 2
    assert f'srcset="../_static/figures/{name}-narrow-dark.svg"' in page
    assert with_drawings(image, set()) == image
    assert "<source" not in with_drawings(image, {f"{name}-dark.svg"})
