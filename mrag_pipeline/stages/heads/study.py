"""Studies the heads of one version: what each finds, alone and beside the others.

Memory: of the sample and its neighbours, vectors, words and numbers, no texts; S x V x k in all.
Shape legend: V voters, S sampled chunks, k neighbours of a chunk, H heads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.filters import field_path, value_of
from mrag_pipeline.domain.head_study import (
    HeadStudy,
    HubDocument,
    VoterStudy,
    conclusion_of,
    verdict_of,
)
from mrag_pipeline.domain.lexical import words_of
from mrag_pipeline.domain.neighbours import alignment, hub, overlap, overlap_matrix
from mrag_pipeline.domain.shared_words import Words
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.vote_spec import LEXICAL
from mrag_pipeline.domain.voter_groups import (
    MeasuredGroup,
    MeasuredVoter,
    Voter,
    compare,
    field_study,
    interval,
    measure,
    measure_group,
)
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import ChunkRow, Progress
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.stages.heads.details import details_of
from mrag_pipeline.stages.heads.drift import drift_from
from mrag_pipeline.stages.heads.nearest import (
    NearestDocuments,
    StudiedIndex,
    read_rows,
    stored_vectors,
)
from mrag_pipeline.stages.heads.sample import sampled_ids

MIN_SAMPLE, MAX_SAMPLE = 20, 10_000
MAX_NEIGHBOURS = 50


@dataclass(frozen=True, slots=True)
class StudyRequest:
    """How to study."""

    sample: int = 500  # chunks
    neighbours: int = 10  # of each chunk
    seed: int = 0
    fields: tuple[str, ...] = ()  # as in a filter: metadata.KEY, title

    def check(self) -> None:
        """Raises: ConfigError for a value that is out of bounds, or no field."""
        if not MIN_SAMPLE <= self.sample <= MAX_SAMPLE:
            raise ConfigError(
                f"a sample of {self.sample} chunks", f"{MIN_SAMPLE} to {MAX_SAMPLE:,} chunks"
            )
        if not 1 <= self.neighbours <= MAX_NEIGHBOURS:
            raise ConfigError(f"{self.neighbours} neighbours", f"1 to {MAX_NEIGHBOURS}")
        if self.seed < 0:
            raise ConfigError(f"the seed {self.seed}", "0 or more")
        for field in self.fields:
            field_path(field)


def study_heads(
    record: VersionRecord,
    index: StudiedIndex,
    request: StudyRequest,
    progress: Progress,
    other: VersionRecord | None = None,
) -> HeadStudy:
    """What each head of a version separates, beside pieces of the standard vector.

    Args:
        other: a version of the same index to compare neighbours with.
    Raises: ConfigError for a request that the version cannot answer; VerifyFailed if a sampled
    chunk is missing in a head.
    """
    request.check()
    num_heads = len(record.encoder.heads)
    chunks_collection = record.chunks_collection()
    sample = _sample(record, index, request)
    ids = [row.id for row in sample]
    collections = record.head_collections()
    head_vectors = [stored_vectors(index, collection, ids) for collection in collections]
    standard = stored_vectors(index, chunks_collection, ids)

    num_searches = 2 * num_heads + 1 + (record.lexical is not None)
    progress.phase("neighbours", num_searches * len(ids), "searches")
    search = NearestDocuments(index, record, sample, request.neighbours, progress)
    of_heads, search_ms = search.of_heads(head_vectors)
    other_names, of_others = search.of_others(standard)
    piece_names, of_pieces = search.of_pieces(standard, num_heads)
    progress.finish()
    heads = [
        Voter(str(head), "head", own)
        for head, own in zip(record.encoder.heads, of_heads, strict=True)
    ]
    beside = [
        Voter(name, "lexical" if name == LEXICAL else "standard", own)
        for name, own in zip(other_names, of_others, strict=True)
    ]
    cut = [Voter(name, "piece", own) for name, own in zip(piece_names, of_pieces, strict=True)]

    words, values = _read_words(record, index, sample, [*heads, *beside, *cut], request, progress)
    edges = np.linspace(0, standard.shape[1], num_heads + 1).astype(int)
    piece_vectors = np.split(standard, edges[1:-1], axis=1)
    measured_heads = measure_group(
        heads, beside, words, ids, _alignments(head_vectors), request.seed
    )
    measured_pieces = measure_group(
        cut, beside, words, ids, _alignments(piece_vectors), request.seed
    )
    fields = tuple(
        field_study(field, heads, cut, beside, ids, values[field], request.seed)
        for field in request.fields
    )
    measured_beside = [
        measure(voter, [*heads, *(v for v in beside if v is not voter)], words, ids, request.seed)
        for voter in beside
    ]
    difference = compare(measured_heads, measured_pieces)
    verdict = verdict_of(measured_heads.study, difference)
    documents = search.documents
    shown = [
        *_with_preferences(measured_heads),
        *((measured, None, None) for measured in measured_beside),
        *_with_preferences(measured_pieces),
    ]
    ranked = [*heads, *beside]
    drift = None
    if other is not None:
        drift = drift_from(
            record, other, index, sample, ranked, documents, request.neighbours, progress
        )
    return HeadStudy(
        index=record.index,
        version=record.version,
        model=record.encoder.spec.model,
        num_documents=record.num_documents,
        num_chunks=record.num_chunks,
        sample=len(ids),
        seed=request.seed,
        neighbours=request.neighbours,
        voters=_voter_studies(record, index, shown, beside[0], documents.names()),
        heads=details_of(
            record, index, sample, measured_heads, beside, head_vectors, standard, words,
            search_ms, request.seed,
        ),
        overlap_voters=tuple(voter.name for voter in ranked),
        overlap=tuple(
            tuple(row) for row in overlap_matrix([v.neighbours for v in ranked]).tolist()
        ),
        groups={"heads": measured_heads.study, "pieces": measured_pieces.study},
        difference=difference,
        fields=fields,
        drift=drift,
        verdict=verdict,
        conclusion=conclusion_of(
            verdict, measured_heads.study, measured_pieces.study, difference
        ),
    )  # fmt: skip


def _sample(record: VersionRecord, index: StudiedIndex, request: StudyRequest) -> list[ChunkRow]:
    """The rows of the sampled chunks, by rising id.

    Raises: ConfigError for a version with too few heads or chunks, or a field that none has.
    """
    if len(record.encoder.heads) < 2:
        raise ConfigError(
            f"version {record.version} has one head", "two or more: heads are compared"
        )
    collection = record.chunks_collection()
    ids = sampled_ids(index.ids(collection), request.sample, request.seed).tolist()
    rows = {row.id: row for row in read_rows(index, collection, ids)}
    sample = [rows[chunk_id] for chunk_id in ids if chunk_id in rows]
    if len(sample) < MIN_SAMPLE:
        raise ConfigError(
            f"version {record.version} has {len(sample)} chunks",
            f"at least {MIN_SAMPLE}: figures of fewer say nothing",
            "ingest more documents, or chunk smaller",
        )
    for field in request.fields:
        with_field = sum(value_of(row, field) is not None for row in sample)
        if with_field < MIN_SAMPLE:
            known = sorted({key for row in sample for key in row.metadata})
            names = ", ".join(f"metadata.{key}" for key in known[:20]) or "no metadata"
            raise ConfigError(
                f"{with_field} of {len(sample)} sampled chunks have the field {field}",
                f"at least {MIN_SAMPLE}; the sampled chunks have: {names}",
                "name another --field, or take a larger --sample",
            )
    return sample


def _read_words(
    record: VersionRecord,
    index: StudiedIndex,
    sample: Sequence[ChunkRow],
    voters: Sequence[Voter],
    request: StudyRequest,
    progress: Progress,
) -> tuple[Words, Mapping[str, Mapping[int, str | None]]]:
    """The words, and each field's values, of the sampled chunks and all neighbours."""
    found = [voter.neighbours.chunks[voter.neighbours.is_hit] for voter in voters]
    own = np.array([row.id for row in sample], np.int64)
    ids = np.unique(np.concatenate([own, *found])).tolist()
    spec = record.lexical or LexicalSpec()
    words = Words()
    values: dict[str, dict[int, str | None]] = {field: {} for field in request.fields}
    progress.phase("words", len(ids), "chunks")
    for row in read_rows(index, record.chunks_collection(), ids):
        # One letter says nothing.
        in_text = {word for word in words_of(f"{row.title}\n{row.text}", spec) if len(word) > 1}
        words.add(row.id, in_text)
        for field in request.fields:
            values[field][row.id] = _comparable(value_of(row, field))
        progress.advance(1)
    words.weigh()
    progress.finish()
    return words, values


def _comparable(value: object) -> str | None:
    """A value that can be compared with others, lists and objects too; None stays None."""
    return None if value is None else json.dumps(value, sort_keys=True)


def _alignments(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """The CKA of each two voters: (V, V)."""
    matrix = np.eye(len(vectors))
    for row in range(len(vectors)):
        for column in range(row):
            matrix[row, column] = matrix[column, row] = alignment(vectors[row], vectors[column])
    return matrix


_Shown = tuple[MeasuredVoter, float | None, float | None]


def _with_preferences(group: MeasuredGroup) -> list[_Shown]:
    if group.repeatability is None or group.preference is None:
        return [(measured, None, None) for measured in group.voters]
    return [
        (measured, float(own), float(size))
        for measured, own, size in zip(
            group.voters, group.repeatability, group.preference, strict=True
        )
    ]


def _voter_studies(
    record: VersionRecord,
    index: StudiedIndex,
    shown: Sequence[_Shown],
    standard: Voter,
    names: Sequence[str],
) -> tuple[VoterStudy, ...]:
    hubs = [hub(measured.voter.neighbours, record.num_documents) for measured, _, _ in shown]
    rows = index.chunks(
        record.chunks_collection(), sorted({own.chunk_id for own in hubs if own.document >= 0})
    )
    studies = []
    for (measured, repeatability, preference), own_hub in zip(shown, hubs, strict=True):
        voter = measured.voter
        hub_row = rows.get(own_hub.chunk_id)
        hub_id = names[own_hub.document] if own_hub.document >= 0 else ""
        alone = measured.agreement_only_found
        is_known = ~np.isnan(alone)
        studies.append(
            VoterStudy(
                voter.name,
                voter.kind,
                float(measured.only_found_shares().mean()),
                int(measured.only_found.sum()),
                _mean(measured.agreement),
                float(alone[is_known].mean()) if is_known.any() else None,
                _mean(measured.agreement_dealt),
                interval(measured.above_chance()),
                float(overlap(voter.neighbours, standard.neighbours).mean()),
                repeatability,
                preference,
                HubDocument(
                    hub_id, hub_row.title if hub_row else "", own_hub.share, own_hub.skewness
                ),
            )
        )
    return tuple(studies)


def _mean(values: NDArray[np.float64]) -> float:
    """The mean of the values that are known; 0.0 if none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0
