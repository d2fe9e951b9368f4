"""What a collection is called and holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrag_pipeline.settings.lexical import LexicalSpec

CollectionKind = Literal["head", "lexical", "chunks"]


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """One collection; its primary key is `chunk_id`.

    `head` and `chunks` have a vector under cosine; `lexical` has the words of title and text
    under BM25, and is filled with the rows of the chunks collection.
    """

    name: str
    kind: CollectionKind
    dim: int  # 0 for a lexical one
    lexical: LexicalSpec | None = None  # of a lexical one: how its words are made
