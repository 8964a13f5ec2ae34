"""Which encoder filled an index, so that vectors of two encoders are never mixed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from recsys_lib.arrays import Float32Array

# Of all-MiniLM-L6-v2 to its float32, mean and least: bfloat16 1.000 and 1.000, int8
# calibrated with 200 reviews .993 and .978, with 64 beginnings of them .989 and .971,
# with 64 queries of ten words .981 and .957, with 16 beginnings .974 and .941: too few.
# Others: a prompt before queries .964 and .889, half of the length .990 and .910, CLS
# pooling .555 and .446.
MEAN_COSINE, LEAST_COSINE = 0.97, 0.95


class OtherEncoder(ValueError):
    """Vectors come from another encoder than those of the index."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What tells two encoders apart: how they read a text, and vectors of fixed texts.

    Attributes:
        name: Of the model, for messages.
        probes: (n, dim) unit vectors of the same n texts for every encoder.
        settings: Such as pooling, prompts and longest text; what an encoder does not
            say is left out.
        precision: Of the layers, for messages: it shows in the probes.
    """

    name: str
    probes: Float32Array
    settings: Mapping[str, str] = field(default_factory=dict)
    precision: str = ""

    def __str__(self) -> str:
        said = [f"{self.probes.shape[1]} dimensions"]
        said += [f"{name} {value!r}" for name, value in self.settings.items() if value]
        said += [self.precision] * bool(self.precision) + [self.digest[:8]]
        return f"{self.name} ({', '.join(said)})"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of settings and probes, as 64 hexadecimal digits."""
        parts = json.dumps(dict(self.settings), sort_keys=True).encode()
        return hashlib.sha256(parts + self.probes.tobytes()).hexdigest()

    def agrees(self, other: Self) -> bool:
        """Whether vectors of both may be compared.

        They may if the settings that both say are equal, and the probes have a mean
        cosine of .97 or more, each .95: as one model does in another precision, in int8
        if some dozens of texts calibrated it.
        """
        if self.digest == other.digest:
            return True
        both = self.settings.keys() & other.settings.keys()
        same = all(self.settings[name] == other.settings[name] for name in both)
        if not same or self.probes.shape != other.probes.shape:
            return False
        cosines = (self.probes * other.probes).sum(axis=1)
        return bool(cosines.mean() >= MEAN_COSINE and cosines.min() >= LEAST_COSINE)

    def check(self, other: Self) -> None:
        """Check that vectors of another encoder may be compared with those of this.

        Raises:
            OtherEncoder: If they may not; the message names both.
        """
        if not self.agrees(other):
            wanted = f"vectors must come from the encoder that filled the index, {self}"
            raise OtherEncoder(f"{wanted}; got those of {other}")

    def to_json(self) -> str:
        """Write all but the probes."""
        said = {"name": self.name, "precision": self.precision}
        return json.dumps(said | {"settings": dict(self.settings)})

    @classmethod
    def from_json(cls, said: str, probes: Float32Array) -> Self:
        """Read what `to_json` wrote."""
        return cls(probes=probes, **json.loads(said))
