"""Packages: as a lock file pins them, and as this Python has them installed."""

import re
from importlib import metadata


def canonical(name: str) -> str:
    """A package's name as registries compare names.

    >>> canonical("Jupyter_Book.x")
    'jupyter-book-x'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(lock: str) -> dict[str, str]:
    r"""Name, as it is written, and version of each package that a lock file pins.

    Args:
        lock: Text of the file.

    >>> pinned("# made by pip\nPyYAML==6.0\nnumpy==2.4.6\n")
    {'PyYAML': '6.0', 'numpy': '2.4.6'}
    """
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.M))


def installed() -> dict[str, str]:
    """Canonical name and version of each installed package."""
    return {canonical(x.metadata["Name"]): x.version for x in metadata.distributions()}
