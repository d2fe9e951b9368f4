"""Damages to rows and collections of a real Milvus server with an approximate index.

The rows of the table in docs/damage.md, without those that are files of Milvus Lite. Needs
`pip install --no-deps milvus==2.3.5`, which carries the server; skips elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mrag_pipeline.index.milvus.adapter import MilvusIndex, open_index
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.changed_rows import chunk_ids
from tests.support.damages import DAMAGES, Damage
from tests.support.living_index import Living, a_document, audit_says, repaired_as_command
from tests.support.milvus_server import Server, milvus_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# This server has no full text: words are searched by newer ones.
ROWS = [
    pytest.param(damage, id=damage.name)
    for damage in DAMAGES
    if damage.rows is not None and damage.where != "words"
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for both index types."""
    with milvus_server(tmp_path_factory.mktemp("milvus")) as made:
        yield made


@dataclass(frozen=True, slots=True)
class Whole:
    """An index, built and synced once, and what it holds."""

    living: Living
    index: MilvusIndex
    content: dict[str, dict[int, bytes]]


@pytest.fixture(scope="module", params=["HNSW", "IVF_FLAT"])
def whole(
    server: Server, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Whole]:
    """Each test leaves it as it was: that is what it tests."""
    name = f"damaged_{request.param.lower()}"
    spec = MilvusSpec(uri=server.uri, index_type=request.param)
    with closing(open_index(spec, name)) as index:
        assert isinstance(index, MilvusIndex)
        assert not index.capabilities().searches_exactly
        folder: Path = tmp_path_factory.mktemp(name)
        items = [a_document(i) for i in range(10)]
        living = Living(folder / "staging", items, index, name=name)
        record = living.ingest()
        verified = {**record.config, "verified": {"recall": 1.0}}
        index.write_record(replace(record, config=verified))
        living.items = [a_document(0, edition=1), *[a_document(i) for i in range(2, 11)]]
        living.sync()
        assert audit_says(living) == ""
        yield Whole(living, index, living.content())


def assert_mended(whole: Whole, found: str) -> None:
    """Audit says it, repair mends it, and every row is as it was, to the bit."""
    assert found in audit_says(whole.living)
    repaired_as_command(whole.living)
    assert audit_says(whole.living) == ""
    assert whole.living.content() == whole.content


@pytest.mark.parametrize("damage", ROWS)
def test_a_damaged_row_is_found_and_mended(whole: Whole, damage: Damage) -> None:
    """Searched by a graph or by lists, the rows are proven as they are by Lite."""
    record = live_record(whole.index)
    assert damage.rows is not None
    damage.rows(whole.index, record, chunk_ids(whole.index, record))
    assert_mended(whole, damage.found)


def test_a_dropped_head_is_built_anew(whole: Whole) -> None:
    """From staging, with its index; the alias and the others stay."""
    name = live_record(whole.index).head_collections()[1]
    whole.index._client.drop_collection(name)
    assert_mended(whole, "collection that is lost or damaged")


def test_a_lost_alias_is_set_again(whole: Whole) -> None:
    """The version is found by its record, and made live."""
    version = live_record(whole.index).version
    whole.index._client.drop_alias(f"{whole.living.name}_live")
    assert whole.index.live() is None
    repaired_as_command(whole.living)
    assert whole.index.live() == version
    assert audit_says(whole.living) == ""
    assert whole.living.content() == whole.content
