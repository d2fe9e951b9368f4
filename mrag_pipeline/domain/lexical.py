"""Splits texts into the words that BM25 counts. Pure; passages and questions are split alike.

Words are runs of letters, digits and marks, in lower case and Unicode's compatibility form. A
script without spaces between words (Chinese, Japanese, Thai...) gives pairs of neighbouring
characters, which need no dictionary. Identifiers of program code give their parts too. What is
stored and searched is these words joined by single spaces, so a store needs no analyzer that
knows any of this: one that splits at spaces and punctuation finds the same words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator

from mrag_pipeline.settings.lexical import LexicalSpec

Stem = Callable[[str], str]  # a word in lower case, without its ending

_WORD = re.compile(r"[^\W_]+(?:_+[^\W_]+)*")
# Han, Hiragana, Katakana, Thai, Lao, Myanmar, Khmer: no spaces between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]+"
)


def lexical_text(title: str, text: str, spec: LexicalSpec, stem: Stem | None = None) -> str:
    """A passage's words, its document's title first, as they are stored: joined by spaces."""
    return " ".join(words_of(f"{title}\n{text}", spec, stem))


def lexical_query(
    question: str,
    spec: LexicalSpec,
    stem: Stem | None = None,
    stop_words: Collection[str] = (),
) -> str:
    """A question's words as they are searched for; empty if it has none.

    Args:
        stop_words: in lower case and with their endings; left out, unless nothing else is left.
            Passages keep theirs. The words of questions ("what", "how", "does") are rare in
            passages, so BM25 alone would take them for telling ones.
    """

    def cut(word: str) -> str:
        if word in stop_words:
            return ""
        return stem(word) if stem is not None else word

    telling = " ".join(filter(None, words_of(question, spec, cut)))
    return telling or " ".join(words_of(question, spec, stem))


def words_of(text: str, spec: LexicalSpec, stem: Stem | None = None) -> Iterator[str]:
    """The words of a text, in order, with repetitions.

    Args:
        stem: cuts a word's ending; None leaves words as they are.
    """
    for match in _WORD.finditer(unicodedata.normalize("NFKC", text)):
        for word in (match[0],) if match[0].isascii() else _split_unspaced(match[0]):
            whole = word.replace("_", "").lower()
            yield stem(whole) if stem is not None else whole
            if spec.identifiers and not _is_plain(word):
                parts = _identifier_parts(word)
                if len(parts) > 1:
                    for part in parts:
                        part = part.lower()
                        yield stem(part) if stem is not None else part


def _is_plain(word: str) -> bool:
    """Whether it has no parts for certain: only letters, at most the first a capital."""
    return word.isalpha() and (word[1:].islower() or len(word) == 1)


def _identifier_parts(word: str) -> list[str]:
    """`readCsv`, `read_csv` and `HTTPServer2` cut at underscores, case and digits."""
    parts = [""]
    for position, character in enumerate(word):
        before, after = word[position - 1 : position], word[position + 1 : position + 2]
        starts_capital = character.isupper() and (before.islower() or after.islower())
        if character == "_" or starts_capital or before.isdigit() != character.isdigit():
            parts.append("")
        if character != "_":
            parts[-1] += character
    return [part for part in parts if part]


def _split_unspaced(word: str) -> Iterator[str]:
    """A run of letters as it is; of a script without spaces, its pairs of neighbours."""
    end = 0
    for match in _UNSPACED.finditer(word):
        if match.start() > end:
            yield word[end : match.start()]
        run = match[0]
        if len(run) == 1:
            yield run
        yield from (run[start : start + 2] for start in range(len(run) - 1))
        end = match.end()
    if end < len(word):
        yield word[end:]
