"""`[chunking]`: how documents are cut into chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrag_pipeline.settings.bounds import Count

# A tokenizer may turn a very long run of characters into one unknown token; a chunk is
# never longer than this many characters per token it may have.
MAX_CHARS_PER_TOKEN = 16
# At most 64,000 bytes of UTF-8: stores bound a string at 65,535.
MAX_CHUNK_CHARS = 16_000


@dataclass(frozen=True, slots=True)
class ChunkingSpec:
    """How documents are cut."""

    max_tokens: Count = 128  # a chunk's text, special tokens and title not counted
    overlap_tokens: Count = 0  # how much of a chunk the next one repeats
    title: Literal["prefix", "none"] = "prefix"  # whether the title is embedded with each chunk
    max_title_chars: Count = 120

    def max_chars(self) -> int:
        """The longest chunk, in characters."""
        return min(self.max_tokens * MAX_CHARS_PER_TOKEN, MAX_CHUNK_CHARS)
