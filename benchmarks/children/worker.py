"""A child process: reads requests and writes replies, a JSON line each, and times them.

Needs the standard library and NumPy only, so that it runs in the peers' environment.
"""

import ctypes
import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import numpy as np

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
Operations = Mapping[str, Callable[..., Any]]


def answer_requests(
    make: Callable[[], Operations],
    *,
    lines: TextIO,
    replies: TextIO,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Make the operations, then answer each line until there is none.

    A request is ``{"op": name, "save": path or None, "args": {...}}``; its reply holds
    "ms", the time of the operation alone, and "value", its JSON. An array is saved in
    the file named by "save", if any. With {"turn": [args, ...]} instead of "args" the
    operation runs once for each, one after the other, and "ms" is a list. A failure
    replies {"error": reason}.

    Args:
        make: Loads what is measured; the first reply says whether it succeeded.
        lines: Requests.
        replies: Receives the answers.
        clock: Gives seconds.
    """
    try:
        operations = make()
    except Exception as error:
        _reply(replies, {"error": _reason(error)})
        return
    _reply(replies, {"value": sorted(operations)})
    for line in lines:
        try:
            _reply(replies, _answer(operations, json.loads(line), clock))
        except Exception as error:
            _reply(replies, {"error": _reason(error)})


def serve(make: Callable[[], Operations]) -> None:
    """Answer on the process's own pipes; output of libraries goes to stderr.

    The garbage collector is off after loading, so that it is in no sample.
    """
    _end_with_parent()

    def make_and_stop_collecting() -> Operations:
        operations = make()
        gc.collect()
        gc.disable()
        return operations

    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    answer_requests(make_and_stop_collecting, lines=sys.stdin, replies=replies)


def stay_at(url: str) -> None:
    """Print where this process listens, and return at SIGTERM.

    Python handles a signal in the main thread, which may be asleep while another thread
    receives it: so it wakes several times a second.
    """
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    print(f"listening on {url}", flush=True)
    while not ended.wait(0.2):
        pass


def _end_with_parent() -> None:
    """End with the bench: a stopped process would outlive one that was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _answer(
    operations: Operations, request: Mapping[str, Any], clock: Callable[[], float]
) -> dict[str, Any]:
    operation = operations[request["op"]]
    if "turn" in request:
        return {"ms": [_timed(operation, args, clock)[0] for args in request["turn"]]}
    elapsed_ms, value = _timed(operation, request.get("args", {}), clock)
    if isinstance(value, np.ndarray):
        if path := request.get("save"):
            np.save(path, value)
        value = list(value.shape)
    return {"ms": elapsed_ms, "value": value}


def _timed(
    operation: Callable[..., Any], args: Mapping[str, Any], clock: Callable[[], float]
) -> tuple[float, Any]:
    start = clock()
    value = operation(**args)
    return (clock() - start) * 1e3, value


def _reply(replies: TextIO, content: Mapping[str, Any]) -> None:
    replies.write(json.dumps(content) + "\n")
    replies.flush()


def _reason(error: Exception) -> str:
    first_line = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {first_line}"
