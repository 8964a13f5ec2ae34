import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def encoder():
    from recsys_lib.embeddings import load_encoder  # seconds, for those who need it

    return load_encoder()


@pytest.fixture(scope="session")
def smoke_book(request: pytest.FixtureRequest) -> Path:
    """The book in its smoke profile, built strictly; only what changed runs."""
    folder = Path("_build/test")
    command = [sys.executable, "-m", "book.pipeline", "build", "--profile", "smoke"]
    with request.config.pluginmanager.getplugin(
        "capturemanager"
    ).global_and_fixture_disabled():
        done = subprocess.run([*command, "--build-folder", str(folder)], cwd=ROOT)
    assert done.returncode == 0, "the smoke book was not made; the reason stands above"
    return ROOT / folder


@pytest.fixture(scope="session")
def ray_runs():
    """One Ray for all tests that need it; it takes seconds to start."""
    from recsys_lib.cluster import ray_started

    with ray_started(n_cpus=4):
        yield
