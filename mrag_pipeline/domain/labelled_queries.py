"""Labelled queries, whose right documents are known, and the flaws of a set of them.

Knows nothing of files or of how documents are found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Aspect:
    """One subject of a query: found when any of its documents is fetched."""

    documents: frozenset[str]  # ids, at least one
    name: str = ""  # for people: the article or topic
    category: str = ""  # of its documents; empty if unknown


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """A query and what it is about."""

    text: str
    aspects: tuple[Aspect, ...]  # at least one
    num_named: int  # aspects the set says it has; more than `aspects` if some have no document
    sub_queries: tuple[str, ...] = ()  # what an LLM made of it, for the fusion strategies
    grades: Mapping[str, int] = field(default_factory=dict)  # by document, above 0; may be empty
    kind: str = ""  # of question, by which reports group; empty: all are of one

    def relevant(self) -> Mapping[str, int]:
        """The grade of each document that counts; 1 each where the set has no grades."""
        if self.grades:
            return self.grades
        return {document: 1 for aspect in self.aspects for document in aspect.documents}


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with a set, and what was done about it."""

    what: str  # "topics that queries name and no file holds: their aspects are not counted"
    count: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        examples = f" (such as {'; '.join(self.examples)})" if self.examples else ""
        return f"{self.count} {self.what}{examples}"


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Labelled queries over one corpus."""

    name: str
    queries: tuple[LabelledQuery, ...]
    relevance: str  # which documents count for an aspect, in one sentence
    categories: Mapping[str, str] = field(default_factory=dict)  # of documents by id; may be empty
    flaws: tuple[Flaw, ...] = ()
    by_aspects: bool = True  # whether each number of aspects counts the same, else each query


def is_balanced(queries: Sequence[LabelledQuery]) -> bool:
    """Whether each number of aspects has at least half as many queries as any other.

    Where it has not, a mean over the numbers of aspects lets a few queries count for many.
    """
    queries_by_aspects = Counter(query.num_named for query in queries).values()
    return 2 * min(queries_by_aspects) >= max(queries_by_aspects)


def flaw(what: str, cases: Sequence[str], count: int | None = None) -> tuple[Flaw, ...]:
    """The flaw with its first examples; empty if there are no cases.

    Args:
        cases: one entry a case; `count` where a case counts more than once.
    """
    if not cases:
        return ()
    examples = tuple(dict.fromkeys(cases))[:MAX_EXAMPLES]
    return (Flaw(what, len(cases) if count is None else count, examples),)
