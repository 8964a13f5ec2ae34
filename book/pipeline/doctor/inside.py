"""The part of `make doctor` that the environment's own Python runs.

Prints each finding as a line of JSON.
"""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import astuple
from functools import cache
from importlib import import_module
from pathlib import Path
from statistics import median

from book.pipeline.doctor.findings import FAULT, NOTE, OK, Finding, run_checks
from book.pipeline.language.fonts import GET_FONT, has_chinese_font
from book.pipeline.packages import canonical, installed, pinned

LOCK = Path("requirements.lock")
ENGINES = ("torch", "openvino", "onnxruntime")
SELF_TEST_S = 10.0
_installed = cache(installed)


def main() -> None:
    """Print the findings."""
    checks = (
        *(_check_versions, _check_faiss, _check_engines, _check_cuda, _check_data),
        *(_check_browser, _check_cache, _test_itself),
    )
    for finding in run_checks(checks):
        print(json.dumps(astuple(finding)), flush=True)


def _check_versions() -> Iterator[Finding]:
    there, locked = _installed(), pinned(LOCK.read_text())
    other = [
        f"{name} {there[key]} instead of {version}"
        for name, version in locked.items()
        if (key := canonical(name)) in there and there[key].partition("+")[0] != version
    ]
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        what = f"versions: {', '.join(other[:3])}{more}"
        yield Finding(
            NOTE,
            what,
            "The book was tested with requirements.lock: "
            "`touch requirements.lock && make setup` installs that.",
        )
    else:
        yield Finding(OK, f"versions: as requirements.lock says ({len(locked)})")


def _check_faiss() -> Iterator[Finding]:
    kinds = [x for x in ("faiss-cpu", "faiss-gpu") if x in _installed()]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none"
        yield Finding(
            FAULT,
            f"faiss: {found}; exactly one must be installed",
            "pip uninstall faiss-cpu faiss-gpu, then pip install -c "
            "requirements.lock -c requirements-gpu.lock faiss-cpu (or faiss-gpu).",
        )
        return
    faiss = import_module("faiss")
    what = f"faiss: {kinds[0]} {_installed()[kinds[0]]}"
    if kinds == ["faiss-gpu"] and not faiss.get_num_gpus():
        yield Finding(
            NOTE,
            f"{what} sees no GPU; the index is on the CPU",
            "It needs a driver for CUDA 12.6 or newer.",
        )
    elif kinds == ["faiss-cpu"] and shutil.which("nvidia-smi"):
        yield Finding(
            NOTE,
            f"{what}; the index is on the CPU",
            "For the GPU: pip uninstall faiss-cpu, then pip install -c "
            "requirements.lock -c requirements-gpu.lock faiss-gpu.",
        )
    else:
        yield Finding(OK, what)


def _check_engines() -> Iterator[Finding]:
    for name in ENGINES:
        try:
            import_module(name)
        except Exception as error:  # a library that is missing or cannot be loaded
            what = f"engine {name}: {type(error).__name__}: {error}".splitlines()[0]
            yield Finding(
                FAULT,
                what,
                f"pip install --force-reinstall --no-deps -c requirements.lock {name}",
            )
        else:
            yield Finding(OK, f"engine {name} {_installed().get(name, '')}".strip())


def _check_cuda() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        yield Finding(OK, f"CUDA: torch {torch.__version__} runs on {name}")
    elif shutil.which("nvidia-smi"):
        build = torch.version.cuda or "none, the CPU build"
        yield Finding(
            NOTE,
            f"CUDA: torch sees no GPU; it was built for CUDA: {build}",
            "Install the CUDA build of torch, or a driver that is new enough "
            "for it; DEVICE=cpu works as it is.",
        )


def _check_data() -> Iterator[Finding]:
    from recsys_lib.artifacts import sha256_of
    from recsys_lib.data.carried import SHA256, data_folder

    files = {name: data_folder() / name for name in SHA256}
    missing = [name for name, path in files.items() if not path.exists()]
    wrong = [n for n, x in files.items() if x.exists() and sha256_of(x) != SHA256[n]]
    if wrong:
        yield Finding(
            FAULT,
            f"data: {', '.join(wrong)} has another hash",
            f"Delete it from {data_folder()} and run `make data`.",
        )
    if missing:
        yield Finding(
            NOTE,
            f"data: {len(missing)} of {len(files)} files are not there",
            "`make data` gets them; so does `make book`.",
        )
    if not (wrong or missing):
        yield Finding(OK, f"data: {len(files)} files with the expected hashes")


def _check_browser() -> Iterator[Finding]:
    if shutil.which("chromium") or shutil.which("google-chrome"):
        yield Finding(OK, "Chromium: found")
    else:
        yield Finding(
            NOTE,
            "Chromium: not on the PATH",
            "Only the tests of the pages and the PDF need it: apt install chromium.",
        )
    if has_chinese_font():
        yield Finding(OK, "Chinese font: found")
    else:
        yield Finding(
            NOTE,
            "Chinese font: none",
            f"Only the Chinese edition and the PDF need it: {GET_FONT}.",
        )


def _check_cache() -> Iterator[Finding]:
    from recsys_lib.artifacts import cache_folder

    folder = cache_folder()
    sizes = [x.stat().st_size for x in folder.rglob("*") if x.is_file()]
    what = f"cache: {sum(sizes) / 1e9:.1f} GB in {folder}"
    if sum(sizes) > 2e10:
        do = "`make clean-cache` drops what nothing has used for 30 days."
        yield Finding(NOTE, what, do)
    else:
        yield Finding(OK, what)


def _test_itself() -> Iterator[Finding]:
    """Encode queries for some seconds and search among vectors of the book's items."""
    import numpy as np

    from recsys_lib.embeddings.own import book_encoder

    began = time.perf_counter()
    encoder = book_encoder()
    vectors = encoder.encode([f"item {i}" for i in range(64)])
    start_s = time.perf_counter() - began
    norms = np.linalg.norm(vectors, axis=1)
    if not np.allclose(norms, 1, atol=1e-3):
        yield Finding(
            FAULT,
            "self-test: vectors are not of length one",
            "The model in the cache is damaged: delete the cache.",
        )
        return
    took: list[float] = []
    end = time.perf_counter() + max(1.0, SELF_TEST_S - start_s)
    while time.perf_counter() < end:
        one = time.perf_counter()
        query = encoder.encode([f"a quiet film about the sea, {len(took)}"])
        np.argsort(-(vectors @ query[0]))[:10]
        took.append(1000 * (time.perf_counter() - one))
    yield Finding(
        OK,
        f"model: on {encoder.engine}, {encoder.precision}, ready after {start_s:.1f} s",
    )
    p50, p99 = median(took), sorted(took)[int(0.99 * len(took))]
    yield Finding(
        OK,
        f"self-test: {len(took):,} requests, {p50:.1f} ms at p50, {p99:.1f} ms at p99",
    )
    if p99 > 5 * p50:
        yield Finding(
            NOTE,
            "self-test: times vary by more than a factor of five",
            "The machine is busy or shared: times in the book will be noisy.",
        )


if __name__ == "__main__":
    main()
