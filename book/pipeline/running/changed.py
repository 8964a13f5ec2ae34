"""Which pages of the book a change concerns, for the reader of a pull request."""

import subprocess
from pathlib import Path

from book.pipeline.chapters import BookError, find_chapters
from book.pipeline.running.fingerprint import reached_files


def changed_pages(root: Path, since: str) -> list[str]:
    """Name the pages whose sources, or the modules that they reach, have changed.

    Args:
        root: Of the project.
        since: A commit that git knows.

    Raises:
        BookError: If git does not know it.
    """
    command = ["git", "diff", "--name-only", "--relative", since, "--"]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BookError(f"SINCE={since}: {done.stderr.strip()}")
    changed = set(done.stdout.split())
    lines = []
    for chapter in find_chapters(root / "chapters"):
        own = {f"chapters/{chapter.path.name}"} & changed
        modules = set(reached_files(chapter.code, root / "recsys_lib")) & changed
        why = [*(["its text or code"] if own else []), *sorted(modules)]
        if why:
            lines.append(f"chapters/{chapter.stem}.html: {', '.join(why)}")
    pages = sorted(x for x in changed if x.startswith("book/") and x.count("/") == 1)
    lines += [f"{Path(x).stem}.html" for x in pages if x.endswith(".md")]
    press = [x for x in changed if x.startswith("book/pipeline/printing/")]
    return [*lines, *(["every page: the press has changed"] if press else [])]
