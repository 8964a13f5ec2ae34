"""Passes on a GPU, recorded as CUDA graphs, one for each shape of a batch."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from recsys_lib.embeddings.tokens import Tokens
from recsys_lib.extras import needs

with needs("torch"):
    import torch

TEXTS = (1, 8, 64)  # numbers of texts of the recorded shapes
LENGTHS = (8, 12, 16, 20, 24, 32, 48, 64, 96, 128)  # and of tokens of each text

Compute = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of ids and mask
_Shape = tuple[int, int]
_recording = threading.Lock()  # a process records one CUDA graph at a time


class Graphs:
    """Passes on a GPU, each recorded when its shape first occurs; thread-safe.

    Attributes:
        made: Recorded passes by the name of the computation and the shape.
    """

    def __init__(self) -> None:
        self.made: dict[tuple[str, _Shape], Graph] = {}
        self._one_at_a_time = threading.Lock()  # a graph has buffers for one batch

    def __reduce__(self) -> tuple[type["Graphs"], tuple[()]]:
        return Graphs, ()  # a copy of the graphs would read the old model's weights

    @contextmanager
    def run(
        self, name: str, compute: Compute, tokens: Tokens, device: torch.device
    ) -> Iterator[torch.Tensor]:
        """Compute the result (n, ...) of one small batch; valid inside the block.

        Args:
            name: Name of the computation, which is recorded once for each shape.
            compute: Takes ids and mask (texts, length) on the device.
            tokens: A batch for which `graph_shape` has a shape.
            device: A GPU.
        """
        shape = graph_shape(*tokens.ids.shape)
        assert shape is not None
        with self._one_at_a_time:
            if (name, shape) not in self.made:
                with _recording:
                    self.made[name, shape] = Graph(compute, shape, device)
            yield self.made[name, shape](tokens)


class Graph:
    """A recorded pass over a batch of one shape, from pinned host memory.

    Vectors (2D) are copied to the host within the pass; hidden states stay on the GPU.
    """

    def __init__(self, compute: Compute, shape: _Shape, device: torch.device) -> None:
        feed = torch.zeros(2, *shape, dtype=torch.int64).pin_memory()
        feed[1, :, 0] = 1  # every row has a token
        self._rows, self._device = feed.numpy(), device
        self._inputs = inputs = feed.to(device)  # the graph reads this memory
        with torch.cuda.device(device):
            found = _warmed_up(compute, inputs)
            if to_host := found.dim() == 2:
                found = torch.empty_like(found, device="cpu").pin_memory()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                inputs.copy_(feed, non_blocking=True)
                made = compute(*inputs)
                self._result = found.copy_(made, non_blocking=True) if to_host else made

    def __call__(self, tokens: Tokens) -> torch.Tensor:
        """Run on a batch that fits; the result (n, ...) is valid until the next run."""
        n, length = tokens.ids.shape
        self._rows[0, :n, :length], self._rows[1, :n, :length] = tokens.ids, tokens.mask
        self._rows[:, :n, length:] = 0
        self.replay()
        return self._result[:n]

    def replay(self) -> None:
        """Run again on the batch of the last call, and wait."""
        self._graph.replay()
        torch.cuda.current_stream(self._device).synchronize()


def _warmed_up(compute: Compute, inputs: torch.Tensor) -> torch.Tensor:
    """Run twice before recording: libraries initialise in their first calls."""
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        compute(*inputs)
        found = compute(*inputs)
    stream.synchronize()
    return found


@cache
def graph_shape(n_texts: int, length: int) -> _Shape | None:
    """Find the smallest recorded shape (texts, tokens) that holds a batch, if any.

    >>> graph_shape(1, 13), graph_shape(9, 8), graph_shape(65, 8)
    ((1, 16), (64, 8), None)
    """
    n = next((x for x in TEXTS if x >= n_texts), None)
    tokens = next((x for x in LENGTHS if x >= length), None)
    return (n, tokens) if n and tokens else None
