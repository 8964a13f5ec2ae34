"""Optional packages: an import that fails says which extra to install."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import packages that only an extra of this library installs.

    Args:
        extra: Its name in pyproject.toml, such as "torch".

    Raises:
        ImportError: If a package is missing; the message names the extra.

    >>> with needs("cluster"):
    ...     import no_such_package
    Traceback (most recent call last):
    ImportError: no_such_package must be installed: pip install 'recsys-lib[cluster]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        wanted = f"{error.name} must be installed: pip install 'recsys-lib[{extra}]'"
        raise ImportError(wanted, name=error.name) from error
