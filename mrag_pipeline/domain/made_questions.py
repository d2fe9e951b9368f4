"""Questions made from a corpus's own documents, without a model: their answers are known.

A question takes one part from each of 1 to 10 documents that have little in common: a key phrase
or the title (short), a clause (sentence), or two or three clauses, those of all documents mixed
(long). In every second question the exact words are avoided: no word of a title, and of long and
sentence-like ones the rarest words go, each with a word in its place that goes with it in other
documents and that its own document lacks. That is what real questions are like: of Cranfield's
and HotpotQA's, a quarter and under a half of the words that weigh stand in a right document.

The same documents and seed give the same questions. They are made from texts alone, so that any
chunking and any encoder can be compared by them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.gist import (
    Gist,
    GistSample,
    clause,
    joined,
    key_phrases,
    likeness,
    words_of,
)
from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery, LabelledSet, flaw
from mrag_pipeline.domain.windows import words_in

KINDS = ("short", "sentence", "long")
ASPECTS = tuple(range(1, 11))
SAMPLE_DOCUMENTS = 600  # of a corpus: what questions are made from, and words weighed by
RELEVANCE = "an aspect is found when the document that it was made from, or a copy, is fetched"

_MOST_ALIKE = 0.2  # cosine of two documents of one question
_COPY = 0.9  # cosine from which either of two documents counts
_LEAST_WORDS = 8  # that weigh, of a document that is asked for
_TITLE_WORDS = range(1, 8)  # of a title that somebody would type
_AVOIDED_SHARE = 0.6  # of the words that weigh, the rarest first
_CLAUSE_WORDS = {"sentence": 9, "long": 22}
_ONLY_CLAUSE_WORDS = 16  # of a sentence about one subject
# The first that most documents of a corpus have joins the last subject to the others.
_CONJUNCTIONS = ("and", "und", "et", "y", "e", "en", "och", "og", "и", "i", "ve")
_CONJUNCTION_SHARE = 0.3


def chance(seed: int, *parts: object) -> bytes:
    """Orders things by chance: the same for the same seed, whatever other things there are."""
    text = "\n".join(map(str, (seed, *parts)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def made_questions(
    documents: Sequence[Document],
    num_questions: int,
    seed: int = 0,
    aspects: Sequence[int] = ASPECTS,
) -> LabelledSet:
    """Questions of each kind and number of aspects in turn, at most so many, no text twice.

    Args:
        documents: a sample of the corpus, in any order.
        aspects: numbers of aspects; those above a third of the documents are left out.
    Returns: a set without queries if the documents are too few or say too little.
    """
    sample = GistSample(sorted(documents, key=lambda document: document.id))
    usable = [gist for gist in sample.gists if _is_usable(gist)]
    distinct, copies = _without_copies(usable)
    cells = [
        (kind, num_aspects)
        for num_aspects in aspects
        if num_aspects <= len(distinct) // 3
        for kind in KINDS
    ]
    maker = _Maker(sample)
    queries: dict[str, LabelledQuery] = {}
    for number in range(num_questions if cells else 0):
        kind, num_aspects = cells[number % len(cells)]
        gists = _unlike(distinct, num_aspects, seed, number)
        turn = number // len(cells)
        parts = [maker.part(kind, gist, turn, num_aspects) for gist in gists]
        if len(gists) == num_aspects and all(parts):
            text = maker.text(kind, parts)
            answers = tuple(_aspect(gist, copies) for gist in gists)
            queries.setdefault(text, LabelledQuery(text, answers, num_aspects, kind=kind))
    unusable = [gist.document.id for gist in sample.gists if not _is_usable(gist)]
    flaws = flaw("documents of the sample with too little prose to ask for: left out", unusable)
    return LabelledSet("self", tuple(queries.values()), RELEVANCE, flaws=flaws)


class _Maker:
    """Makes the parts of questions and joins them."""

    def __init__(self, sample: GistSample) -> None:
        self._sample = sample
        self._known_phrases: dict[tuple[str, bool], list[str]] = {}
        shares = {word: sample.share(word) for word in _CONJUNCTIONS}
        likely = max(shares, key=lambda word: shares[word])
        self._conjunction = likely if shares[likely] >= _CONJUNCTION_SHARE else ""

    def part(self, kind: str, gist: Gist, turn: int, num_aspects: int) -> list[str]:
        """What a question says of one of its documents; empty if nothing can be said.

        Args:
            turn: of this kind and number of aspects; odd: the exact words are avoided.
        """
        avoids, turn = turn % 2 == 1, turn // 2
        if kind == "short":
            title = gist.document.title.strip(" .")
            if not avoids and turn % 2 and len(words_in(title)) in _TITLE_WORDS:
                return [title]
            phrases = self._phrases(gist, avoids)
            return phrases[turn % 3 :][:1] or phrases[:1]
        if kind == "sentence":
            first = turn % min(3, len(gist.sentences))
            most_words = _ONLY_CLAUSE_WORDS if num_aspects == 1 else _CLAUSE_WORDS[kind]
            sentences = gist.sentences[first : first + 1]
        else:
            most_words = _CLAUSE_WORDS[kind]
            sentences = gist.sentences[: 3 if num_aspects == 1 else 2]
        clauses = [clause(sentence, gist.weights, most_words) for sentence in sentences]
        if avoids:
            clauses = [self._in_other_words(text, gist) for text in clauses]
        return [text for text in clauses if text]

    def text(self, kind: str, parts: Sequence[Sequence[str]]) -> str:
        """The question of these parts, one of each document."""
        if kind == "long":
            # The first clause of each document, then the second ones: subjects come and go.
            mixed = [part[turn] for turn in range(3) for part in parts if turn < len(part)]
            return " ".join(f"{text[0].upper()}{text[1:]}." for text in mixed)
        *others, last = [part[0] for part in parts]
        if not others:
            return last
        joint = f" {self._conjunction} " if self._conjunction else ", "
        return ", ".join(others) + joint + last

    def _phrases(self, gist: Gist, avoids: bool) -> list[str]:
        key = (gist.document.id, avoids)
        if key not in self._known_phrases:
            self._known_phrases[key] = key_phrases(gist, gist.title_words if avoids else ())
        return self._known_phrases[key]

    def _in_other_words(self, text: str, gist: Gist) -> str:
        """The text without its rarest words: others that go with them stand in their place."""
        words = words_of(text)
        heavy = self._sample.rarest({word.key for word in words if word.key in gist.weights})
        gone = set(heavy[: round(_AVOIDED_SHARE * len(heavy))]) | (gist.title_words & set(heavy))
        taken = set(gist.weights) | gist.title_words
        pieces = []
        for word in words:
            if word.key not in gone:
                pieces.append(joined(text, [word]))
            elif other := self._sample.companion(word.key, taken):
                taken.add(other)
                pieces.append(other)
        return " ".join(pieces)


def _is_usable(gist: Gist) -> bool:
    return bool(gist.sentences) and len(gist.weights) >= _LEAST_WORDS


def _without_copies(gists: Sequence[Gist]) -> tuple[list[Gist], dict[str, set[str]]]:
    """One of each group of near-copies; and by its id, the ids of the others."""
    distinct: list[Gist] = []
    copies: dict[str, set[str]] = {}
    holders: dict[str, list[int]] = {}  # by word: the distinct documents whose signature has it
    for gist in gists:
        near = {number for word in gist.signature for number in holders.get(word, ())}
        original = next(
            (distinct[n] for n in sorted(near) if likeness(gist, distinct[n]) >= _COPY), None
        )
        if original is not None:
            copies.setdefault(original.document.id, set()).add(gist.document.id)
            continue
        for word in gist.signature:
            holders.setdefault(word, []).append(len(distinct))
        distinct.append(gist)
    return distinct, copies


def _unlike(gists: Sequence[Gist], count: int, seed: int, number: int) -> list[Gist]:
    """So many documents that have little in common, by chance; fewer if there are no more."""
    chosen: list[Gist] = []
    for gist in sorted(gists, key=lambda gist: chance(seed, number, gist.document.id)):
        if all(likeness(gist, other) < _MOST_ALIKE for other in chosen):
            chosen.append(gist)
        if len(chosen) == count:
            break
    return chosen


def _aspect(gist: Gist, copies: dict[str, set[str]]) -> Aspect:
    document = gist.document
    ids = frozenset({document.id, *copies.get(document.id, ())})
    return Aspect(ids, document.title or document.id)
