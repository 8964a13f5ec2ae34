"""Checks of arguments, and commands that end in a sentence instead of a trace."""

import contextlib
import math
import operator
import os
import sys
from collections.abc import Iterator
from typing import SupportsIndex


def whole_number(name: str, value: SupportsIndex, *, least: int = 1) -> int:
    """Return a whole number of Python or NumPy as an int.

    Args:
        name: Of the argument, for the message.
        value: To check.
        least: Smallest value allowed.

    Raises:
        TypeError: If it is no whole number, such as 2.5 or 2.0.
        ValueError: If it is below `least`.

    >>> whole_number("k", 0)
    Traceback (most recent call last):
    ValueError: k must be at least 1; got 0
    """
    try:
        number = operator.index(value)
    except TypeError:
        got = f"got {type(value).__name__} {value!r}"
        raise TypeError(f"{name} must be a whole number; {got}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}; got {number}")
    return number


def positive(name: str, value: float) -> float:
    """Return a number that is above 0 and finite.

    Raises:
        ValueError: If it is not.

    >>> positive("l2", 0)
    Traceback (most recent call last):
    ValueError: l2 must be positive and finite; got 0
    """
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite; got {value}")
    return value


@contextlib.contextmanager
def ends_in_a_sentence(command: str) -> Iterator[None]:
    """End the process with a message and status 1 where the block raises.

    Interrupted by the user, it ends with status 130. With VERBOSE=1 in the environment
    the trace is shown.

    Args:
        command: What the user called, such as "make serve".
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"\n{command}: stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if is_verbose():
            raise
        sys.exit(f"{command}: {sentence(error)}")


def is_verbose() -> bool:
    """Whether the user asked for traces, by VERBOSE=1 in the environment."""
    return os.environ.get("VERBOSE", "0") not in ("", "0")


def sentence(error: BaseException) -> str:
    """Say in a sentence what an error means for a user.

    >>> sentence(FileNotFoundError(2, "No such file or directory", "a.csv"))
    'a.csv: No such file or directory'
    >>> sentence(ZeroDivisionError("division by zero"))
    'ZeroDivisionError: division by zero (VERBOSE=1 shows where)'
    """
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ValueError | TypeError | OSError | ImportError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error} (VERBOSE=1 shows where)"
