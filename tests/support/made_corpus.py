"""A corpus of any size, each document about a subject of its own, for questions made of it."""

from __future__ import annotations

import numpy as np

from mrag_pipeline.domain.documents import Document

_FIRST = (
    "bar",
    "del",
    "fim",
    "gor",
    "han",
    "jul",
    "kem",
    "lor",
    "mis",
    "nav",
    "pel",
    "rus",
    "tov",
    "wen",
)
_LAST = ("ado", "ela", "ine", "oma", "uri", "ask", "ent", "olt")
_VERBS = ("carries", "reaches", "follows", "measures", "replaces", "surrounds")


def made_corpus(num_documents: int, sentences: int = 4) -> list[Document]:
    """Documents `d0`, `d1`...: a title and sentences of its own and its field's made-up words."""
    return [_document(number, sentences) for number in range(num_documents)]


def _document(number: int, sentences: int) -> Document:
    own = _words(10_000 + number, 12)
    field = _words(number % 7, 8)  # seven fields, whose documents share words
    random = np.random.default_rng(number)
    lines = []
    for _ in range(sentences):
        a, b, c = random.choice(own, 3, replace=False)
        near, far = random.choice(field, 2, replace=False)
        lines.append(
            f"The {a} {random.choice(_VERBS)} the {near} and the {b}, but a {c} of the {far} "
            f"never {random.choice(_VERBS)} it in the {random.choice(own)}."
        )
    return Document(f"d{number}", " ".join(lines), f"{own[0].capitalize()} {own[1]}")


def _words(seed: int, count: int) -> list[str]:
    random = np.random.default_rng(seed)
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(random.choice(_FIRST, 2)) + str(random.choice(_LAST))] = None
    return list(words)
