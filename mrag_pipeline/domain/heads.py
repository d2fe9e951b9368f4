"""Heads, what an encoder turned out to be, and what it gives for a batch of texts.

Shape legend: N texts, H heads, D head dimension, E standard embedding's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.stored_format import of_fields
from mrag_pipeline.settings.encoder import EncoderSpec

WHERE = ("model", "revision", "weights_sha256")  # say where the weights are, not what they do

Role = Literal["query", "document"]


class Head(NamedTuple):
    """One attention head of the encoder; under grouped-query attention, one query head."""

    layer: int  # from 0
    head: int  # from 0

    def __str__(self) -> str:
        return f"l{self.layer:02d}_h{self.head:02d}"

    @classmethod
    def parse(cls, name: str) -> Head:
        """The head that `str(head)` named."""
        layer, head = name.split("_")
        return cls(int(layer[1:]), int(head[1:]))


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """What the loaded model turned out to be. Two equal cards give equal vectors."""

    spec: EncoderSpec
    family: str  # transformers' model_type
    weights_hash: str  # sha256 of the files that decide the vectors
    heads: tuple[Head, ...]  # H of them, in the order of the vectors
    head_dim: int  # D
    standard_dim: int  # E
    max_tokens: int
    pooling: str  # resolved
    standard_pooling: str  # resolved
    int8: str = ""  # hash of int8's texts and numbers; empty with another dtype

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `int8` only where there is one, as before it was added."""
        values = asdict(self) | {"heads": [str(head) for head in self.heads]}
        if not self.int8:
            del values["int8"]
        return values

    def described(self) -> str:
        """The model and the hashes that tell it from another, for messages."""
        method = f" in int8 by method {self.int8[:12]}" if self.int8 else ""
        return f"{self.spec.model} with weights {self.weights_hash[:12]}{method}"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EncoderCard:
        """The card that `to_dict` wrote."""
        spec = dict(values["spec"])
        spec["layers"] = tuple(spec["layers"])
        heads = tuple(Head.parse(name) for name in values["heads"])
        known = of_fields(cls, values)
        return cls(**{**known, "spec": EncoderSpec(**of_fields(EncoderSpec, spec)), "heads": heads})

    def identity(self) -> dict[str, Any]:
        """What must agree between an index version and the encoder that queries it.

        The model's name and revision are left out: the same weights in another folder are
        the same encoder.
        """
        values = self.to_dict()
        spec = {k: v for k, v in values.pop("spec").items() if k not in WHERE}
        return values | {"spec": spec}


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One forward pass over N texts."""

    heads: NDArray[np.float32]  # (N, H, D), not normalised
    standard: NDArray[np.float32]  # (N, E), unit length
    num_tokens: NDArray[np.int64]  # (N,), special tokens included

    def __len__(self) -> int:
        return len(self.heads)

    def of_rows(self, rows: NDArray[np.intp]) -> Embeddings:
        """Those of some of the texts."""
        return Embeddings(self.heads[rows], self.standard[rows], self.num_tokens[rows])

    @classmethod
    def joined(cls, parts: Sequence[Embeddings]) -> Embeddings:
        """Those of several passes, at least one, in their order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.heads for part in parts]),
            np.concatenate([part.standard for part in parts]),
            np.concatenate([part.num_tokens for part in parts]),
        )
