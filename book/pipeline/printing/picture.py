"""Take the README's picture of the built book with Chromium: `make picture`."""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from book.pipeline.chapters import BookError

FIGURE = "#fig-ch1-buys-and-costs"


def take_picture(html: Path, picture: Path) -> None:
    """Photograph the book's main figure, as a reader sees it.

    Args:
        html: Folder of the built pages.
        picture: The PNG to write.

    Raises:
        BookError: If there is no book yet, or no Chromium on the PATH.
    """
    page_file = html / "chapters/01_overview.html"
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not page_file.exists():
        raise BookError(f"{page_file} must exist; run `make book` first")
    if not chromium:
        raise BookError("a picture needs Chromium on the PATH; got none")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(page_file.as_uri())
        page.locator(FIGURE).scroll_into_view_if_needed()
        page.screenshot(path=picture)
        browser.close()
