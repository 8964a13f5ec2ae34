import gc
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.internal.conjecture import providers

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ROOT = Path(__file__).resolve().parents[1]

# `make test` draws the same examples each time and keeps none; `make fuzz` draws anew,
# ten times as many, and tries its last failures first. Neither looks at the clock.
timeless = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "test", timeless, max_examples=30, derandomize=True, database=None
)
settings.register_profile(
    "fuzz",
    timeless,
    max_examples=300,
    derandomize=False,
    database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis/examples"),
    print_blob=True,
)
settings.load_profile("test")
# hypothesis draws constants of all imported modules: not of those that happen to be.
providers._get_local_constants = lambda: providers._local_constants


# Files that share what takes long to make, and so a process.
BOOK = ("tests/test_book.py", "tests/test_claims.py", "tests/test_pages.py")
LAST = "tests/data/test_own.py"  # makes two books more
RAY = ("tests/scaling/test_ray_embedding.py", "tests/scaling/test_ray_serving.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return next((group[0] for group in (BOOK, RAY) if file in group), file)

    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the book, which takes longest; refuse two tests of one name."""
    for item in items:
        if item.get_closest_marker("book"):
            item.add_marker(pytest.mark.timeout(3600))
    names = Counter(item.nodeid for item in items)
    if double := [name for name, n in names.items() if n > 1]:
        raise pytest.UsageError(f"names of tests must differ; got {double} again")
    items.sort(key=lambda x: x.nodeid.startswith(LAST) - x.nodeid.startswith(BOOK))


def pytest_collection_finish() -> None:
    """Leave what was imported out of the garbage collections that follow."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_thread_of_torch():
    """Tensors of tests are small: threads would only wait for each other."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_draws():
    """Torch draws alike in each test, whichever tests ran before in this process."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def encoder():
    """The carried model; which engine is fastest here does not matter."""
    from recsys_lib.embeddings.encoder import (
        load_encoder,  # seconds, for those who need it
    )

    return load_encoder(engine="openvino", precision="float32")


@pytest.fixture(scope="session")
def tiny_sizes() -> dict[str, int]:
    """Dimensions of a BERT that is made and run within milliseconds."""
    return {
        "num_hidden_layers": 2,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 16,
    }


@pytest.fixture(scope="session")
def tiny(tiny_sizes):
    """An encoder with these dimensions and random weights on torch; only read it."""
    from recsys_lib.embeddings.random_bert import random_encoder

    return random_encoder(tiny_sizes, engine="torch", max_length=16)


@pytest.fixture(scope="session")
def tiny_folder(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny encoder, with MiniLM's tokeniser; only read it."""
    from recsys_lib.embeddings.pretrained import minilm_folder

    folder = tmp_path_factory.mktemp("tiny")
    tiny.network.model.save_pretrained(folder)
    shutil.copy(minilm_folder() / "tokenizer.json", folder)
    return folder


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "BOOK_NEEDS_BROWSER=1, but there is no Chromium on the PATH"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking"],
        )
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def smoke_book(request: pytest.FixtureRequest) -> Path:
    """The book in its smoke profile; only what changed runs, and verdicts may fall."""
    folder = Path("_build/test")
    command = [sys.executable, "-m", "book.pipeline", "build", "--profile", "smoke"]
    with request.config.pluginmanager.getplugin(
        "capturemanager"
    ).global_and_fixture_disabled():
        done = subprocess.run(
            [*command, "--build-folder", str(folder)],
            cwd=ROOT,
            stdout=2,  # a process of two tests has no other way to the terminal
        )
    assert done.returncode == 0, "the smoke book was not made; the reason stands above"
    return ROOT / folder


@pytest.fixture(scope="session")
def ray_runs():
    """One Ray for all tests that need it; it takes seconds to start."""
    from recsys_lib.scaling.ray_serving import ray_started

    with ray_started(n_cpus=4):
        yield
