"""Scores, verdicts and filter warnings from Milvus Lite are those of exact search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from mrag_pipeline.domain.filters import Condition
from mrag_pipeline.domain.verdicts import levels_in
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import TextSearchRequest, VectorIndex
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.search import Searcher
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.versions.calibrate import calibrated
from tests.support.query_world import QUERIES, SPEC, WORLD


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorIndex]:
    """The generated chunks in Milvus Lite, their words too, with some text rows deleted."""
    path = tmp_path_factory.mktemp("lite") / "x.db"
    with closing(open_index(MilvusSpec(uri=str(path)), "toy")) as index:
        WORLD.load(index, range(len(WORLD.chunks)))
        index.delete(WORLD.record.chunks_collection(), sorted(WORLD.deleted))
        yield index


@pytest.fixture(scope="module")
def record(lite: VectorIndex) -> VersionRecord:
    """The version's record, calibrated over Lite and written there."""
    measured = calibrated(WORLD.record, WORLD.encoder, lite)
    lite.write_record(measured)
    read = lite.record(measured.version)
    assert read is not None
    return read


def scores_of(answer: Answer) -> list[tuple[str, float | None, float | None, tuple[int, ...]]]:
    return [
        (found.hit.document_id, found.cosine, found.bm25, found.aspects) for found in answer.found
    ]


def test_what_is_found_by_chance_is_that_of_exact_search(record: VersionRecord) -> None:
    """And it comes back from the record that Lite keeps."""
    exact, lite = (
        levels_in(calibrated(WORLD.record, WORLD.encoder, WORLD.index).config),
        levels_in(record.config),
    )
    assert exact is not None
    assert lite is not None
    assert (lite.weak, lite.found) == pytest.approx((exact.weak, exact.found), abs=2e-4)


@pytest.mark.parametrize("strategy", ["aspect", "mrag", "standard", "standard-windows"])
def test_scores_are_those_of_exact_search(
    lite: VectorIndex, record: VersionRecord, strategy: str
) -> None:
    """Cosines, whether words are shared, aspects and verdicts, in the same order."""
    for query in QUERIES:
        question = WORLD.question(query, strategy, k=6)
        [found] = Searcher(lite, record, SPEC).search([question])
        [right] = Searcher(WORLD.index, record, SPEC).search([question])
        assert found.documents() == right.documents()
        for lite_scores, exact in zip(scores_of(found), scores_of(right), strict=True):
            assert lite_scores[1] == pytest.approx(exact[1], abs=1e-4)
            # Lite's BM25 is up to 5 % from ours: the next test compares it with its own.
            assert (lite_scores[2] == 0.0) == (exact[2] == 0.0)
            assert lite_scores[3] == exact[3]
        for aspect, expected in zip(found.aspects, right.aspects, strict=True):
            assert aspect.nearness == pytest.approx(expected.nearness, abs=1e-4)
            assert (aspect.text, aspect.verdict) == (expected.text, expected.verdict)


def test_word_scores_by_id_are_those_of_lites_own_full_text_search(
    lite: VectorIndex, record: VersionRecord
) -> None:
    """A search among a few ids must not count words among these alone."""
    question = WORLD.question(QUERIES[1], "mrag", k=20)
    [answer] = Searcher(lite, record, SPEC).search([question])
    assert record.lexical is not None
    request = TextSearchRequest(
        str(record.lexical_collection()), (QUERIES[1],), len(WORLD.chunks), record.lexical
    )
    [ranking] = lite.search([request])
    expected = dict(zip(ranking.ids[0].tolist(), ranking.scores[0].tolist(), strict=True))
    for found in answer.found:
        best = max(expected.get(chunk, 0.0) for chunk in found.hit.chunk_ids)
        assert found.bm25 == pytest.approx(best, rel=1e-4)


def test_a_least_score_is_kept_on_lite(lite: VectorIndex, record: VersionRecord) -> None:
    """No hit below it, and those above are the same as without."""
    searcher = Searcher(lite, record, SPEC)
    question = WORLD.question(QUERIES[1], "adaptive", k=20)
    [everything] = searcher.search([question])
    least = sorted(found.cosine or 0.0 for found in everything.found)[4]
    [answer] = searcher.search([replace(question, min_score=least)])
    expected = [found for found in everything.found if (found.cosine or 0.0) >= least]
    assert scores_of(answer) == [
        (found.hit.document_id, found.cosine, found.bm25, found.aspects) for found in expected
    ]
    assert len(expected) < len(everything.found)


@pytest.mark.parametrize(
    ("wanted", "warning"),
    [
        (Condition("metadata.yaer", "ge", 2005), "did you mean metadata.year?"),
        (Condition("metadata.year", "eq", "2005"), "only numbers"),
        (Condition("metadata.shelf", "eq", True), "only strings"),
        (Condition("metadata.year", "eq", 1900), None),
        (Condition("metadata.shelf", "eq", "a"), None),
    ],
)
def test_a_filter_that_cannot_match_is_a_warning(
    lite: VectorIndex, record: VersionRecord, wanted: Condition, warning: str | None
) -> None:
    """Lite compares in Python what it cannot express; the warning is the same."""
    [answer] = Searcher(lite, record, SPEC).search([WORLD.question("dog", filter=wanted)])
    assert len(answer.warnings) == (warning is not None)
    assert warning is None or warning in answer.warnings[0]
