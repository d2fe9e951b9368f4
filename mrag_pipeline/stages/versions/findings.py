"""What an audit found wrong, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    where: str
    what: str
    count: int
    examples: tuple[int, ...] = ()

    def __str__(self) -> str:
        examples = f", such as {', '.join(map(str, self.examples))}" if self.examples else ""
        return f"{self.where}: {self.count:,} {self.what}{examples}"


def finding_of(where: str, what: str, ids: NDArray[np.int64]) -> list[Finding]:
    """One finding about these ids; none if there are none."""
    if not len(ids):
        return []
    return [Finding(where, what, len(ids), tuple(ids[:_EXAMPLES].tolist()))]


def findings_in(collection: str, what: str, ids: dict[str, list[int]]) -> list[Finding]:
    """The finding about the ids of this collection, of ids by collection."""
    return finding_of(collection, what, np.array(ids.get(collection, []), np.int64))
