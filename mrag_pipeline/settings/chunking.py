"""`[chunking]`: how documents are cut into chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrag_pipeline.settings.bounds import Count

# A tokenizer may turn a very long run of characters into one unknown token, so a chunk has at
# most this many characters for each of its tokens.
MAX_CHARS_PER_TOKEN = 16
# At most 64,000 bytes of UTF-8; stores limit a string to 65,535.
MAX_CHUNK_CHARS = 16_000


@dataclass(frozen=True, slots=True)
class ChunkingSpec:
    """How documents are cut."""

    max_tokens: Count = 128  # of a chunk's text, without special tokens and title
    overlap_tokens: Count = 0  # of a chunk that the next one repeats
    title: Literal["prefix", "none"] = "prefix"  # whether the title is embedded with each chunk
    max_title_chars: Count = 120

    def max_chars(self) -> int:
        """The longest chunk, in characters."""
        return min(self.max_tokens * MAX_CHARS_PER_TOKEN, MAX_CHUNK_CHARS)
