from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrag_pipeline.corpus.labelled.query_file import read_labelled, write_labelled
from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery, LabelledSet
from mrag_pipeline.errors import BrokenFile, ConfigError, CorpusNotFound

GOOD = '{"text": "q", "relevant": ["a"]}'


def test_ids_and_groups_are_aspects(tmp_path: Path) -> None:
    """A single id is one aspect; in a group any of the ids counts."""
    path = tmp_path / "mine.jsonl"
    path.write_text(
        '{"text": "both", "relevant": ["a", ["b", "c"]], "sub_queries": ["x", "y"]}\n\n'
    )
    labelled = read_labelled(path)
    [query] = labelled.queries
    assert [set(aspect.documents) for aspect in query.aspects] == [{"a"}, {"b", "c"}]
    assert (query.num_named, query.sub_queries) == (2, ("x", "y"))
    assert (labelled.name, labelled.flaws) == ("mine", ())


def test_a_repeated_aspect_counts_once_and_is_reported(tmp_path: Path) -> None:
    """Groups with the same ids in another order are the same aspect."""
    path = tmp_path / "q.jsonl"
    path.write_text('{"text": "q", "relevant": [["a", "b"], ["b", "a"]]}')
    labelled = read_labelled(path)
    assert len(labelled.queries[0].aspects) == 1
    assert labelled.flaws[0].examples == ("line 1",)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "a JSON list, expected an object"),
        ('{"relevant": ["a"]}', "no `text`"),
        ('{"text": "q"}', "no `relevant`"),
        ('{"text": "q", "relevant": "a"}', "`relevant`: "),
        ('{"text": "q", "relevant": []}', "expected at least one id"),
        ('{"text": "q", "relevant": [[]]}', "empty id or group"),
        ('{"text": "q", "relevant": ["a", 3]}', r"`relevant\[1\]` is neither"),
        ('{"text": "q", "relevant": [["a", 3]]}', r"`relevant\[0\]` is neither"),
        ('{"text": " ", "relevant": ["a"]}', "`text` is empty"),
        ('{"text": 3, "relevant": ["a"]}', "`text`: "),
        ('{"text": "q", "relevants": ["a"], "relevant": ["a"]}', "unknown key `relevants`"),
        ('{"text": "q", "relevant": ["a"], "sub_queries": "x"}', "`sub_queries`: "),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    """The message has file, line number and reason, and shows the expected form."""
    path = tmp_path / "q.jsonl"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(BrokenFile, match=reason) as caught:
        read_labelled(path)
    assert f"{path}:2: " in caught.value.found
    assert '"relevant"' in caught.value.expected


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    """A line in another encoding than the others is refused, not guessed."""
    path = tmp_path / "q.jsonl"
    good = GOOD.replace('"q"', '"\u00e9\u00e8\u00e0\u00fc\u00f6"').encode()
    path.write_bytes(good + b'\n{"text": "caf\xe9", "relevant": ["a"]}')
    with pytest.raises(BrokenFile, match=r"q\.jsonl: not UTF-8: .* at byte"):
        read_labelled(path)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    """Windows editors write one."""
    path = tmp_path / "q.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n")
    assert read_labelled(path).queries[0].text == "q"


def test_an_empty_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    """An evaluation without queries would measure nothing."""
    path = tmp_path / "q.jsonl"
    path.write_text("\n")
    with pytest.raises(BrokenFile, match="contains no query"):
        read_labelled(path)
    with pytest.raises(CorpusNotFound, match="No such file"):
        read_labelled(tmp_path / "none.jsonl")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Kinds, groups, sub-queries and other scripts too: a person may correct it in between."""
    queries = (
        LabelledQuery(
            "Fluß und 河", (Aspect(frozenset("a")), Aspect(frozenset("bc"))), 2, kind="x"
        ),
        LabelledQuery("two", (Aspect(frozenset("a")),), 1, ("sub",)),
    )
    path = tmp_path / "made.jsonl"
    write_labelled(LabelledSet("made", queries, "any"), path)
    read = read_labelled(path).queries
    assert "Fluß und 河" in path.read_text("utf-8")
    assert [(q.text, q.kind, q.sub_queries, q.num_named) for q in read] == [
        (q.text, q.kind, q.sub_queries, q.num_named) for q in queries
    ]
    assert [[a.documents for a in q.aspects] for q in read] == [
        [a.documents for a in q.aspects] for q in queries
    ]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A folder that does not exist is not made."""
    with pytest.raises(ConfigError, match="nowhere"):
        write_labelled(LabelledSet("made", (), ""), tmp_path / "nowhere" / "made.jsonl")


@pytest.mark.parametrize(
    ("counts", "by_aspects"), [((2, 2), True), ((1, 2), True), ((1, 3), False), ((5,), True)]
)
def test_a_few_queries_do_not_count_for_many(
    tmp_path: Path, counts: tuple[int, ...], by_aspects: bool
) -> None:
    """Success is a mean over numbers of aspects only where each has queries enough."""
    path = tmp_path / "mine.jsonl"
    lines = [
        json.dumps({"text": "q", "relevant": [str(aspect) for aspect in range(num_aspects)]})
        for num_aspects, count in enumerate(counts, start=1)
        for _ in range(count)
    ]
    path.write_text("\n".join(lines))
    assert read_labelled(path).by_aspects == by_aspects
