"""The windows of any question: all of it, its clauses, and overlapping parts of its sentences.

Clauses end at punctuation and at coordinating conjunctions of a few languages; the overlapping
parts need neither, so a language without them loses little. What is no subject of its own is
told apart by the vote (`voting.window_weights`), not here.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from mrag_pipeline.domain.chunking import Span
from mrag_pipeline.domain.windows import Scale, Window, whole, words_in
from mrag_pipeline.settings.windows import WindowSpec

_PUNCTUATION = r"[,;:!?.…](?=\s|$)|[。，、；：！？،؛।]|[()\[\]{}\"“”«»]|\s[-–—]+\s|—|\n"
# Of English, German, French, Spanish and Italian.
_CONJUNCTIONS = r"(?<!\S)(?:and|or|then|but|und|oder|dann|et|ou|puis|y|entonces|poi)(?!\S)"
_BREAK = re.compile(f"{_PUNCTUATION}|{_CONJUNCTIONS}", re.IGNORECASE)
_OVERLAP_WORDS = 3  # of neighbouring parts, or half a part if that is less


def question_windows(query: str, sentences: Sequence[Span], spec: WindowSpec) -> list[Window]:
    """The whole question first, then its clauses and parts; no text twice.

    Args:
        sentences: of the query, in order; may be empty.
    Returns: at least the whole question, and at most some four times `max_windows` others.
    """
    words = words_in(query)
    windows: dict[str, Window] = {" ".join(query.split()): whole(query)}
    size = min(max(spec.min_part_words, math.ceil(len(words) / 3)), spec.part_words)
    # A very long question is cut into longer parts: what embedding it costs stays bounded.
    size = max(size, math.ceil(2 * len(words) / spec.max_windows))
    clauses = _clauses(query) if len(words) <= spec.clause_words else iter(())
    sentences = sentences if len(sentences) <= spec.max_windows else ()
    cuts: list[tuple[Scale, Iterator[Span]]] = [
        ("clause", clauses),
        ("span", _parts(words, sentences or [(0, len(query))], size)),
    ]
    for scale, spans in cuts:
        for start, end in spans:
            text = " ".join(query[start:end].split())
            if any(map(str.isalnum, text)):
                windows.setdefault(text, Window(text, start, end, scale))
    return list(windows.values())


def _clauses(query: str) -> Iterator[Span]:
    """The pieces between breaks that hold a letter or digit; white space at their ends left out."""
    start = 0
    for stop, after in [*((m.start(), m.end()) for m in _BREAK.finditer(query)), (len(query),) * 2]:
        piece = query[start:stop]
        if any(map(str.isalnum, piece)):
            left = start + len(piece) - len(piece.lstrip())
            yield left, left + len(piece.strip())
        start = max(start, after)


def _parts(words: Sequence[Span], sentences: Sequence[Span], size: int) -> Iterator[Span]:
    """Each sentence cut into even parts of at most `size` words that overlap."""
    overlap = min(_OVERLAP_WORDS, size // 2)
    starts = [start for start, _ in words]
    for start, end in sentences:
        inside = words[bisect_left(starts, start) : bisect_left(starts, end)]
        if not inside:
            continue
        count = max(1, math.ceil((len(inside) - overlap) / (size - overlap)))
        length = math.ceil((len(inside) + overlap * (count - 1)) / count)
        for number in range(count):
            first = round(number * (len(inside) - length) / (count - 1)) if count > 1 else 0
            last = min(first + length, len(inside)) - 1
            yield inside[first][0], inside[last][1]
