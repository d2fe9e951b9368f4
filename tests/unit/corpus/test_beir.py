"""Labelled sets in the field's forms: BEIR folders, TREC topics and judgements."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrag_pipeline.corpus.labelled.beir import is_beir, read_beir
from mrag_pipeline.corpus.labelled.qrels import read_grades
from mrag_pipeline.corpus.labelled.trec import read_topics, read_trec
from mrag_pipeline.errors import BrokenFile, ConfigError, CorpusNotFound, EmptyCorpus

QUERIES = '{"_id": "q1", "text": "red fox"}\n\n{"_id": "q2", "text": "blue whale"}\n'


def beir(folder: Path, qrels: str, name: str = "qrels.tsv") -> Path:
    """A BEIR folder with these judgements."""
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "title": "", "text": "a"}\n')
    (folder / "queries.jsonl").write_text(QUERIES)
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(qrels)
    return folder


@pytest.mark.parametrize("name", ["qrels.tsv", "qrels/test.tsv", "qrels/dev.tsv"])
def test_a_beir_folder_is_read(tmp_path: Path, name: str) -> None:
    """Each relevant document is an aspect, with its grade; grade 0 is not relevant."""
    folder = beir(tmp_path, "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td 2\t1\nq1\td3\t0\n", name)
    assert is_beir(folder)
    labelled = read_beir(folder)
    [query] = labelled.queries
    assert query.text == "red fox"
    assert dict(query.relevant()) == {"d1": 2, "d 2": 1}
    assert [sorted(aspect.documents) for aspect in query.aspects] == [["d1"], ["d 2"]]
    assert not labelled.by_aspects
    assert [flaw.count for flaw in labelled.flaws] == [1]  # q2 has no relevant document


def test_the_test_split_comes_first(tmp_path: Path) -> None:
    """Of several splits the one that BEIR reports."""
    beir(tmp_path, "q2\td9\t1\n", "qrels/dev.tsv")
    labelled = read_beir(beir(tmp_path, "q1\td1\t1\n", "qrels/test.tsv"))
    assert [query.text for query in labelled.queries] == ["red fox"]


def test_a_folder_without_judgements_is_refused(tmp_path: Path) -> None:
    """Naming where they are looked for."""
    (tmp_path / "corpus.jsonl").write_text("")
    (tmp_path / "queries.jsonl").write_text(QUERIES)
    with pytest.raises(ConfigError, match="no judgements"):
        read_beir(tmp_path)


@pytest.mark.parametrize(
    ("queries", "line"),
    [
        ("{", 1),
        ('{"_id": "a"}', 1),
        ('{"_id": "a", "text": "x"}\n[1]', 2),
        ('{"_id": "a", "text": ""}', 1),
    ],
)
def test_a_broken_query_is_named_by_its_line(tmp_path: Path, queries: str, line: int) -> None:
    """Whatever is wrong with it."""
    folder = beir(tmp_path, "a\td1\t1\n")
    (folder / "queries.jsonl").write_text(queries)
    with pytest.raises(BrokenFile, match=rf"queries\.jsonl:{line}:"):
        read_beir(folder)


@pytest.mark.parametrize(
    ("text", "grades"),
    [
        ("301 0 FT-1 1\n301 0 FT-2 0\n", {"301": {"FT-1": 1, "FT-2": 0}}),
        ("query-id\tcorpus-id\tscore\n1\tAlû (god)\t1\n", {"1": {"Alû (god)": 1}}),
        ("\ufeff1\ta\t1.0\n\n", {"1": {"a": 1}}),
    ],
)
def test_judgements_of_both_forms_are_read(
    tmp_path: Path, text: str, grades: dict[str, dict[str, int]]
) -> None:
    """TREC's four columns and BEIR's three, ids with spaces where tabs divide."""
    path = tmp_path / "qrels"
    path.write_text(text, "utf-8")
    assert read_grades(path) == grades


@pytest.mark.parametrize("text", ["1 2\n", "1 0 d one\n", "a b c d e 1\n", "1 0 d nan\n"])
def test_a_broken_judgement_is_named_by_its_line(tmp_path: Path, text: str) -> None:
    """What was found and what a judgement looks like."""
    path = tmp_path / "qrels.txt"
    path.write_text("1 0 d 1\n" + text)
    with pytest.raises(BrokenFile, match=r"qrels\.txt:2:"):
        read_grades(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    """Topics and judgements alike."""
    with pytest.raises(CorpusNotFound, match="qrels"):
        read_grades(tmp_path / "qrels")
    with pytest.raises(CorpusNotFound, match="topics"):
        read_topics(tmp_path / "topics")


TOPICS = """
<top>
<num> Number: 301
<title> International Organized
Crime

<desc> Description:
Identify organizations
</top>
<top><num>302</num><title></title><desc>Only a description</desc></top>
"""


@pytest.mark.parametrize(
    ("text", "topics"),
    [
        (TOPICS, {"301": "International Organized Crime", "302": "Only a description"}),
        ("301\torganized crime\n\n7\tsea\n", {"301": "organized crime", "7": "sea"}),
    ],
)
def test_topics_of_both_forms_are_read(tmp_path: Path, text: str, topics: dict[str, str]) -> None:
    """Tags need not be closed; a topic without a title has its description."""
    path = tmp_path / "topics.txt"
    path.write_text(text)
    assert read_topics(path) == topics


@pytest.mark.parametrize("text", ["", "no tab here\n", "<top><title> x </top>"])
def test_broken_topics_are_refused(tmp_path: Path, text: str) -> None:
    """Naming the file."""
    path = tmp_path / "topics.txt"
    path.write_text(text)
    with pytest.raises(BrokenFile, match="topics"):
        read_topics(path)


def test_topics_and_judgements_make_a_set(tmp_path: Path) -> None:
    """Named after the topics; refused if they have nothing in common."""
    topics, qrels = tmp_path / "t.tsv", tmp_path / "q.txt"
    topics.write_text("1\tred\n2\tblue\n")
    qrels.write_text("1 0 d1 3\n")
    labelled = read_trec(topics, qrels)
    assert (labelled.name, [query.text for query in labelled.queries]) == ("t", ["red"])
    qrels.write_text("9 0 d1 3\n")
    with pytest.raises(EmptyCorpus):
        read_trec(topics, qrels)
