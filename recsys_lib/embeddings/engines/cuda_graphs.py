"""Passes on a GPU, recorded as CUDA graphs by shape."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from recsys_lib.embeddings.tokens import Tokens

Compute = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of ids and mask


TEXTS = (1, 8, 64)  # of the shapes that a GPU has a graph for, and their tokens


LENGTHS = (8, 12, 16, 20, 24, 32, 48, 64, 96, 128)


_Shape = tuple[int, int]


_recording = threading.Lock()  # CUDA records one graph of a process at a time


class Graphs:
    """Passes on a GPU, recorded when their shape is first met; threads share them.

    Attributes:
        made: By the name of what is computed, and the shape of the batch.
    """

    def __init__(self) -> None:
        self.made: dict[tuple[str, _Shape], Graph] = {}
        self._one_at_a_time = threading.Lock()  # a graph has room for one batch

    def __reduce__(self) -> tuple[type["Graphs"], tuple[()]]:
        return Graphs, ()  # those of a copied model would read the old weights

    @contextmanager
    def run(
        self, name: str, compute: Compute, tokens: Tokens, device: torch.device
    ) -> Iterator[torch.Tensor]:
        """Lend the result (n, ...) of one small batch, until the block ends.

        Args:
            name: Of the computation; the first one of a name is the one recorded.
            compute: On ids and mask (texts, length) on the device.
            tokens: For which `graph_shape` has a shape.
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
    """A recorded pass over texts of one number and length, which the host lays ready.

    Vectors are copied to the host in the same go; hidden states stay where they are.
    """

    def __init__(self, compute: Compute, shape: _Shape, device: torch.device) -> None:
        feed = torch.zeros(2, *shape, dtype=torch.int64).pin_memory()
        feed[1, :, 0] = 1  # no row is ever without a token
        self._rows, self._device = feed.numpy(), device
        self._inputs = inputs = feed.to(device)  # must live as long as the graph
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
        """Run it on a batch that fits; the result (n, ...) lasts until the next."""
        n, length = tokens.ids.shape
        self._rows[0, :n, :length], self._rows[1, :n, :length] = tokens.ids, tokens.mask
        self._rows[:, :n, length:] = 0
        self.replay()
        return self._result[:n]

    def replay(self) -> None:
        """Run it on what was laid ready last, and wait."""
        self._graph.replay()
        torch.cuda.current_stream(self._device).synchronize()


def _warmed_up(compute: Compute, inputs: torch.Tensor) -> torch.Tensor:
    """Run before recording: libraries set themselves up in their first calls."""
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        compute(*inputs)
        found = compute(*inputs)
    stream.synchronize()
    return found


@cache
def graph_shape(n_texts: int, length: int) -> _Shape | None:
    """Find the smallest recorded shape, texts and tokens, that holds a batch, if any.

    >>> graph_shape(1, 13), graph_shape(9, 8), graph_shape(65, 8)
    ((1, 16), (64, 8), None)
    """
    n = next((x for x in TEXTS if x >= n_texts), None)
    tokens = next((x for x in LENGTHS if x >= length), None)
    return (n, tokens) if n and tokens else None
