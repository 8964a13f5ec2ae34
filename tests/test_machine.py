import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from recsys_lib import machine
from recsys_lib.machine import (
    describe_machine,
    huge_pages,
    map_in_threads,
    usable_cores,
)

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
ASKED = """
import re
from pathlib import Path
import numpy as np
from recsys_lib.machine import huge_pages


def flags_at(address):
    held = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            held = int(found[1], 16) <= address < int(found[2], 16)
        elif held and line.startswith("VmFlags:"):
            return line.split()[1:]
    raise AssertionError("no such address")


with huge_pages():  # below 4 MB a piece: NumPy itself asks for none
    pieces = [np.full(3 << 18, i, np.float32) for i in range(16)]
for i, piece in enumerate(pieces):
    assert "hg" in flags_at(piece.ctypes.data + piece.nbytes // 2), i
    assert (piece == i).all()
"""


def test_the_machine_is_described():
    found = describe_machine()
    assert found.cores >= 1
    assert found.memory_gib >= 1
    assert found.versions["torch"].startswith("2.")
    assert f"{found.cores} cores" in found.hardware_class


@pytest.mark.skipif(not SWITCH.exists(), reason="this system has no such pages")
def test_memory_of_the_block_is_advised_and_keeps_its_values():
    """Runs in a new process: this one may reuse memory that was allocated before.

    Whether Linux grants huge pages depends on the memory of the whole machine.
    """
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_other_systems_get_no_advice(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_MAPS", tmp_path / "none")
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
    monkeypatch.setattr(machine, "_MAPS", maps)
    expected = [(0x7F0000000000, 0x7F0000400000), (0x600000400000, 0x600000800000)]
    assert machine._memory_ranges() == expected


def test_map_in_threads_keeps_the_order() -> None:
    assert map_in_threads(lambda x: x * x, range(20)) == [x * x for x in range(20)]
    threads = set(map_in_threads(lambda _: threading.get_ident(), range(20)))
    assert 1 <= len(threads) <= usable_cores()
    assert threading.get_ident() not in threads


def test_numpys_blas_has_one_thread_in_each() -> None:
    """OpenBLAS over OpenMP, such as that of faiss, has a limit for each thread."""
    libraries = map_in_threads(lambda _: threadpool_info(), [0])[0]
    numpys = [x for x in libraries if x.get("threading_layer") == "pthreads"]
    assert {x["num_threads"] for x in numpys} <= {1}


def test_what_the_function_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError, match="division"):
        map_in_threads(lambda x: 1 / x, [1, 0])
