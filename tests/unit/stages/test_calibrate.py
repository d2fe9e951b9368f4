"""What a version finds by chance is measured with its own encoder, and kept in its record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mrag_pipeline.domain.unrelated import UNRELATED
from mrag_pipeline.domain.verdicts import BY_CHANCE, levels_in
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import FingerprintMismatch
from mrag_pipeline.stages.versions.calibrate import by_chance, calibrated
from tests.support.fake_encoder import FakeEncoder
from tests.support.query_world import WORLD


def test_each_unrelated_question_counts_by_the_passage_nearest_to_it() -> None:
    """Of the rows that exist, computed here from the vectors."""
    kept = [n for n, chunk in enumerate(WORLD.chunks) if chunk.id not in WORLD.deleted]
    questions = FakeEncoder().encode(UNRELATED, "query").standard
    expected = (questions @ WORLD.made.standard[kept].T).max(axis=1)
    measured = by_chance(WORLD.record, WORLD.encoder, WORLD.index)
    assert measured == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_record_keeps_it_and_everything_else() -> None:
    """It comes back from the stored record, and measuring again replaces it."""
    record = replace(WORLD.record, config={"index": "toy", BY_CHANCE: {"cosines": [0.5]}})
    measured = calibrated(record, WORLD.encoder, WORLD.index)
    assert replace(measured, config={}).to_json() == replace(record, config={}).to_json()
    assert measured.config["index"] == "toy"
    read = VersionRecord.from_json(measured.to_json())
    assert levels_in(read.config) == levels_in(measured.config) != levels_in(record.config)


def test_another_encoders_vectors_are_not_compared() -> None:
    """Their cosines would mean nothing."""
    with pytest.raises(FingerprintMismatch):
        by_chance(WORLD.record, FakeEncoder(num_heads=2), WORLD.index)
