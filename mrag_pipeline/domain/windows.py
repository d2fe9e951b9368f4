"""Aspect windows: the pieces of a query that are searched on their own.

A long query is read at three sizes at once: spans of a dozen words that overlap by half (an
aspect is named in a few words, and no cut may go through it), its sentences, and runs of
sentences. Overlapping spans take the place of clauses: they need no punctuation and no grammar,
and found more on both of the paper's sets (docs/retrieval.md). A short query is one window.

Words are runs of characters between spaces. Where a script has no spaces (or a piece of code is
one long run) a few characters count as a word, so that nothing here depends on a language.

Knows nothing of tokens or models; sentences come from a `Segmenter`.
Shape legend: W windows, E standard embedding's width.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.chunking import Span
from mrag_pipeline.settings.windows import WindowSpec

Scale = Literal["query", "clause", "span", "sentence", "run", "sub-query", "given"]

# Longer runs of characters than any word of a spaced script.
_LONGEST_WORD_CHARS = 30
_CHARS_PER_WORD = 6  # of a run without spaces
_WIDE_CHARS_PER_WORD = 2  # of a script whose characters are syllables or words themselves


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of the query."""

    text: str  # what is embedded: white space made single
    start: int  # the window is query[start:end], in characters; all of it if it is not in there
    end: int
    scale: Scale


def windows_of(query: str, sentences: Sequence[Span], spec: WindowSpec) -> list[Window]:
    """The query's windows: sentences, then runs, then spans; no text twice.

    At most eight times `max_windows`, however long the query is: what embedding them costs
    is bounded before `most_distinct` chooses among them.

    Args:
        sentences: of the query, in order; may be empty.
    Returns: at least one window; the whole query alone if it is short.
    """
    words = words_in(query)
    if len(words) <= spec.short_words:
        return [whole(query)]
    most = 2 * spec.max_windows
    run_words = max(spec.run_words, math.ceil(2 * len(words) / most))
    step = max(spec.span_words // 2, 1, math.ceil(len(words) / most))
    pieces = list(_pieces(words, sentences, run_words))
    least = math.ceil(len(words) / most)  # so that a query of very short sentences stays bounded
    cuts: list[tuple[Scale, Iterator[Span]]] = [
        ("sentence", _merged(words, pieces, 0 if least == 1 else least)),
        ("run", _merged(words, pieces, run_words)),
        ("span", _spans(words, 2 * step, step)),
    ]
    windows: dict[str, Window] = {}
    for scale, spans in cuts:
        for start, end in spans:
            text = " ".join(query[start:end].split())
            if any(character.isalnum() for character in text):
                windows.setdefault(text, Window(text, start, end, scale))
    return list(windows.values()) or [whole(query)]


def whole(query: str) -> Window:
    """The query as one window, its text as it is: what is embedded without windows."""
    return Window(query, 0, len(query), "query")


def given(query: str, text: str, scale: Scale) -> Window:
    """A window that the caller gave, its text as it is; where the query holds it, if it does."""
    start = query.find(text) if scale == "given" else -1
    if start < 0:
        return Window(text, 0, len(query), scale)
    return Window(text, start, start + len(text), scale)


def most_distinct(standard: NDArray[np.floating], spec: WindowSpec) -> NDArray[np.intp]:
    """The windows to search, in their order: near-duplicates dropped, the most distinct kept.

    Farthest first: the first window is kept, then always the one least like all that are.

    Args:
        standard: (W, E), of unit length.
    Returns: rows of `standard`, rising, at least one if there is one.
    """
    if not len(standard):
        return np.zeros(0, np.intp)
    kept = [0]
    nearest = standard @ standard[0]
    nearest[0] = np.inf
    while len(kept) < min(spec.max_windows, len(standard)):
        row = int(np.argmin(nearest))
        if nearest[row] >= spec.same_cosine:
            break
        kept.append(row)
        nearest = np.maximum(nearest, standard @ standard[row])
        nearest[row] = np.inf
    return np.sort(np.array(kept, np.intp))


def words_in(text: str) -> list[Span]:
    """The words of a text: runs between spaces; where a script has none, a few characters each."""
    words: list[Span] = []
    start = 0
    for end in (*(index for index, char in enumerate(text) if char.isspace()), len(text)):
        words += _unspaced(text, start, end)
        start = end + 1
    return words


def _unspaced(text: str, start: int, end: int) -> Iterator[Span]:
    """A run without spaces: one word, or several if it cannot be one."""
    if end <= start:
        return
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text[start:end])
    if 2 * wide > end - start:
        size = _WIDE_CHARS_PER_WORD
    elif end - start > _LONGEST_WORD_CHARS:
        size = _CHARS_PER_WORD
    else:
        size = end - start
    while start < end:
        cut = min(start + size, end)
        while cut < end and unicodedata.combining(text[cut]):
            cut += 1
        yield start, cut
        start = cut


def _pieces(words: Sequence[Span], sentences: Sequence[Span], longest: int) -> Iterator[Span]:
    """The sentences, those of more words than `longest` cut into even parts."""
    starts = [start for start, _ in words]
    for start, end in sentences:
        inside = words[bisect_left(starts, start) : bisect_left(starts, end)]
        parts = math.ceil(len(inside) / longest)
        if parts <= 1:
            yield start, end
            continue
        size = math.ceil(len(inside) / parts)
        for first in range(0, len(inside), size):
            yield inside[first][0], inside[min(first + size, len(inside)) - 1][1]


def _merged(words: Sequence[Span], pieces: Sequence[Span], size: int) -> Iterator[Span]:
    """Neighbours put together while they have no more than `size` words; alone if that is 0."""
    starts = [start for start, _ in words]
    held: Span | None = None
    for start, end in pieces:
        if held is not None and bisect_left(starts, end) - bisect_left(starts, held[0]) <= size:
            held = (held[0], end)
            continue
        if held is not None:
            yield held
        held = (start, end)
    if held is not None:
        yield held


def _spans(words: Sequence[Span], size: int, step: int) -> Iterator[Span]:
    for first in range(0, max(1, len(words) - size + step), step):
        yield words[first][0], words[min(first + size, len(words)) - 1][1]
