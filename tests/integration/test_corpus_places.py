"""Where files are and which are selected: paths, URIs, globs, mixed folders."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.fs as pafs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.corpus import file_tree as tree_module
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.errors import ConfigError, CorpusError, CorpusNotFound, EmptyCorpus
from mrag_pipeline.filesystems.location import Place
from mrag_pipeline.settings.corpus import CorpusSpec
from tests.support.corpus_files import read

LINE = '{"id": "%s", "text": "x"}\n'


def tree(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(LINE % path)


def listed(uri: str | Path, **spec: object) -> list[str]:
    reader = open_corpus(CorpusSpec(str(uri), **spec))  # type: ignore[arg-type]
    return [piece.path for piece in reader.slices(10**9)]


def test_a_folder_is_read_recursively_in_the_order_of_the_paths(tmp_path: Path) -> None:
    """The same order on every machine; hidden files and folders are left out."""
    tree(tmp_path, "b.jsonl", "a/z.jsonl", "a/B.jsonl", "é.jsonl", ".h.jsonl", ".git/x.jsonl")
    assert listed(tmp_path) == ["a/B.jsonl", "a/z.jsonl", "b.jsonl", "é.jsonl"]


def test_a_path_a_uri_and_a_glob_name_the_same_files(tmp_path: Path) -> None:
    """Ids and slices do not depend on how the corpus is named."""
    tree(tmp_path, "a.jsonl", "b.jsonl", "sub/c.jsonl", "note.txt")
    both = ["a.jsonl", "b.jsonl"]
    assert listed(f"file://{tmp_path}/a.jsonl") == listed(tmp_path / "a.jsonl") == ["a.jsonl"]
    assert listed(f"file://{tmp_path}") == listed(tmp_path) == [*both, "sub/c.jsonl"]
    assert listed(f"{tmp_path}/*.jsonl") == listed(f"file://{tmp_path}/*.jsonl") == both
    assert listed(f"{tmp_path}/**/*.jsonl") == [*both, "sub/c.jsonl"]
    assert listed(f"{tmp_path}/[ab].jsonl") == listed(f"{tmp_path}/?.jsonl") == both
    assert listed(tmp_path, include=("*.jsonl",)) == [*both, "sub/c.jsonl"]
    assert listed(tmp_path, include=("sub/*", "b*")) == ["b.jsonl", "sub/c.jsonl"]


def test_documents_are_the_same_by_path_uri_and_glob(tmp_path: Path) -> None:
    """Each way of naming the corpus opens the file it lists."""
    tree(tmp_path, "a.jsonl")
    found = []
    for uri in (f"{tmp_path}", f"{tmp_path}/a.jsonl", f"file://{tmp_path}", f"{tmp_path}/*.jsonl"):
        reader = open_corpus(CorpusSpec(uri))
        found.append(list(reader.read(list(reader.slices(10**9)))))
    assert found == [[Document("a.jsonl", "x", source="a.jsonl, byte 0")]] * 4


def test_a_relative_path_starts_at_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As everywhere else on a command line."""
    tree(tmp_path, "docs/a.jsonl")
    monkeypatch.chdir(tmp_path)
    assert listed("docs") == listed("./docs/*") == ["a.jsonl"]


def test_a_file_whose_name_holds_wildcards_is_itself(tmp_path: Path) -> None:
    """A file of that exact name takes precedence over a pattern."""
    tree(tmp_path, "a[1].jsonl", "a1.jsonl")
    assert listed(tmp_path / "a[1].jsonl") == ["a[1].jsonl"]


def test_a_readme_beside_data_is_ignored_and_reported(tmp_path: Path) -> None:
    """Downloaded data sets come with a README."""
    tree(tmp_path, "README.md", "data/a.jsonl")
    assert listed(tmp_path) == ["data/a.jsonl"]
    assert "1 other file(s) ignored" in open_corpus(CorpusSpec(str(tmp_path))).describe()


def test_two_data_formats_are_refused(tmp_path: Path) -> None:
    """Choosing one would drop half of the corpus."""
    tree(tmp_path, "a.jsonl", "b.csv", "b.md")
    with pytest.raises(ConfigError, match="several formats: 1 csv, 1 jsonl, 1 text"):
        listed(tmp_path)
    assert listed(tmp_path, format="jsonl") == ["a.jsonl"]


def test_a_named_format_opens_a_file_of_any_name(tmp_path: Path) -> None:
    """A user who names the format and the file means both."""
    tree(tmp_path, "dump.log", "x.bak")
    with pytest.raises(ConfigError, match=r"no format known for 'dump\.log'"):
        listed(tmp_path / "dump.log")
    assert listed(tmp_path / "dump.log", format="jsonl") == ["dump.log"]
    assert listed(tmp_path, format="jsonl", include=("*.log",)) == ["dump.log"]


def test_a_missing_path_is_refused_with_similar_names(tmp_path: Path) -> None:
    """The error suggests what a typing error meant."""
    tree(tmp_path, "articles.jsonl")
    with pytest.raises(CorpusNotFound, match="no such file or folder") as caught:
        listed(tmp_path / "artcles.jsonl")
    assert caught.value.fix == f"did you mean {str(tmp_path / 'articles.jsonl')!r}?"
    with pytest.raises(CorpusNotFound, match=r"no file matches \*\.csv"):
        listed(f"{tmp_path}/*.csv")


def test_a_pipe_is_refused_as_what_it_is(tmp_path: Path) -> None:
    """As a shell's `<(zcat a.gz)` is; opening it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorpusError, match="a pipe") as caught:
        listed(tmp_path / "pipe", format="jsonl")
    assert caught.value.fix == "write what it gives to a file first"


@pytest.mark.parametrize("files", [(), ("a.bin",)], ids=["no file", "no known file"])
def test_a_folder_without_documents_is_empty(tmp_path: Path, files: tuple[str, ...]) -> None:
    """Refused before anything is spent, with the names that would be read."""
    tree(tmp_path, *files)
    with pytest.raises(EmptyCorpus):
        listed(tmp_path, format="parquet")
    with pytest.raises(ConfigError if files else EmptyCorpus):
        listed(tmp_path)


def test_an_object_store_is_read_as_a_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths, hidden files, globs and missing places are the same on another filesystem."""
    tree(tmp_path, "bucket/docs/a.jsonl", "bucket/docs/sub/b.jsonl", "bucket/docs/.c.jsonl")
    store = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())

    def opened(uri: str, what: str) -> Place:
        return Place(store, uri.removeprefix("gs://").partition("?")[0])

    monkeypatch.setattr(tree_module, "open_place", opened)
    assert listed("gs://bucket/docs") == ["a.jsonl", "sub/b.jsonl"]
    assert listed("gs://bucket/docs/*.jsonl?project=eu") == ["a.jsonl"]
    assert listed("gs://bucket/docs/a.jsonl") == ["a.jsonl"]
    reader = open_corpus(CorpusSpec("gs://bucket/docs"))
    found = list(reader.read(list(reader.slices(10))))
    assert [item.source for item in found] == ["a.jsonl, byte 0", "sub/b.jsonl, byte 0"]
    with pytest.raises(CorpusNotFound):
        listed("gs://bucket/nothing")


def test_a_uris_keys_and_options_are_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages and logs are read by others."""
    store = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    monkeypatch.setattr(tree_module, "open_place", lambda uri, what: Place(store, "docs"))
    tree(tmp_path, "docs/a.jsonl")
    reader = open_corpus(CorpusSpec("gs://KEY:SECRET@bucket/docs?token=SECRET"))
    assert " in gs://bucket/docs: " in reader.describe()
    slices = list(reader.slices(10**9))
    (tmp_path / "docs/a.jsonl").unlink()
    with pytest.raises(CorpusNotFound) as caught:
        list(reader.read(slices))
    assert caught.value.found == "gs://bucket/docs/a.jsonl: the file no longer exists"


@pytest.mark.parametrize("uri", ["ftp://host/docs", "nosuch://x", ""])
def test_an_unsupported_uri_is_a_config_error(uri: str) -> None:
    """Refused when the corpus is opened."""
    with pytest.raises(ConfigError):
        open_corpus(CorpusSpec(uri))


def test_an_unknown_format_is_a_config_error() -> None:
    """The formats are listed."""
    with pytest.raises(ConfigError) as caught:
        open_corpus(CorpusSpec("x", format="xml"))
    assert "parquet" in caught.value.expected


def test_odd_things_in_a_folder_do_no_harm(tmp_path: Path) -> None:
    """A circular link, a dangling link, a pipe without a writer, an empty file."""
    tree(tmp_path, "a.jsonl")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "dangling.jsonl").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "empty.jsonl").touch()
    assert listed(tmp_path) == ["a.jsonl", "dangling.jsonl"]


@pytest.mark.parametrize("through", ["", "hop"], ids=["straight", "by another link"])
def test_a_link_that_leads_out_of_the_folder_is_set_aside(tmp_path: Path, through: str) -> None:
    """Else whoever may write to the folder could have any file of the machine indexed."""
    tree(tmp_path, "corpus/a.jsonl", "secret.jsonl")
    target = Path("../secret.jsonl")
    if through:
        (tmp_path / through).symlink_to(tmp_path / "secret.jsonl")
        target = tmp_path / through
    (tmp_path / "corpus/b.jsonl").symlink_to(target)
    (tmp_path / "corpus/c.jsonl").symlink_to("a.jsonl")  # within: read
    (tmp_path / "name").symlink_to("corpus")  # the corpus itself may be named by a link
    for corpus in ("corpus", "name"):
        own, outward, within = read(tmp_path / corpus)
        assert isinstance(own, Document)
        assert isinstance(within, Document)
        assert isinstance(outward, DeadLetter)
        assert "leads out of the corpus's folder (corpus.follow_links" in outward.reason
    allowed = read(tmp_path / "corpus", follow_links=True)
    assert [item.id for item in allowed if isinstance(item, Document)][1] == "secret.jsonl"


def test_a_file_name_that_is_not_utf8_is_a_dead_letter(tmp_path: Path) -> None:
    """Its name cannot be stored, but the file is reported."""
    tree(tmp_path, "a.jsonl")
    Path(os.fsdecode(bytes(tmp_path) + b"/b\xff.jsonl")).write_text("{}")
    reader = open_corpus(CorpusSpec(str(tmp_path)))
    good, bad = reader.read(list(reader.slices(10**9)))
    assert isinstance(good, Document)
    assert isinstance(bad, DeadLetter)
    assert bad.source == "b\\udcff.jsonl"
    assert bad.reason == "the file name is not valid UTF-8"
    assert "a.jsonl" in listed(tmp_path)


def test_a_folder_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its documents would silently be missing, and a sync would delete them."""
    tree(tmp_path, "a.jsonl", "closed/b.jsonl")
    scandir = os.scandir

    def refusing(folder: str) -> object:  # root may list every folder
        if folder.endswith("closed"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(CorpusError, match=r"Permission denied: .*closed"):
        listed(tmp_path)


@given(
    st.lists(st.lists(st.sampled_from(["a", "a.b", "a!", "ab", "é", "Z"]), min_size=1, max_size=3))
)
@settings(max_examples=30)
def test_files_are_ordered_by_their_whole_paths(paths: list[list[str]]) -> None:
    """A folder's files come where their paths do: `a.b` before `a/c`, as in an object store."""
    with TemporaryDirectory() as place:
        tree(Path(place), *("/".join([*(f"{p}d" for p in parts), "x.jsonl"]) for parts in paths))
        tree(Path(place), *(f"{parts[0]}d.jsonl" for parts in paths))
        found = listed(place) if paths else []
    assert found == sorted(found, key=str.encode)
    assert len(found) == len(set(found)) >= len({"/".join(parts) for parts in paths})
