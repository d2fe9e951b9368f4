"""What a collection is called and holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CollectionKind = Literal["head", "chunks"]


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """One collection. The metric is cosine, the primary key `chunk_id`, the vector `vector`."""

    name: str
    kind: CollectionKind
    dim: int
