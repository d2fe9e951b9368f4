"""What a run is going to do, and what a finished shard left behind.

The manifest's fingerprint is the identity of an index version: the same corpus listing,
chunking, encoder and staging format give the same version, so running again resumes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mrag_pipeline.domain.heads import EncoderCard
from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.domain.version import READING
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.lexical import LexicalSpec

FORMAT = 2  # of the staged files; a change of it makes new versions


@dataclass(frozen=True, slots=True)
class Manifest:
    """The plan of one index version."""

    index: str
    version: str
    fingerprint: str
    listing: str  # digest of the corpus listing
    corpus: Mapping[str, Any]  # the corpus spec, plain values
    chunking: ChunkingSpec
    encoder: EncoderCard
    vector_dtype: str  # of the staged head vectors
    shards: tuple[Shard, ...]
    config: Mapping[str, Any]  # the resolved config, secrets left out
    lexical: LexicalSpec | None = None  # how words are made; None: no lexical voter

    def reading(self) -> Mapping[str, Any]:
        """How records became documents; {} for a version that did not keep it."""
        return dict(self.config.get(READING, {}))

    def to_json(self) -> str:
        """One JSON object, sorted keys."""
        values = asdict(self) | {"encoder": self.encoder.to_dict(), "format": FORMAT}
        if self.lexical is None:
            del values["lexical"]  # as it was before there were any
        return json.dumps(values, sort_keys=True, indent=1, default=str)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """The manifest that `to_json` wrote."""
        values = json.loads(text)
        values.pop("format")
        values["chunking"] = ChunkingSpec(**values["chunking"])
        if "lexical" in values:
            values["lexical"] = LexicalSpec(**values["lexical"])
        values["encoder"] = EncoderCard.from_dict(values["encoder"])
        values["shards"] = tuple(
            Shard(shard["index"], tuple(Slice(**piece) for piece in shard["slices"]))
            for shard in values["shards"]
        )
        return cls(**values)


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One file of a shard, as it was when the receipt was written."""

    name: str  # relative to the shard's folder
    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """A finished shard. Written last: its presence is what makes the shard done."""

    shard: int
    fingerprint: str  # the manifest's
    num_documents: int
    num_chunks: int
    num_tokens: int
    num_dead_letters: int
    num_bytes: int  # of source text read
    files: tuple[StagedFile, ...]
    remarks: Mapping[str, int] = field(default_factory=dict)  # documents, by what is told of them

    def to_json(self) -> str:
        """One JSON object, sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        """The receipt that `to_json` wrote."""
        values = json.loads(text)
        values["files"] = tuple(StagedFile(**file) for file in values["files"])
        return cls(**values)


def fingerprint(
    index: str,
    listing: str,
    corpus: Mapping[str, Any],
    chunking: ChunkingSpec,
    encoder: EncoderCard,
    vector_dtype: str,
    sharding: Mapping[str, Any],
    lexical: LexicalSpec | None = None,
) -> str:
    """Changes when anything that decides what is staged does. 32 hex digits."""
    parts: dict[str, Any] = {
        "format": FORMAT,
        "index": index,
        "listing": listing,
        "corpus": corpus,
        "chunking": asdict(chunking),
        "encoder": encoder.identity(),
        "vector_dtype": vector_dtype,
        "sharding": sharding,
    }
    if lexical is not None:
        parts["lexical"] = asdict(lexical)
    encoded = json.dumps(parts, sort_keys=True, default=str).encode()
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def version_of(fingerprint: str) -> str:
    """The version's name: short enough for a collection's, long enough to be its own."""
    return f"v{fingerprint[:12]}"
