"""Approximate searches that find less than when the version was built: found, and built anew.

What changed for another reason (parameters, rows) is told and not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import AnySearchRequest, CollectionSpec, IndexCapabilities, Ranking
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.living_index import Living, a_document, audited, repaired

HNSW: Mapping[str, object] = {"index_type": "HNSW", "index_params": {}, "search_params": {}}


class Approximate(ExactIndex):
    """Exact, but where its index was damaged: there every second hit is missing."""

    def __init__(self) -> None:
        super().__init__("docs")
        self.damaged = ""
        self.is_curable = True
        self.vector_index = HNSW
        self.limits: set[int] = set()

    def capabilities(self) -> IndexCapabilities:
        is_exact = self.vector_index["index_type"] == "FLAT"
        return replace(
            super().capabilities(), searches_exactly=is_exact, vector_index=self.vector_index
        )

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        self.limits |= {one.limit for one in requests}
        found = super().search([replace(one, limit=2 * one.limit) for one in requests])
        rankings = []
        for request, ranking in zip(requests, found, strict=True):
            kept = slice(1, None, 2) if request.collection == self.damaged else slice(request.limit)
            rankings.append(Ranking(ranking.ids[:, kept], ranking.scores[:, kept]))
        return rankings

    def rebuild(self, collection: CollectionSpec, tables: Iterable[pa.Table]) -> int:
        self.damaged = "" if self.is_curable else self.damaged
        return super().rebuild(collection, tables)


@pytest.fixture
def living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Living:
    """Forty documents, live, with a recall of 0.98 in the record."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # no power is cut here
    made = Living(tmp_path / "staging", [a_document(i) for i in range(40)], Approximate())
    made.ingest()
    configured(made, verified={"recall": 0.98}, milvus=HNSW, ingest={"verify_k": 10})
    return made


def configured(living: Living, **config: object) -> None:
    """The record, as if the build had had this config."""
    record = live_record(living.index)
    living.index.write_record(replace(record, config={**record.config, **config}))


def damage_a_head(living: Living) -> Approximate:
    """Searches of the first head miss every second hit."""
    assert isinstance(living.index, Approximate)
    living.index.damaged = live_record(living.index).head_collections()[0]
    return living.index


@pytest.mark.parametrize(
    "changed",
    [{"index_type": "IVF_FLAT"}, {"index_params": {"M": 8}}, {"search_params": {"ef": 16}}],
)
def test_other_parameters_than_those_of_the_build_are_no_damage(
    living: Living, changed: dict[str, object]
) -> None:
    """The recall is told, and nothing is built anew: it would be no better."""
    index = damage_a_head(living)
    index.vector_index = {**HNSW, **changed}
    report = audited(living)
    assert report.findings == ()
    assert report.recall_now is not None
    assert report.recall_now < 0.9
    assert report.recall_not_comparable == f"the build had another milvus.{next(iter(changed))}"
    done = repaired(living)
    assert (done.restored, done.misled, index.damaged != "") == (0, (), True)


def test_rows_that_a_sync_changed_are_no_damage(living: Living) -> None:
    """Where a fixed number of lists is looked at, more rows are found less often."""
    living.items = [*living.items, a_document(99)]
    living.sync()
    index = damage_a_head(living)
    report = audited(living)
    assert report.findings == ()
    assert report.recall_not_comparable == "syncs have changed the version's rows since"
    assert (repaired(living).restored, index.damaged != "") == (0, True)


def test_as_many_hits_are_asked_for_as_by_the_build(living: Living) -> None:
    """By default more of them are searched for with more effort."""
    configured(living, ingest={"verify_k": 17})
    index = damage_a_head(living)
    index.limits.clear()
    assert len(audited(living).findings) == 1
    assert index.limits == {17}


def test_the_build_looked_at_a_sample_too(living: Living) -> None:
    """What one chunk showed is too little to call half of it damage."""
    damage_a_head(living)
    configured(living, verified={"recall": 0.98, "queries": 32})
    assert len(audited(living).findings) == 1
    configured(living, verified={"recall": 0.60, "queries": 1})
    assert audited(living).findings == ()
    configured(living, verified={"recall": 0.60, "queries": 10_000})
    assert len(audited(living).findings) == 1


@pytest.mark.parametrize("with_staging", [True, False])
def test_a_repair_that_cures_nothing_says_so(living: Living, with_staging: bool) -> None:
    """Staging is not here, or the new index is no better."""
    index = damage_a_head(living)
    index.is_curable = False
    assert repaired(living, with_staging).misled == (index.damaged,)


def test_exact_searches_of_an_approximate_index_are_not_expected(living: Living) -> None:
    """The config says FLAT by now; the collections are what they were built as."""
    index = damage_a_head(living)
    index.vector_index = {**HNSW, "index_type": "FLAT"}
    report = audited(living)
    assert report.findings == ()
    assert report.recall_not_comparable == "the build had another milvus.index_type"
    configured(living, milvus={**HNSW, "index_type": "FLAT"})
    assert len(audited(living).findings) == 1


@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_damaged_approximate_index_is_found_and_built_anew(living: Living, number: int) -> None:
    """A head's, or that of the standard vectors; no row has changed."""
    assert audited(living).findings == ()
    record = live_record(living.index)
    content = living.content()
    names = [*record.head_collections(), record.chunks_collection()]
    assert isinstance(living.index, Approximate)
    living.index.damaged = names[number]
    [finding] = audited(living).findings
    assert finding.where == names[number]
    assert "where it was 0.9800 when the version was built" in finding.what
    done = repaired(living)
    assert done.restored == record.num_chunks
    assert audited(living).findings == ()
    assert living.content() == content


def test_a_build_whose_recall_is_not_known_is_not_judged(living: Living) -> None:
    """Mrag 0.1 recorded none."""
    record = live_record(living.index)
    living.index.write_record(replace(record, config={}))
    assert isinstance(living.index, Approximate)
    living.index.damaged = record.head_collections()[0]
    assert audited(living).findings == ()


def test_a_recall_as_it_was_is_no_finding(living: Living) -> None:
    """Half of the hits, where half were found when the version was built."""
    record = live_record(living.index)
    halved = {**record.config, "verified": {"recall": 0.5}}
    living.index.write_record(replace(record, config=halved))
    assert isinstance(living.index, Approximate)
    living.index.damaged = record.head_collections()[0]
    assert audited(living).findings == ()
