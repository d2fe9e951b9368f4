"""Measures how near a version's passages come to unrelated questions, by chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mrag_pipeline.domain.unrelated import UNRELATED
from mrag_pipeline.domain.verdicts import BY_CHANCE, NUM_CHUNKS
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import Encoder, Searches, SearchRequest
from mrag_pipeline.query.checks import check_encoder

_DECIMALS = 4


def by_chance(record: VersionRecord, encoder: Encoder, index: Searches) -> list[float]:
    """For each unrelated question the cosine of the passage nearest to it, in their order.

    Raises: FingerprintMismatch if the encoder did not build the version; IndexBusy,
        IndexUnavailable.
    """
    check_encoder(encoder.card, record)
    vectors = encoder.encode(UNRELATED, "query").standard
    [ranking] = index.search([SearchRequest(record.chunks_collection(), vectors, 1)])
    nearest = ranking.scores[:, 0]
    return [round(float(cosine), _DECIMALS) for cosine in nearest if np.isfinite(cosine)]


def calibrated(record: VersionRecord, encoder: Encoder, index: Searches) -> VersionRecord:
    """The record with what was found by chance, from which its verdicts take their levels."""
    cosines = by_chance(record, encoder, index)
    measured = {"cosines": cosines, NUM_CHUNKS: record.num_chunks}
    return replace(record, config={**record.config, BY_CHANCE: measured})
