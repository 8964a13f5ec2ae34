"""Samples of a bench that is not finished: its comparisons resume at the next round."""

import json
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Samples:
    """The rounds that the comparisons of a bench have measured.

    Attributes:
        measured: Comparison -> its rounds; a round holds the sample of each call.
        save: Writes them to a file.
    """

    measured: dict[str, list[list[Any]]] = field(default_factory=dict)
    save: Callable[[], None] = lambda: None
    _n_comparisons: int = field(default=0, init=False)

    def next_comparison(self, *made_of: object) -> list[list[Any]]:
        """Return the rounds of the bench's next comparison; the caller appends to them.

        Args:
            *made_of: Its calls and its order, for JSON. Rounds of a comparison that
                was made of anything else are not returned.
        """
        self._n_comparisons += 1
        key = json.dumps([self._n_comparisons, *made_of])
        return self.measured.setdefault(key, [])


SAMPLES: ContextVar[Samples | None] = ContextVar("samples", default=None)  # of a bench
