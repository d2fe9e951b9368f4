"""Approximate searches that find less than when the version was built: found, and built anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import AnySearchRequest, CollectionSpec, IndexCapabilities, Ranking
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.living_index import Living, a_document, audited, repaired


class Approximate(ExactIndex):
    """Exact, but where its index was damaged: there every second hit is missing."""

    def __init__(self) -> None:
        super().__init__("docs")
        self.damaged = ""

    def capabilities(self) -> IndexCapabilities:
        return replace(super().capabilities(), searches_exactly=False)

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        found = super().search([replace(one, limit=2 * one.limit) for one in requests])
        rankings = []
        for request, ranking in zip(requests, found, strict=True):
            kept = slice(1, None, 2) if request.collection == self.damaged else slice(request.limit)
            rankings.append(Ranking(ranking.ids[:, kept], ranking.scores[:, kept]))
        return rankings

    def rebuild(self, collection: CollectionSpec, tables: Iterable[pa.Table]) -> int:
        self.damaged = ""
        return super().rebuild(collection, tables)


@pytest.fixture
def living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Living:
    """Forty documents, live, with a recall of 0.98 in the record."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # no power is cut here
    made = Living(tmp_path / "staging", [a_document(i) for i in range(40)], Approximate())
    made.ingest()
    record = live_record(made.index)
    verified = {**record.config, "verified": {"recall": 0.98}}
    made.index.write_record(replace(record, config=verified))
    return made


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
