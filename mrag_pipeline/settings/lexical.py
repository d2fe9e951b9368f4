"""`[lexical]`: how texts become the words that full-text search (BM25) counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Interval


@dataclass(frozen=True, slots=True)
class LexicalSpec:
    """What the lexical voter compares. Decides what is stored, so it belongs to a version."""

    enabled: bool = True  # where the store has full-text search; False: no lexical collection
    # Whose word endings are cut ("english", "german"...); empty: words as they are.
    language: str = "english"
    identifiers: bool = True  # `readCsv`, `read_csv` and `csv.reader` are found by their parts too
    k1: Annotated[float, Gt(0.0)] = 1.2  # BM25: how soon a repeated word adds nothing more
    b: Annotated[float, Interval(ge=0.0, le=1.0)] = 0.75  # BM25: how much long passages lose
