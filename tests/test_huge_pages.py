import re
from pathlib import Path

import numpy as np
import pytest

from recsys_lib import huge_pages as module
from recsys_lib.huge_pages import HUGE, huge_pages

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
GRANTED = SWITCH.exists() and "[never]" not in SWITCH.read_text()


def huge_bytes_at(address):
    """AnonHugePages of the mapping that holds an address."""
    held = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            held = int(found[1], 16) <= address < int(found[2], 16)
        elif held and line.startswith("AnonHugePages"):
            return int(line.split()[1]) << 10
    raise AssertionError("no such address")


@pytest.mark.skipif(not GRANTED, reason="this system has no such pages")
def test_what_the_block_leaves_behind_moves_and_keeps_its_values():
    with huge_pages():  # below 4 MB a piece: NumPy itself asks for none
        pieces = [np.full(3 << 18, i, np.float32) for i in range(16)]
    assert any(huge_bytes_at(x.ctypes.data + x.nbytes // 2) >= HUGE for x in pieces)
    assert all((x == i).all() for i, x in enumerate(pieces))


def test_other_systems_are_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_MAPS", tmp_path / "none")
    with huge_pages():
        table = np.ones(1 << 22, np.float32)
    assert table.all()


def test_only_own_writable_memory_is_touched(monkeypatch, tmp_path):
    maps = tmp_path / "maps"
    maps.write_text(
        "7f0000000000-7f0000500000 rw-p 00000000 00:00 0 \n"
        "7f0000700000-7f0000900000 rw-p 00000000 00:00 0 [heap]\n"  # no whole page
        "7f0001000000-7f0002000000 r--p 00000000 00:00 0 \n"
        "7f0003000000-7f0004000000 rw-p 00000000 00:00 0 [stack]\n"
        "7f0005000000-7f0006000000 rw-s 00000000 00:00 0 \n"
        "7f0007000000-7f0008000000 rw-p 00000000 fe:00 12 /lib/libc.so\n"
        "600000300000-600000800000 rw-p 00000000 00:00 0                  [heap]\n"
    )
    monkeypatch.setattr(module, "_MAPS", maps)
    expected = [(0x7F0000000000, 0x7F0000400000), (0x600000400000, 0x600000800000)]
    assert module._ranges() == expected
