from __future__ import annotations

import bz2
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from mrag_pipeline.corpus.labelled.archive_files import archive_files
from mrag_pipeline.corpus.labelled.data_set import DataSet, from_folder, open_data_set
from mrag_pipeline.errors import BrokenFile, ConfigError, CorpusNotFound, EmptyCorpus

ARTICLES = [
    {"title": "Oak", "text": "A tree.", "label": "trees"},
    {"title": "Rome", "text": "A city.", "label": "cities"},
]


def articles_set(folder: Path, articles: object, queries: object) -> DataSet:
    (folder / "articles.json.bz2").write_bytes(bz2.compress(json.dumps(articles).encode()))
    (folder / "queries.json").write_text(json.dumps(queries))
    return from_folder(folder)


def tar(path: Path, files: Mapping[str, object]) -> None:
    with tarfile.open(path, "w:bz2") as archive:
        for name, value in files.items():
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def topics_set(folder: Path, files: Mapping[str, object], queries: object) -> DataSet:
    tar(folder / "documents.tar.bz2", files)
    tar(
        folder / "queries.tar.bz2",
        {"q/sampled.json": {"1": [{"related": ["nda"]}]}, "q/generated.json": queries},
    )
    return from_folder(folder)


def flaws(data: DataSet) -> dict[str, int]:
    return {flaw.what.split(":")[0]: flaw.count for flaw in data.labelled.flaws}


def test_an_articles_set_joins_titles_with_documents(tmp_path: Path) -> None:
    """Queries name titles; the LLM's list numbers are stripped from the sub-queries."""
    data = articles_set(
        tmp_path,
        ARTICLES,
        [{"topics": ["Oak", "Rome"], "text": "Oaks in Rome", "fusion": ["1. oaks", "2. rome"]}],
    )
    [query] = data.labelled.queries
    assert [document.id for document in data.documents] == ["Oak", "Rome"]
    assert [(aspect.documents, aspect.category) for aspect in query.aspects] == [
        ({"Oak"}, "trees"),
        ({"Rome"}, "cities"),
    ]
    assert query.sub_queries == ("oaks", "rome")
    assert data.labelled.categories == {"Oak": "trees", "Rome": "cities"}
    assert data.labelled.flaws == ()
    assert data.labelled.name == tmp_path.name


def test_a_repeated_title_is_reported_and_either_article_counts(tmp_path: Path) -> None:
    """Both articles are kept, with different ids."""
    twice = [*ARTICLES, {"title": "Oak", "text": "A novel.", "label": "books"}]
    data = articles_set(tmp_path, twice, [{"topics": ["Oak"], "text": "Oak?"}])
    assert [document.id for document in data.documents] == ["Oak", "Rome", "Oak (2)"]
    assert data.labelled.queries[0].aspects[0].documents == {"Oak", "Oak (2)"}
    assert flaws(data) == {"articles that share a title with another": 1}


def test_titles_without_an_article_are_reported_and_not_counted(tmp_path: Path) -> None:
    """The query keeps its number of aspects; a query with nothing to find is skipped."""
    data = articles_set(
        tmp_path,
        ARTICLES,
        [{"topics": ["Oak", "Elm"], "text": "Oak, elm"}, {"topics": ["Elm"], "text": "Elm"}],
    )
    [query] = data.labelled.queries
    assert (query.num_named, len(query.aspects)) == (2, 1)
    assert flaws(data) == {
        "titles that queries name and no document has, 2 times in all": 1,
        "queries with fewer aspects to find than they name, for that reason": 1,
        "queries skipped": 1,
    }


def test_broken_records_are_reported(tmp_path: Path) -> None:
    """No text, no title, a topic twice, the same text twice: each is counted."""
    articles = [*ARTICLES, {"title": "Elm"}, {"title": "Fir", "text": "A tree."}]
    queries = [{"topics": ["Oak", "Oak"], "text": "?"}, {"topics": [], "text": "?"}]
    data = articles_set(tmp_path, articles, queries)
    assert flaws(data) == {
        "articles without title or text": 1,
        "documents that share their text with another": 1,
        "queries without text or topics": 1,
        "queries that name a topic twice": 1,
    }
    assert data.labelled.queries[0].num_named == 1


TOPICS = {
    "docs/work/work_nda.json": [
        {"title": "A", "text": "First."},
        {"title": "B", "text": "Second."},
    ],
    "docs/home/home_lease.json": [{"title": "C", "text": "Third."}],
    "docs/home/._home_lease.json": b"\x00rubbish of another system",
}


def test_a_topics_set_joins_topics_with_all_their_documents(tmp_path: Path) -> None:
    """Any document of the topic's file counts; files without texts and hidden files are skipped."""
    queries = {"2": [{"related": ["nda", "lease"], "text": "Both."}]}
    data = topics_set(tmp_path, TOPICS, queries)
    assert [document.id for document in data.documents] == [
        "home/lease/01",
        "work/nda/01",
        "work/nda/02",
    ]
    [query] = data.labelled.queries
    assert [(sorted(aspect.documents), aspect.category) for aspect in query.aspects] == [
        (["work/nda/01", "work/nda/02"], "work"),
        (["home/lease/01"], "home"),
    ]
    assert data.documents[0].metadata == {"category": "home", "topic": "lease"}
    assert data.labelled.flaws == ()


def test_a_topic_in_two_categories_and_an_odd_name_are_reported(tmp_path: Path) -> None:
    """Documents of both files count for the topic."""
    files = {**TOPICS, "docs/home/home_nda.json": [{"text": "Fourth."}], "docs/home/odd.json": []}
    queries = {"1": [{"related": ["nda"], "text": "?"}, {"related": ["lease"], "text": "?"}]}
    data = topics_set(tmp_path, files, queries)
    assert len(data.labelled.queries[0].aspects[0].documents) == 3
    assert flaws(data) == {
        "topic files without a document": 1,
        "topic files that share a topic with another": 1,
        "topic files not named category_topic": 1,
    }


def test_a_query_under_the_wrong_number_of_aspects_is_reported(tmp_path: Path) -> None:
    """Its own number of topics counts."""
    data = topics_set(tmp_path, TOPICS, {"3": [{"related": ["nda", "lease"], "text": "?"}]})
    assert data.labelled.queries[0].num_named == 2
    assert list(flaws(data).values()) == [1]


def test_the_corpus_file_is_written_once(tmp_path: Path) -> None:
    """Writing again leaves the file's time unchanged, so the index version stays the same."""
    data = articles_set(tmp_path, ARTICLES, [{"topics": ["Oak"], "text": "?"}])
    path = data.write_documents(tmp_path / "corpus")
    stamp = path.stat().st_mtime_ns
    assert data.write_documents(tmp_path / "corpus").stat().st_mtime_ns == stamp
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {"id": "Oak", "title": "Oak", "text": "A tree.", "category": "trees"}


def test_queries_of_another_set_are_refused(tmp_path: Path) -> None:
    """A set with nothing to find is an error, not a score of zero."""
    with pytest.raises(EmptyCorpus, match="none of 1 queries"):
        articles_set(tmp_path, ARTICLES, [{"topics": ["Elm"], "text": "?"}])


def test_two_query_files_are_refused(tmp_path: Path) -> None:
    """The reader does not choose between them."""
    queries = [{"topics": ["Oak"], "text": "?"}]
    tar(tmp_path / "queries.tar.bz2", {"a.json": queries, "b.json": queries})
    (tmp_path / "articles.json").write_text(json.dumps(ARTICLES))
    with pytest.raises(BrokenFile, match="2 files of queries"):
        from_folder(tmp_path)


def test_a_folder_without_queries_is_refused(tmp_path: Path) -> None:
    """The message says what is missing."""
    (tmp_path / "articles.json").write_text("[]")
    with pytest.raises(ConfigError, match="0 entries with queries"):
        from_folder(tmp_path)


@pytest.mark.parametrize("data", [b"not an archive", b"", bz2.compress(b"not a tar either")])
def test_a_broken_archive_is_named(tmp_path: Path, data: bytes) -> None:
    """The file's name is in the message, whatever is wrong with it."""
    path = tmp_path / "documents.tar.bz2"
    path.write_bytes(data)
    with pytest.raises(BrokenFile, match=r"documents\.tar\.bz2"):
        list(archive_files(path))


def test_an_archive_larger_than_its_limit_is_refused(tmp_path: Path) -> None:
    """A bomb is not unpacked into memory."""
    tar(tmp_path / "a.tar.bz2", {"a.json": b" " * 1_000, "b.json": b" " * 1_000})
    (tmp_path / "a.json.bz2").write_bytes(bz2.compress(b" " * 1_000_000))
    for name in ("a.tar.bz2", "a.json.bz2"):
        with pytest.raises(BrokenFile, match="more than 1,500 bytes"):
            list(archive_files(tmp_path / name, max_bytes=1_500))


def test_a_member_named_to_escape_writes_nothing(tmp_path: Path) -> None:
    """Archives are read in memory; a name that starts with a dot is skipped."""
    inside = tmp_path / "inside"
    inside.mkdir()
    tar(inside / "a.tar.bz2", {"../escaped.json": [], "/tmp/absolute.json": []})
    before = sorted(tmp_path.rglob("*"))
    assert [file.name for file in archive_files(inside / "a.tar.bz2")] == ["/tmp/absolute.json"]
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_name_lists_the_known_ones() -> None:
    """The error lists the sets that exist."""
    with pytest.raises(ConfigError, match="no data set 'wikipedia'") as caught:
        open_data_set("wikipedia")
    assert "wikipedia-v1" in caught.value.expected


def test_a_missing_data_set_folder_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong MRAG_DATASETS is an error; it is not ignored."""
    monkeypatch.setenv("MRAG_DATASETS", str(tmp_path / "none"))
    with pytest.raises(CorpusNotFound, match="MRAG_DATASETS"):
        open_data_set("wikipedia-v1")
