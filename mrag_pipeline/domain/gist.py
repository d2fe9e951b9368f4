"""What documents are about, told by their words alone: typical sentences and key phrases.

Words are weighed by how often a document has them and by how few documents of the sample do
(tf-idf). A word that many documents share says nothing of one, in any language: no list of stop
words is needed.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.windows import words_in

COMMON_SHARE = 0.15  # of the sample's documents; a word in more of them is common
_RARELY_COMMON = 3  # documents: in a small sample no word is common below it
_SIGNATURE_WORDS = 24  # the heaviest words of a document: what it is compared by
_PHRASE_WORDS = 4  # of a key phrase, at most
_SENTENCE_WORDS = range(5, 46)
_LETTERS_SHARE = 0.75  # of a sentence's characters; with fewer it is code, a table or a formula
_KEPT_COMPANIONS = 64  # of a word
_READ_CHARS = 10_000  # of a document, from its start: more says little more of its subject

# A full stop behind one or two letters ends no sentence ("J. Smith", "Dr. No").
_SENTENCE_END = re.compile(
    r"(?:(?<=[^\W\d_]{3})\s?|(?<=[\d)\]\"']))[.!?]+[\"')\]]*(?:\s+|$)|[。！？।؟]+|\n\s*\n"
)
_INNER_BREAK = re.compile(r"[,;:()\[\]{}\"“”«»—、，；：]|\s[-–]\s")
_PUNCTUATION = " .,;:!?'\"`*"


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text: `text[start:end]`."""

    start: int
    end: int
    key: str  # what it is compared by; empty if it has no letter or digit


@dataclass(frozen=True, slots=True, eq=False)
class Gist:
    """One document, weighed against the others of its sample."""

    document: Document
    weights: Mapping[str, float]  # tf-idf of its words, without the common ones
    title_words: frozenset[str]
    sentences: tuple[str, ...]  # the readable ones, the most typical first
    signature: Mapping[str, float]  # its heaviest words, of unit length


class GistSample:
    """A sample of a corpus: the gist of each document, and which words go together."""

    def __init__(self, documents: Sequence[Document]) -> None:
        """Reads every document once."""
        counts = [_counts(document) for document in documents]
        self._num_documents = len(documents)
        self._frequency = Counter(word for count in counts for word in count)
        self.gists = [self._gist(*pair) for pair in zip(documents, counts, strict=True)]
        self._documents_of: dict[str, list[int]] = defaultdict(list)
        for number, gist in enumerate(self.gists):
            for word in gist.weights:
                self._documents_of[word].append(number)
        self._companions: dict[str, list[str]] = {}

    def rarest(self, words: Collection[str]) -> list[str]:
        """The words, those of the fewest documents first."""
        return sorted(words, key=lambda word: (self._frequency[word], word))

    def share(self, word: str) -> float:
        """The share of the documents that have the word."""
        return self._frequency[word] / max(1, self._num_documents)

    def companion(self, word: str, not_in: Collection[str]) -> str | None:
        """The word that goes most with it in several documents; None if there is none."""
        return next((other for other in self._all_companions(word) if other not in not_in), None)

    def _all_companions(self, word: str) -> list[str]:
        if word not in self._companions:
            documents = self._documents_of.get(word, [])
            together = Counter(other for n in documents for other in self.gists[n].weights)
            del together[word]
            scores = {
                other: count * count / (self._frequency[other] * len(documents))
                for other, count in together.items()
                if count > 1
            }
            ordered = sorted(scores, key=lambda other: (-scores[other], other))
            self._companions[word] = ordered[:_KEPT_COMPANIONS]
        return self._companions[word]

    def _gist(self, document: Document, counts: Mapping[str, int]) -> Gist:
        most = max(_RARELY_COMMON, COMMON_SHARE * self._num_documents)
        weights = {
            word: (1.0 + math.log(count)) * self._idf(word)
            for word, count in counts.items()
            if self._frequency[word] <= most
        }
        heaviest = sorted(weights, key=lambda word: (-weights[word], word))[:_SIGNATURE_WORDS]
        length = math.sqrt(sum(weights[word] ** 2 for word in heaviest)) or 1.0
        sentences = sentences_of(document.text[:_READ_CHARS])
        return Gist(
            document,
            weights,
            frozenset(word.key for word in words_of(document.title) if word.key),
            tuple(sorted(sentences, key=lambda sentence: (-_typical(sentence, weights), sentence))),
            {word: weights[word] / length for word in heaviest},
        )

    def _idf(self, word: str) -> float:
        frequency = self._frequency[word]
        return math.log1p((self._num_documents - frequency + 0.5) / (frequency + 0.5))


def likeness(gist: Gist, other: Gist) -> float:
    """The cosine of two documents' heaviest words: 1 for copies, 0 if they share none."""
    return sum(weight * other.signature.get(word, 0.0) for word, weight in gist.signature.items())


def words_of(text: str) -> list[Word]:
    """The words of a text, in order; they compare without case and punctuation."""
    spans: list[tuple[int, int]] = []
    for start, end in words_in(text):
        # `words_in` cuts long runs; an identifier or address is one word here.
        if spans and spans[-1][1] == start and text[spans[-1][0] : end].isascii():
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return [Word(start, end, _key(text[start:end])) for start, end in spans]


def joined(text: str, words: Sequence[Word]) -> str:
    """These words of the text in order, with a space where the text has one between two."""
    parts = []
    for number, word in enumerate(words):
        between = text[words[number - 1].end : word.start] if number else ""
        parts.append(" " if any(map(str.isspace, between)) else "")
        parts.append(text[word.start : word.end])
    return "".join(parts)


def sentences_of(text: str) -> list[str]:
    """The sentences that a question could hold, each once: no code, tables, fragments."""
    sentences: dict[str, None] = {}
    for piece in _SENTENCE_END.split(text):
        sentence = " ".join(piece.split())
        if len(words_of(sentence)) not in _SENTENCE_WORDS:
            continue
        if sum(map(_is_prose, sentence)) >= _LETTERS_SHARE * len(sentence):
            sentences[sentence] = None
    return list(sentences)


def clause(sentence: str, weights: Mapping[str, float], most_words: int) -> str:
    """The run of at most so many words that weighs most; empty if no word weighs anything."""
    best, best_weight = "", 0.0
    words = words_of(sentence)
    for first in range(max(1, len(words) - most_words + 1)):
        run = _trimmed(words[first : first + most_words], weights)
        weight = sum(weights.get(key, 0.0) for key in {word.key for word in run})
        if weight > best_weight:
            best, best_weight = joined(sentence, run), weight
    return best.strip(_PUNCTUATION)


def key_phrases(gist: Gist, avoid: Collection[str] = ()) -> list[str]:
    """Runs of a few words that say most of the document, single words last, else the best first.

    Args:
        avoid: words that no phrase holds.
    Returns: phrases of which no two share a word that weighs.
    """
    phrases: dict[tuple[str, ...], str] = {}
    counts: Counter[tuple[str, ...]] = Counter()
    for part in (part for s in gist.sentences for part in _INNER_BREAK.split(s)):
        for run in _runs(words_of(part), gist.weights, avoid):
            keys = tuple(word.key for word in run)
            phrases.setdefault(keys, joined(part, run).strip(_PUNCTUATION))
            counts[keys] += 1

    def score(keys: tuple[str, ...]) -> float:
        heavy = [gist.weights[key] for key in set(keys) if key in gist.weights]
        return sum(heavy) / (1.0 + 0.5 * len(heavy)) * (1.0 + math.log(counts[keys]))

    scores = {keys: score(keys) for keys in phrases}
    chosen: list[str] = []
    used: set[str] = set()
    for keys in sorted(scores, key=lambda keys: (len(keys) == 1, -scores[keys], keys)):
        if used.isdisjoint(keys):
            chosen.append(phrases[keys])
            used.update(key for key in keys if key in gist.weights)
    return chosen


def _runs(
    words: Sequence[Word], weights: Mapping[str, float], avoid: Collection[str]
) -> Iterator[Sequence[Word]]:
    """Neighbouring words, the first and the last of which weigh something."""
    for first, word in enumerate(words):
        if word.key not in weights:
            continue
        for last in range(first, min(first + _PHRASE_WORDS, len(words))):
            if words[last].key in avoid:
                break
            if words[last].key in weights:
                yield words[first : last + 1]


def _trimmed(words: Sequence[Word], weights: Mapping[str, float]) -> Sequence[Word]:
    heavy = [number for number, word in enumerate(words) if word.key in weights]
    return words[heavy[0] : heavy[-1] + 1] if heavy else ()


def _typical(sentence: str, weights: Mapping[str, float]) -> float:
    """How much of the document a sentence says, for its length."""
    keys = {word.key for word in words_of(sentence)}
    return sum(weights.get(key, 0.0) for key in keys) / math.sqrt(len(keys) + 4)


def _counts(document: Document) -> Counter[str]:
    words = words_of(f"{document.title}\n{document.text[:_READ_CHARS]}")
    return Counter(word.key for word in words if word.key)


def _is_prose(character: str) -> bool:
    return character.isalpha() or character.isspace() or unicodedata.category(character) == "Mn"


def _key(word: str) -> str:
    plain = unicodedata.normalize("NFKC", word).casefold()
    kept = [number for number, character in enumerate(plain) if character.isalnum()]
    return plain[kept[0] : kept[-1] + 1] if kept else ""
