"""Memory in pages of 2 MB, where Linux grants them.

A processor keeps the addresses of some thousand pages at hand. Weights and tables of
tens of megabytes in pages of 4 KB need more: it walks the page tables again and again.
"""

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HUGE = 2 << 20  # bytes
_MAPS = Path("/proc/self/maps")
_ANONYMOUS = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0\s*(?:\[heap\])?")
_ADVISE, _COLLAPSE = 14, 25  # <linux/mman.h>; before Linux 6.1 only the first works
Range = tuple[int, int]


@contextmanager
def huge_pages() -> Iterator[None]:
    """Move to huge pages what the block allocates and leaves behind.

    It is no more than advice: on other systems than Linux, or where the administrator
    has switched such pages off, memory stays as it is.
    """
    before = set(_ranges())
    yield
    for start, end in set(_ranges()) - before:
        for advice in (_ADVISE, _COLLAPSE):
            address, size = ctypes.c_void_p(start), ctypes.c_size_t(end - start)
            ctypes.CDLL(None).madvise(address, size, advice)


def _ranges() -> list[Range]:
    """Addresses of this process's own memory, without the ends that fill no page."""
    if not _MAPS.exists():
        return []
    found = map(_ANONYMOUS.fullmatch, _MAPS.read_text().splitlines())
    ranges = [(int(x[1], 16), int(x[2], 16)) for x in found if x]
    whole = [(-(-start // HUGE) * HUGE, end // HUGE * HUGE) for start, end in ranges]
    return [(start, end) for start, end in whole if start < end]
