"""The aspects of a question: the pieces of it that a person would name, and how near each finds.

An aspect is a clause of a short question, a sentence of a long one, one of the caller's own
windows, or the whole question. Windows serve the search and may be fragments; what is said to
people is said of aspects.
Shape legend: W windows, P passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.chunking import Span
from mrag_pipeline.domain.windows import Scale, Window

_OWN: tuple[Scale, ...] = ("given", "sub-query", "clause", "sentence")  # each is an aspect


@dataclass(frozen=True, slots=True)
class Aspect:
    """A piece of the question, and the windows that search for it."""

    text: str
    start: int  # the aspect is query[start:end], in characters
    end: int
    windows: tuple[int, ...]  # rows, at least one
    in_context: bool = False  # a clause: judged together with the whole question, window 0


def aspects_of(query: str, windows: Sequence[Window], sentences: Sequence[Span]) -> list[Aspect]:
    """The question's aspects, in the order of the windows.

    Args:
        windows: the question's, at least one.
        sentences: of the query, for windows that are parts of them; may be empty.
    Returns: at least one aspect; the whole question if nothing else names one.
    """
    for scale in _OWN:
        rows = [row for row, window in enumerate(windows) if window.scale == scale]
        if rows:
            in_context = scale == "clause" and windows[0].scale == "query"
            return [_alone(windows, row, in_context) for row in rows]
    aspects = []
    for start, end in sentences:
        inside = tuple(
            row
            for row, window in enumerate(windows)
            if window.scale == "span" and start <= window.start and window.end <= end
        )
        if inside:
            text = " ".join(query[start:end].split())
            aspects.append(Aspect(text, start, end, inside))
    return aspects if len(aspects) > 1 else [whole_aspect(windows)]


def whole_aspect(windows: Sequence[Window]) -> Aspect:
    """The first window as the only aspect: the whole question."""
    return _alone(windows, 0, False)


def nearness(aspect: Aspect, cosines: NDArray[np.floating]) -> NDArray[np.float64]:
    """How near each passage is to the aspect, from -1 to 1.

    The best cosine of its windows. A clause alone may be near to anything ("what is its
    magnitude"), so for a clause it is the mean of its cosine and of the whole question's.

    Args:
        cosines: (W, P) of windows and passages; NaN where it is not known.
    Returns: (P,), NaN where no cosine is known.
    """
    rows = cosines[list(aspect.windows)].astype(np.float64)
    if aspect.in_context:
        rows = (rows + cosines[0]) / 2
    best = np.where(np.isnan(rows), -np.inf, rows).max(axis=0)
    near: NDArray[np.float64] = np.where(np.isneginf(best), np.nan, best)
    return near


def _alone(windows: Sequence[Window], row: int, in_context: bool) -> Aspect:
    window = windows[row]
    text = " ".join(window.text.split())
    return Aspect(text, window.start, window.end, (row,), in_context)
