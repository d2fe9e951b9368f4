"""Documents, one of them, and a passage's neighbours, on an exact index over fakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.filters import Condition
from mrag_pipeline.query.browse import FindDocuments, FindNeighbours, ReadDocument
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.living_index import Living

ACME = Condition("metadata.owner", "eq", "acme")


def a_text(word: str, passages: int = 1) -> str:
    """Passages of eight words."""
    return " ".join(f"{word} {word}{number % 8}" for number in range(4 * passages))


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Living:
    """Three documents that begin alike, one of them of many passages, and a fourth."""
    documents = [
        Document("lib/http", a_text("wire", 60), title="HTTP clients", metadata={"owner": "acme"}),
        Document("lib/html", a_text("page"), title="Markup", metadata={"owner": "acme"}),
        Document("lib/heap", a_text("queue"), title="Heaps and html", metadata={"owner": "beta"}),
        Document("notes", a_text("html"), title="A note on html", metadata={"owner": "beta"}),
    ]
    made = Living(Path(tmp_path_factory.mktemp("browse")), documents)
    made.ingest()
    return made


def ids(living: Living, text: str, limit: int = 10, only: Condition | None = None) -> list[str]:
    record = live_record(living.index)
    found = FindDocuments(text, limit, only).of(living.index, record)
    assert found.version == record.version
    return [row.document_id for row in found.rows]


def test_a_document_is_found_by_how_its_id_or_title_begins(living: Living) -> None:
    """In any usual spelling; sorted by id."""
    assert ids(living, "lib/ht") == ["lib/html", "lib/http"]
    assert ids(living, "LIB/HTTP") == ["lib/http"]
    assert ids(living, "markup") == ["lib/html"]
    assert ids(living, "nothing like it") == []


def test_a_title_may_have_the_words_anywhere(living: Living) -> None:
    """After those that begin with them; not for a text alone that has them."""
    assert sorted(ids(living, "html")) == ["lib/heap", "notes"]
    assert ids(living, "wire") == []


def test_a_document_of_many_passages_crowds_out_no_other(living: Living) -> None:
    """Each stands once, however many of its passages match."""
    assert sorted(ids(living, "lib/", 3)) == ["lib/heap", "lib/html", "lib/http"]
    assert len(ids(living, "", 4)) == 4
    assert len(ids(living, "", 2)) == 2


def test_what_the_caller_may_not_see_is_not_there(living: Living) -> None:
    """Neither in a list, nor as a document, nor among neighbours."""
    assert sorted(ids(living, "", only=ACME)) == ["lib/html", "lib/http"]
    assert ids(living, "html", only=ACME) == []
    record = live_record(living.index)
    assert ReadDocument("notes", ACME).of(living.index, record) is None
    whole = ReadDocument("lib/html", ACME).of(living.index, record)
    assert whole is not None
    near = FindNeighbours(whole.rows[0].id, 10, ACME).of(living.index, record)
    assert near is not None
    assert {each.row.document_id for row in near.by_voter.values() for each in row} == {"lib/http"}
    hidden = ReadDocument("notes").of(living.index, record)
    assert hidden is not None
    assert FindNeighbours(hidden.rows[0].id, 10, ACME).of(living.index, record) is None


def test_a_document_is_read_in_its_order(living: Living) -> None:
    """All passages, first to last; an unknown id has none."""
    found = ReadDocument("lib/http").of(living.index, live_record(living.index))
    assert found is not None
    assert [row.ordinal for row in found.rows] == list(range(len(found.rows)))
    assert len(found.rows) >= 60
    assert ReadDocument("lib").of(living.index, live_record(living.index)) is None


def test_neighbours_are_other_documents_by_every_voter(living: Living) -> None:
    """Each once, nearest first, with the cosine that exact search gives."""
    record = live_record(living.index)
    found = ReadDocument("lib/html").of(living.index, record)
    assert found is not None
    near = FindNeighbours(found.rows[0].id, 3).of(living.index, record)
    assert near is not None
    assert list(near.by_voter) == [*map(str, record.encoder.heads), "standard"]
    for voter, collection in zip(
        near.by_voter, [*record.head_collections(), record.chunks_collection()], strict=True
    ):
        neighbours = near.by_voter[voter]
        documents = [each.row.document_id for each in neighbours]
        assert "lib/html" not in documents
        assert len(set(documents)) == len(documents) >= 1
        cosines = [each.cosine for each in neighbours]
        assert cosines == sorted(cosines, reverse=True)
        pair = [found.rows[0].id, neighbours[0].row.id]
        one, other = (living.index.vectors(collection, pair)[i] for i in pair)
        length = float((one @ one) ** 0.5 * (other @ other) ** 0.5)
        assert cosines[0] == pytest.approx(float(one @ other) / length, abs=1e-5)
    assert FindNeighbours(1, 3).of(living.index, record) is None
