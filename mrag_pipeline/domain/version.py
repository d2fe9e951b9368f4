"""An index version's names and its record.

`{index}_{version}_l05_h07` is a head's collection, `{index}_{version}_lexical` holds the words of
full-text search, `{index}_{version}_chunks` texts,
`{index}_live` is the alias on the chunks collection: the only switch.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.heads import EncoderCard, Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.stored_format import of_fields, parsed
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.lexical import LexicalSpec

RECORD_FORMAT = 1
NO_VERSION = "v000000000000"  # stands for any, where only the place of staging matters
PARTS = "parts"  # the key of a reading that holds those of the corpora it is made of
READING = "reading"  # the key of a record's config that holds how its corpus was read
PUSHES, PUSH_KEY = "pushes", "push_key"  # keys of a sync's manifest: see VersionRecord
VERIFIED = "verified"  # the key of a record's config that holds what verification measured
# Fields that 0.1 did not have. Stored within the config, so that its readers, who stop at any field
# that they do not know, go on reading.
_IN_CONFIG = ("pushes", "push_keys", "repairs")


def head_collection(index: str, version: str, head: Head) -> str:
    """`docs_v0123456789ab_l05_h07`."""
    return f"{index}_{version}_{head}"


def chunks_collection(index: str, version: str) -> str:
    """`docs_v0123456789ab_chunks`."""
    return f"{index}_{version}_chunks"


def lexical_collection(index: str, version: str) -> str:
    """`docs_v0123456789ab_lexical`."""
    return f"{index}_{version}_lexical"


def live_alias(index: str) -> str:
    """`docs_live`."""
    return f"{index}_live"


def version_in(index: str, collection: str) -> str | None:
    """The version a collection of this index belongs to; None if it is not one of its own."""
    kinds = r"(chunks|lexical|l\d+_h\d+)"
    match = re.fullmatch(rf"{re.escape(index)}_(v[0-9a-f]{{12}})_{kinds}", collection)
    return match[1] if match else None


@dataclass(frozen=True, slots=True, eq=False)
class VersionRecord:
    """What a reader needs to know of a version, and what a sync needs to go on from it."""

    index: str
    version: str
    fingerprint: str
    encoder: EncoderCard
    chunking: ChunkingSpec
    sums: ImportanceSums
    num_documents: int
    num_chunks: int
    num_dead_letters: int
    created_at: str  # ISO 8601, UTC
    corpus: str  # its URI, for people
    config: Mapping[str, Any] = field(default_factory=dict)  # resolved, secrets left out
    syncs: int = 0  # how many have been applied since the version was built
    synced_at: str = ""  # when the last one was; ISO 8601, UTC
    pending: str = ""  # the fingerprint of a sync whose writes have begun and not ended
    published_at: str = ""  # when it first became live; empty if it never was
    replaced_at: str = ""  # when another version became live in its place; empty while live
    pushes: int = 0  # pushed changes (`mrag upsert`, `mrag delete`) since its last sync
    push_keys: tuple[str, ...] = ()  # of pushes, newest last: domain/pushes.py
    lexical: LexicalSpec | None = None  # how its words were made; None: it has no lexical voter
    repairs: int = 0  # counts the begins and the ends of repairs that changed rows
    unknown: Mapping[str, Any] = field(default_factory=dict)  # what a later mrag wrote beside them

    def is_changing(self) -> bool:
        """Whether a sync or a repair changes rows now, or was cut short while it did."""
        return bool(self.pending) or self.is_in_repair()

    def is_in_repair(self) -> bool:
        """Whether a repair has begun to change rows and has not ended."""
        return self.repairs % 2 == 1

    def importance(self) -> NDArray[np.float64]:
        """(H,), in the order of `encoder.heads`."""
        return self.sums.importance()

    def verified_recall(self) -> float | None:
        """The lowest recall of any collection when the version was built.

        None if the build did not record it (docs/decisions/0069-recall-in-the-record.md).
        """
        return self._verified("recall")

    def recall_above(self) -> float | None:
        """What its sample shows of all chunks, at `recall_confidence`; None if not recorded."""
        return self._verified("recall_above")

    def recall_confidence(self) -> float | None:
        """How sure `recall_above` is, below 1; None if not recorded."""
        return self._verified("confidence")

    def recall_searched(self) -> float | None:
        """Share of the shards in which its sample's neighbours were looked for; None as above."""
        return self._verified("searched")

    def verified_queries(self) -> int | None:
        """Of how many chunks the build compared the rankings; None if not recorded."""
        queries = self._verified("queries")
        return None if queries is None else int(queries)

    def _verified(self, what: str) -> float | None:
        verified = self.config.get(VERIFIED)
        value = verified.get(what) if isinstance(verified, Mapping) else None
        return float(value) if isinstance(value, (int, float)) else None

    def reading(self) -> Mapping[str, Any]:
        """How its corpus's records became documents; {} if the build did not keep it."""
        return dict(self.config.get(READING, {}))

    def with_reading(self, reading: Mapping[str, Any]) -> VersionRecord:
        """The record, its corpus being read so from now on; itself if nothing is new."""
        if not reading or reading == self.reading():
            return self
        return replace(self, config={**self.config, READING: dict(reading)})

    def head_collections(self) -> tuple[str, ...]:
        """H names, in the order of `encoder.heads`."""
        return tuple(head_collection(self.index, self.version, h) for h in self.encoder.heads)

    def lexical_collection(self) -> str | None:
        """Where the words are, None if the version has none."""
        return None if self.lexical is None else lexical_collection(self.index, self.version)

    def collections(self) -> tuple[str, ...]:
        """Every collection of the version, its chunks collection last."""
        lexical = self.lexical_collection()
        words = () if lexical is None else (lexical,)
        return (*self.head_collections(), *words, self.chunks_collection())

    def chunks_collection(self) -> str:
        """Where texts and standard embeddings are."""
        return chunks_collection(self.index, self.version)

    def to_json(self) -> str:
        """One JSON object, sorted keys; the sums as base64 of little-endian float64."""
        values: dict[str, Any] = {
            attribute.name: getattr(self, attribute.name)
            for attribute in fields(self)
            if attribute.name not in ("encoder", "chunking", "sums", "lexical", "unknown")
        }
        values |= self.unknown
        # Only if there is one, so that older readers can read records without a lexical voter.
        if self.lexical is not None:
            values["lexical"] = asdict(self.lexical)
        later = {name: values.pop(name) for name in _IN_CONFIG}
        values["config"] = {**self.config, **{name: it for name, it in later.items() if it}}
        values["chunking"] = asdict(self.chunking)
        values["encoder"] = self.encoder.to_dict()
        values["sums"] = {
            "num_chunks": self.sums.num_chunks,
            "norm_sum": _encode(self.sums.norm_sum),
            "unit_sum": _encode(self.sums.unit_sum),
        }
        return json.dumps(values, sort_keys=True, default=str)

    @classmethod
    def from_json(cls, text: str) -> VersionRecord:
        """The record that `to_json` wrote, here or in another version of mrag.

        Fields that are not known are kept, and written again by whoever changes the record.
        Raises: NewerFormat; ValueError, KeyError or TypeError if it is damaged.
        """
        stored = parsed(text, "the record of an index version", RECORD_FORMAT)
        values = of_fields(cls, stored)
        values["unknown"] = {name: stored[name] for name in stored.keys() - values.keys()}
        encoder = EncoderCard.from_dict(values["encoder"])
        sums = values["sums"]
        shape = (len(encoder.heads), encoder.head_dim)
        values["encoder"] = encoder
        if values.get("lexical") is not None:
            values["lexical"] = LexicalSpec(**of_fields(LexicalSpec, values["lexical"]))
        config = values["config"] = dict(values.get("config", {}))
        # Pushes were beside the config for a while.
        values |= {name: config.pop(name) for name in _IN_CONFIG if name in config}
        values["push_keys"] = tuple(values.get("push_keys", ()))
        values["chunking"] = ChunkingSpec(**of_fields(ChunkingSpec, values["chunking"]))
        values["sums"] = ImportanceSums(
            sums["num_chunks"], _decode(sums["norm_sum"]), _decode(sums["unit_sum"]).reshape(shape)
        )
        return cls(**values)


def _encode(values: NDArray[np.float64]) -> str:
    return base64.b64encode(values.astype("<f8").tobytes()).decode()


def _decode(text: str) -> NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(text), dtype="<f8").copy()
