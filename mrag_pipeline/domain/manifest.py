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
from mrag_pipeline.domain.stored_format import digest, of_fields, parsed
from mrag_pipeline.domain.version import READING
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.lexical import LexicalSpec

FORMAT = 2  # of the staged files; a change of it makes new versions
RECEIPT_FORMAT = 1
PROOF = "proof"  # the key of a manifest's config that holds the digest of all the rest


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
        plain = json.loads(json.dumps(values, default=str))
        # Within the config, where readers before it pass over it.
        plain["config"][PROOF] = digest(plain)
        return json.dumps(plain, sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """The manifest that `to_json` wrote, here or in another version of mrag.

        Raises: NewerFormat; ValueError, KeyError or TypeError if it is damaged: also if what it
            holds is not what was written, which one that has lost a shard would not show otherwise.
        """
        plain = json.loads(text)
        proof = plain["config"].pop(PROOF, None)
        values = parsed(text, "the manifest", FORMAT)
        if proof is not None and proof != digest(plain):
            raise ValueError("its content is not what was written")
        values = of_fields(cls, values)
        values["config"].pop(PROOF, None)
        values["chunking"] = ChunkingSpec(**of_fields(ChunkingSpec, values["chunking"]))
        if values.get("lexical") is not None:
            values["lexical"] = LexicalSpec(**of_fields(LexicalSpec, values["lexical"]))
        values["encoder"] = EncoderCard.from_dict(values["encoder"])
        values["shards"] = tuple(
            Shard(
                shard["index"],
                tuple(Slice(**of_fields(Slice, piece)) for piece in shard["slices"]),
            )
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

    @property
    def num_rows(self) -> int:
        """Chunks."""
        return self.num_chunks

    def to_json(self) -> str:
        """One JSON object, sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        """The receipt that `to_json` wrote, here or in another version of mrag.

        Raises: NewerFormat; ValueError, KeyError or TypeError if it is damaged.
        """
        values = of_fields(cls, parsed(text, "the receipt of a shard", RECEIPT_FORMAT))
        values["files"] = tuple(
            StagedFile(**of_fields(StagedFile, file)) for file in values["files"]
        )
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
