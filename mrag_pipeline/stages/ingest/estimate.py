"""Estimates what building a version needs, from a sample of its corpus."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mrag_pipeline.domain.chunking import chunks_of, embedded_text
from mrag_pipeline.domain.documents import Chunk, DeadLetter, Document
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.remarks import add_remarks
from mrag_pipeline.errors import EmptyCorpus
from mrag_pipeline.ports import CorpusReader, Segmenter
from mrag_pipeline.settings.chunking import ChunkingSpec

SAMPLE_SHARDS = 8
SAMPLE_DOCUMENTS = 64  # of each sampled shard are cut and counted
KEPT_LETTERS = 1_000  # of a corpus without a document
SHOWN_LETTERS = 3
STAGED_SHARE = 0.95  # of float vectors left after compression: they hardly compress
INDEXED_SHARE = 1.3  # of the raw size, in the index


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the run needs, from a sample of the corpus. Exact where the sample is all of it."""

    num_bytes: int  # of source
    num_documents: int
    num_chunks: int
    num_tokens: int
    staging_bytes: int
    index_bytes: int
    num_dead_letters: int  # seen in the sample
    sampled_documents: int
    exact: bool
    remarks: Mapping[str, int]  # of the sample's documents
    longest_text: int  # of the sample's, in tokens, title included
    num_long_texts: int  # of the sample's: longer than the encoder reads
    longest_title: int  # the most tokens that a title adds to one of these


def estimate_build(manifest: Manifest, reader: CorpusReader, segmenter: Segmenter) -> Estimate:
    """What building the version needs.

    Counts documents and characters of some whole shards, and chunks and tokens of their first
    texts.
    Raises: EmptyCorpus if all shards were read and no document has text.
    """
    shards = manifest.shards
    step = max(1, len(shards) // SAMPLE_SHARDS)
    sampled = shards[::step][:SAMPLE_SHARDS]
    cut_documents: list[Document] = []
    letters: list[DeadLetter] = []
    num_documents = num_chars = cut_chars = num_dead_letters = 0
    remarks: dict[str, int] = {}
    for shard in sampled:
        num_cut = 0
        for item in reader.read(shard.slices):
            if isinstance(item, DeadLetter):
                num_dead_letters += item.num_documents
                if len(letters) < KEPT_LETTERS:
                    letters.append(item)
                continue
            num_documents += 1
            add_remarks(remarks, item.remarks)
            num_chars += len(item.text)
            if num_cut < SAMPLE_DOCUMENTS:
                num_cut += 1
                cut_chars += len(item.text)
                cut_documents.append(item)
    is_all = len(sampled) == len(shards)
    if is_all and not num_documents:
        raise _no_document(num_dead_letters, letters, reader, manifest.version)
    num_bytes = sum(shard.num_bytes for shard in shards)
    by_bytes = num_bytes / max(1, sum(shard.num_bytes for shard in sampled))
    by_chars = by_bytes * num_chars / max(1, cut_chars)
    made = _chunks(cut_documents, manifest.chunking, segmenter)
    texts = [embedded_text(chunk, manifest.chunking) for chunk in made]
    lengths = segmenter.count_tokens(texts)
    long = [at for at, length in enumerate(lengths) if length > segmenter.room()]
    bare = segmenter.count_tokens([made[at].text for at in long])
    titles = (lengths[at] - alone for at, alone in zip(long, bare, strict=True))
    num_chunks, num_tokens, text_bytes = len(texts), sum(lengths), sum(map(len, texts))
    card = manifest.encoder
    chunks = math.ceil(num_chunks * by_chars)
    number_bytes = 2 if manifest.vector_dtype == "float16" else 4
    vector_bytes = chunks * (len(card.heads) * card.head_dim * number_bytes + card.standard_dim * 4)
    return Estimate(
        num_bytes=num_bytes,
        num_documents=round(num_documents * by_bytes),
        num_chunks=chunks,
        num_tokens=round(num_tokens * by_chars),
        staging_bytes=int(vector_bytes * STAGED_SHARE + text_bytes * by_chars),
        index_bytes=int((vector_bytes * 4 / number_bytes + text_bytes * by_chars) * INDEXED_SHARE),
        num_dead_letters=num_dead_letters,
        sampled_documents=num_documents,
        exact=is_all and num_chars == cut_chars,
        remarks=remarks,
        longest_text=max(lengths, default=0),
        num_long_texts=len(long),
        longest_title=max(titles, default=0),
    )


def _no_document(
    num_dead: int, letters: Sequence[DeadLetter], reader: CorpusReader, version: str
) -> EmptyCorpus:
    first = "".join(f"\n  {one.source}: {one.reason}" for one in letters[:SHOWN_LETTERS])
    error = EmptyCorpus(
        f"no document with text in the corpus ({num_dead} dead letters){first and '; the first:'}"
        + first,
        "at least one document",
        f"check the reasons, and the field mapping: {reader.describe()}",
    )
    error.run, error.dead_letters = version, tuple(letters)
    return error


def _chunks(
    documents: Sequence[Document], chunking: ChunkingSpec, segmenter: Segmenter
) -> list[Chunk]:
    return [
        chunk
        for document in documents
        for chunk in chunks_of(document, segmenter.passages(document.text), chunking)
    ]
