"""One file that cannot be read is set aside; the folder is read."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.dead_letters import is_of_a_file
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.corpus import CorpusSpec
from tests.support.corpus_files import read, written

LINES = "".join(f'{{"id": "{i}", "text": "text {i} {os.urandom(30).hex()}"}}\n' for i in range(99))
GOOD = '{"id": "good", "text": "fine"}\n'

BROKEN = {
    "b.jsonl.gz": gzip.compress(LINES.encode())[:-900],
    "b.jsonl.bz2": bz2.compress(LINES.encode())[:-900],
    "b.jsonl.zst": b"not zstandard",
    "c.jsonl.gz": gzip.compress(LINES.encode())[:40] + b"\x00" * 400,
    "d.jsonl": ("[" + LINES.replace("\n", ",")).encode(),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("good", ["a.jsonl", "z.jsonl"])
def test_a_truncated_file_costs_itself(tmp_path: Path, name: str, good: str) -> None:
    """Its dead letter names it and why, whether it comes first or last; nothing of it is read."""
    written(tmp_path / good, GOOD)
    written(tmp_path / name, BROKEN[name])
    items = read(tmp_path, max_bytes=500)
    (bad,) = [item for item in items if isinstance(item, DeadLetter)]
    assert [item.id for item in items if isinstance(item, Document)] == ["good"]
    assert bad.source == name
    assert is_of_a_file(bad)
    assert name in bad.reason
    assert "\n" not in open_corpus(CorpusSpec(str(tmp_path))).describe()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".txt", ".html", ".json"])
def test_a_link_to_nothing_and_a_closed_file_cost_themselves(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are named; before, a link to nothing was passed over and a closed file ended the run."""
    text = "id,text\n1,fine\n" if suffix == ".csv" else GOOD
    written(tmp_path / f"a{suffix}", text)
    written(tmp_path / f"closed{suffix}", text)
    (tmp_path / f"link{suffix}").symlink_to(tmp_path / "gone")
    refuse(monkeypatch, "closed")
    items = read(tmp_path)
    assert isinstance(items[0], Document)
    bad = [item for item in items if isinstance(item, DeadLetter)]
    assert [item.source for item in bad] == [f"closed{suffix}", f"link{suffix}"]
    assert "permission denied" in bad[0].reason
    assert "a link to a file that does not exist" in bad[1].reason
    assert all(map(is_of_a_file, bad))


def refuse(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Files that begin so cannot be opened; to root every file is open."""
    reading = FileTree.reading

    @contextmanager
    def refused(tree: FileTree, path: str) -> Iterator[None]:
        with reading(tree, path):
            if path.startswith(name):
                raise PermissionError(13, "Permission denied")
            yield

    monkeypatch.setattr(FileTree, "reading", refused)


def test_files_can_be_excluded(tmp_path: Path) -> None:
    """By name at any depth, or by path; what is left out can be listed."""
    for name in ("a.md", "b.md", "drafts/a.md", "drafts/c.md", "x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path / name, "text")
    for exclude, expected in (
        (("drafts/*",), ["a.md", "b.md"]),
        (("a.*",), ["b.md", "drafts/c.md"]),
        (("**/c.md", "b.md"), ["a.md", "drafts/a.md"]),
    ):
        reader = open_corpus(CorpusSpec(str(tmp_path), exclude=exclude))
        assert [piece.path for piece in reader.slices(10**9)] == expected
        every = {"a.md", "b.md", "drafts/a.md", "drafts/c.md", "x.png"}
        assert set(reader.left_out()) == every - set(expected)


@pytest.mark.parametrize("setting", ["include", "exclude"])
@pytest.mark.parametrize("pattern", ["!a.md", "!drafts/**"])
def test_negated_patterns_are_refused_with_the_setting_that_means_it(
    setting: str, pattern: str
) -> None:
    """They would match nothing."""
    with pytest.raises(ConfigError) as caught:
        open_corpus(CorpusSpec("x", **{setting: (pattern,)}))  # type: ignore[arg-type]
    assert pattern in caught.value.found
    other = {"include": "exclude", "exclude": "include"}[setting]
    assert caught.value.fix == f"put {pattern[1:]!r} into corpus.{other}"


@pytest.mark.parametrize("uri", ["gopher://a/b", "http+x://h/x", "ftp://h/x", "x-y://z"])
def test_an_unknown_scheme_is_one_line(uri: str) -> None:
    """No server is asked."""
    with pytest.raises(ConfigError) as caught:
        open_corpus(CorpusSpec(uri))
    assert uri in caught.value.found
    assert "\n" not in caught.value.found


@pytest.mark.parametrize(
    "text",
    ["\u200b\u200d", "\ufeff \u00ad", "\u202a\u202c\u2066", "\ufe0f\u034f", "\u3164\u115f",
     "\u2800 \u2800", "\U000e0041\U000e007f", "\x00\x01\u180e\u2060"],
)  # fmt: skip
def test_a_document_of_invisible_characters_is_empty(tmp_path: Path, text: str) -> None:
    """Joiners, marks of direction, variation selectors, fillers, tags."""
    (item,) = read(written(tmp_path / "a.txt", text))
    assert isinstance(item, DeadLetter)
    assert item.reason.endswith("is empty")
    (item,) = read(written(tmp_path / "a.txt", text + "x"))
    assert isinstance(item, Document)
