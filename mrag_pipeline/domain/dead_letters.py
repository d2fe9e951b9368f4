"""The reasons for which a document is set aside, as its dead letter names them."""

from __future__ import annotations

from collections.abc import Iterable

from mrag_pipeline.domain.documents import DeadLetter, Document, text_hash

UNREADABLE_FILE = "the file cannot be read"
NO_TEXT = "no text is left to embed"
# Of a parser that was ended; another time it may be given what it lacked.
TOO_SLOW = "reading its markup takes more than"
PARSER_ENDED = "the parser's process ended"


def num_set_aside(letters: Iterable[DeadLetter]) -> int:
    """How many documents the letters stand for: one each, or the rows that a quote took in."""
    return sum(letter.num_documents for letter in letters)


def is_of_a_file(letter: DeadLetter) -> bool:
    """Whether a whole file was set aside, so that its documents are not known."""
    return letter.reason.startswith(UNREADABLE_FILE)


def may_pass(letter: DeadLetter) -> bool:
    """Whether the same file may be read another time, though it has not changed."""
    return is_of_a_file(letter) or TOO_SLOW in letter.reason or PARSER_ENDED in letter.reason


def unusable(document: Document, reason: str) -> DeadLetter:
    """A document whose text cannot be embedded."""
    return DeadLetter(document.id, document.source, reason, text_hash(document.text))


def duplicate_id(document_id: str, source: str, first_source: str, digest: str) -> DeadLetter:
    """A document whose id an earlier one has."""
    reason = f"duplicate document id; the first is at {first_source}"
    return DeadLetter(document_id, source, reason, digest)


def chunk_id_taken(document_id: str, source: str, chunk_id: int, digest: str) -> DeadLetter:
    """A document of which a chunk has the id of another, earlier chunk (decision 67)."""
    reason = f"chunk id {chunk_id} belongs to an earlier chunk: two hashes are equal by chance"
    return DeadLetter(document_id, source, reason, digest)
