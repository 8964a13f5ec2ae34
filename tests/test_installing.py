"""`make setup` says how far pip is, and passes on what it complains of."""

import ast
import subprocess
import sys
from pathlib import Path

from book.pipeline.installing import Progress

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "book/pipeline/installing.py"


def test_progress_counts_what_is_found_and_what_is_installed(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    lines = [
        "Collecting numpy>=2 (from recsys-lib==0.1.0)",
        "  Downloading numpy-2.4.0-cp311.whl (16.9 MB)",
        "Collecting scikit-learn",
        "  Downloading scikit_learn-1.8.0.whl.metadata (83 kB)",
        "Requirement already satisfied: pip in ./.venv",
    ]
    assert [progress.read(x) for x in lines] == [""] * len(lines)
    assert str(progress) == "2 packages found, 0.0 GB downloaded"
    assert progress.read("Installing collected packages: numpy, scikit-learn") == ""
    place = tmp_path / "lib/python3.11/site-packages"
    (place / "scikit_learn-1.8.0.dist-info").mkdir(parents=True)
    (place / "other-1.dist-info").mkdir()
    assert str(progress) == "installing: 1 of 2 packages"
    assert progress.read("Successfully installed numpy-2 a-1").endswith("installed: 2")


def test_what_is_no_progress_is_passed_on() -> None:
    lines = "Collecting numpy\nERROR: No matching distribution\nlast words"
    command = [sys.executable, "-S", "-m", "book.pipeline.installing", "none"]
    done = subprocess.run(
        command, cwd=ROOT, input=lines, capture_output=True, text=True, check=True
    )
    assert done.stdout == "ERROR: No matching distribution\nlast words\n"


def test_it_needs_an_old_python_and_no_package() -> None:
    tree = ast.parse(FILE.read_text(), feature_version=(3, 8))
    modules = [x.module for x in ast.walk(tree) if isinstance(x, ast.ImportFrom)]
    modules += [
        x.name for n in ast.walk(tree) if isinstance(n, ast.Import) for x in n.names
    ]
    assert {str(x).partition(".")[0] for x in modules} <= set(sys.stdlib_module_names)
