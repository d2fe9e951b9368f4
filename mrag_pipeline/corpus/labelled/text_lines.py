"""The lines of a small text file that people edit: queries, topics, judgements."""

from __future__ import annotations

from pathlib import Path

from mrag_pipeline.corpus.formats.charset import NotText, decoded_text
from mrag_pipeline.errors import BrokenFile, CorpusNotFound


def text_of(path: Path, expected: str) -> str:
    """The file's text without a byte-order mark, with line feeds alone at the ends of lines.

    Raises: CorpusNotFound; BrokenFile if it is no text.
    """
    try:
        text = decoded_text(path.read_bytes())
    except OSError as error:
        raise CorpusNotFound(f"{path}: {error.strerror}", expected) from None
    except NotText as error:
        raise BrokenFile(f"{path}: {error}", expected, "save the file as UTF-8") from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def lines_of(path: Path, expected: str) -> list[str]:
    """The lines of `text_of`; U+2028 and form feeds end none, as they do for `str.splitlines`.

    Raises: as `text_of`.
    """
    return text_of(path, expected).split("\n")
