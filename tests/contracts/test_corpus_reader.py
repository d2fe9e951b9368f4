"""What every CorpusReader promises: the fake, every format of file, and files in real S3."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import cut
from mrag_pipeline.domain.visible_text import is_visible_text
from mrag_pipeline.errors import CorpusNotFound, EmptyCorpus, FingerprintMismatch
from mrag_pipeline.ports import CorpusReader
from mrag_pipeline.settings.corpus import CorpusSpec
from tests.support.fake_corpus import FakeCorpusReader
from tests.support.s3_server import Server, environment, exported

Texts = Sequence[str]
Build = Callable[[Path, Texts], CorpusReader]


def _json_lines(texts: Texts) -> bytes:
    rows = [{"id": f"d{i}", "title": f"T{i}", "text": text} for i, text in enumerate(texts)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _files(folder: Path, parts: dict[str, bytes]) -> CorpusReader:
    for name, data in parts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return open_corpus(CorpusSpec(str(folder)))


def fake(folder: Path, texts: Texts) -> CorpusReader:
    documents = [Document(f"d{i}", text, f"T{i}") for i, text in enumerate(texts)]
    bad = DeadLetter("", "fake", "blank", "")
    return FakeCorpusReader([one if is_visible_text(one.text) else bad for one in documents])


def jsonl(folder: Path, texts: Texts) -> CorpusReader:
    return _files(folder, {"a.jsonl": _json_lines(texts)})


def jsonl_in_two_files(folder: Path, texts: Texts) -> CorpusReader:
    half = _json_lines(texts).splitlines(keepends=True)
    middle = len(half) // 2
    parts = {"a.jsonl": b"".join(half[:middle]), "b/c.jsonl": b"".join(half[middle:]).rstrip()}
    return _files(folder, parts)


def jsonl_gz(folder: Path, texts: Texts) -> CorpusReader:
    return _files(folder, {"a.jsonl.gz": gzip.compress(_json_lines(texts))})


def jsonl_zst(folder: Path, texts: Texts) -> CorpusReader:
    data = pa.Codec("zstd").compress(_json_lines(texts), asbytes=True)
    return _files(folder, {"a.ndjson.zst": data})


def json_array_bz2(folder: Path, texts: Texts) -> CorpusReader:
    rows = [json.loads(line) for line in _json_lines(texts).splitlines()]
    return _files(folder, {"a.json.bz2": bz2.compress(json.dumps(rows).encode())})


def _csv_rows(texts: Texts) -> bytes:
    written = io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerow(["id", "title", "text"])
    writer.writerows((f"d{i}", f"T{i}", text) for i, text in enumerate(texts))
    return written.getvalue().encode()


def csv_with_bom(folder: Path, texts: Texts) -> CorpusReader:
    return _files(folder, {"a.csv": b"\xef\xbb\xbf" + _csv_rows(texts)})


def csv_gz(folder: Path, texts: Texts) -> CorpusReader:
    return _files(folder, {"a.csv.gz": gzip.compress(_csv_rows(texts))})


def _arrow(folder: Path, texts: Texts, name: str, write: Callable[..., Any]) -> CorpusReader:
    columns = {
        "id": pa.array([f"d{i}" for i in range(len(texts))], pa.string()),
        "title": pa.array([f"T{i}" for i in range(len(texts))], pa.string()),
        "text": pa.array(texts, pa.string()),
    }
    table = pa.table(columns)
    with write(folder / name, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return open_corpus(CorpusSpec(str(folder)))


def arrow_file(folder: Path, texts: Texts) -> CorpusReader:
    return _arrow(folder, texts, "a.feather", pa.ipc.new_file)


def arrow_stream(folder: Path, texts: Texts) -> CorpusReader:
    return _arrow(folder, texts, "a.arrow", pa.ipc.new_stream)


def parquet(folder: Path, texts: Texts) -> CorpusReader:
    columns = {
        "id": [f"d{i}" for i in range(len(texts))],
        "title": [f"T{i}" for i in range(len(texts))],
        "text": list(texts),
        "embedding": [[0.5, 0.5]] * len(texts),
    }
    pq.write_table(pa.table(columns), folder / "a.parquet", row_group_size=3)
    return open_corpus(CorpusSpec(str(folder)))


def text_files(folder: Path, texts: Texts) -> CorpusReader:
    return _files(folder, {f"{i:04}/T{i}.txt": text.encode() for i, text in enumerate(texts)})


BUILDS: list[Build] = [
    fake,
    jsonl,
    jsonl_in_two_files,
    jsonl_gz,
    jsonl_zst,
    json_array_bz2,
    csv_with_bom,
    csv_gz,
    parquet,
    arrow_file,
    arrow_stream,
    text_files,
]
IN_S3: list[Build] = [jsonl_in_two_files, csv_gz, parquet, arrow_file, text_files]


@dataclass(frozen=True, slots=True)
class Mirror:
    """A build whose files are read from a bucket."""

    build: Build
    s3: Server
    bucket: str

    def __call__(self, folder: Path, texts: Texts) -> CorpusReader:
        self.build(folder, texts)
        self.upload(folder)
        return open_corpus(CorpusSpec(f"s3://{self.bucket}{folder}"))

    def upload(self, folder: Path) -> None:
        """Makes the bucket's part what the folder is."""
        client, place = self.s3.client(), f"{self.bucket}{folder}"
        client.delete_dir_contents(place, missing_dir_ok=True)
        for file in folder.rglob("*"):
            if file.is_file():
                key = f"{place}/{file.relative_to(folder)}"
                # pyarrow would compress what is named .gz once more.
                with client.open_output_stream(key, compression=None) as stream:
                    stream.write(file.read_bytes())


@pytest.fixture(scope="module")
def mirrored(s3: Server) -> Iterator[str]:
    """A bucket for the module, reached as a user's environment says."""
    s3.make_bucket("corpus-contract")
    with exported(environment(s3.endpoint)):
        yield "corpus-contract"


def _parameter(build: Build, in_s3: bool) -> object:
    slow = [pytest.mark.slow] if in_s3 else []  # the formats do not know where their files are
    name = f"{build.__name__}{'_in_s3' if in_s3 else ''}"
    return pytest.param((build, in_s3), id=name, marks=slow)


@pytest.fixture(
    scope="module",
    params=[*(_parameter(one, False) for one in BUILDS), *(_parameter(one, True) for one in IN_S3)],
)
def build(request: pytest.FixtureRequest) -> Build:
    """Makes a corpus of texts in a folder, and its reader."""
    made, in_s3 = request.param
    if not in_s3:
        return made
    return Mirror(made, request.getfixturevalue("s3"), request.getfixturevalue("mirrored"))


def _needs_files(build: Build) -> None:
    if build is fake:
        pytest.skip("it has no files")


def _altered(build: Build, folder: Path) -> None:
    """Brings what the test did to the folder to where the reader reads."""
    if isinstance(build, Mirror):
        build.upload(folder)


# A carriage return or a BOM is the format's own business: files may change them.
some_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff"))
quoted_text = st.text(st.sampled_from('a",;\n é\x85\u200b\u2028'), max_size=8)
some_texts = st.lists(some_text | quoted_text, max_size=12).map(lambda found: ["first", *found])


def _all(reader: CorpusReader, max_bytes: int = 10**9) -> list[Document | DeadLetter]:
    return list(reader.read(list(reader.slices(max_bytes))))


@settings(max_examples=25)
@given(texts=some_texts, max_bytes=st.integers(1, 300), shard_bytes=st.integers(1, 300))
def test_every_document_comes_once_in_order_however_the_corpus_is_cut(
    build: Build, texts: list[str], max_bytes: int, shard_bytes: int
) -> None:
    """Shards of any size, each read by itself, together give what was written."""
    with TemporaryDirectory() as folder:
        reader = build(Path(folder), texts)
        shards = list(cut(reader.slices(max_bytes), shard_bytes))
        found = [item for shard in shards for item in reader.read(shard.slices)]
        whole = _all(reader)
    assert found == whole
    assert [isinstance(item, Document) for item in found] == [is_visible_text(t) for t in texts]
    documents = [item for item in found if isinstance(item, Document)]
    assert [one.text for one in documents] == [text for text in texts if is_visible_text(text)]
    assert [one.title for one in documents] == [
        f"T{i}" for i, t in enumerate(texts) if is_visible_text(t)
    ]


def test_slices_are_the_same_every_time_and_never_overlap(build: Build, tmp_path: Path) -> None:
    """The plan of an unchanged corpus is the same plan."""
    texts = [f"text {i}" for i in range(20)]
    reader = build(tmp_path, texts)
    slices = list(reader.slices(50))
    assert slices == list(reader.slices(50))
    assert all(piece.start < piece.stop and piece.num_bytes > 0 for piece in slices)
    ends = {(before.path, before.stop) for before in slices}
    assert all(p.start == 0 or (p.path, p.start) in ends or p == slices[0] for p in slices)
    assert len({(piece.path, piece.start) for piece in slices}) == len(slices)


def test_one_slice_read_alone_gives_its_part(build: Build, tmp_path: Path) -> None:
    """Reading slices one by one, in any order, gives the same documents."""
    reader = build(tmp_path, [f"text {i}" for i in range(20)])
    slices = list(reader.slices(1))
    alone = {piece: list(reader.read([piece])) for piece in reversed(slices)}
    assert [item for piece in slices for item in alone[piece]] == _all(reader)


def test_a_blank_document_is_a_dead_letter_and_its_neighbours_live(
    build: Build, tmp_path: Path
) -> None:
    """A document that cannot be read is set aside; the others are read."""
    found = _all(build(tmp_path, ["one", " \n", "three"]))
    assert [item.text if isinstance(item, Document) else None for item in found] == [
        "one",
        None,
        "three",
    ]


def test_ids_are_distinct_and_stay(build: Build, tmp_path: Path) -> None:
    """Reading again gives the same ids."""
    reader = build(tmp_path, [f"text {i}" for i in range(7)])
    ids = [item.id for item in _all(reader) if isinstance(item, Document)]
    assert len(set(ids)) == 7
    assert ids == [item.id for item in _all(reader, 1) if isinstance(item, Document)]


def test_it_describes_itself_in_one_line(build: Build, tmp_path: Path) -> None:
    """A line for people."""
    line = build(tmp_path, ["a text"]).describe()
    assert line
    assert "\n" not in line


def test_a_file_that_changed_since_planning_is_refused(build: Build, tmp_path: Path) -> None:
    """Ranges of another file would be another corpus."""
    _needs_files(build)
    slices = list(build(tmp_path, ["one", "two"]).slices(10**9))
    reader = build(tmp_path, ["one", "two", "three"])
    (tmp_path / slices[0].path).write_bytes(b"something else")
    _altered(build, tmp_path)
    with pytest.raises(FingerprintMismatch, match="has changed"):
        list(reader.read(slices))


def test_a_file_that_is_gone_is_named(build: Build, tmp_path: Path) -> None:
    """A vanished file is an error that names it, never fewer documents."""
    _needs_files(build)
    reader = build(tmp_path, ["one", "two"])
    slices = list(reader.slices(10**9))
    (tmp_path / slices[0].path).unlink()
    _altered(build, tmp_path)
    with pytest.raises(CorpusNotFound, match=Path(slices[0].path).name):
        list(reader.read(slices))


def test_the_fake_plays_an_empty_and_a_changed_corpus() -> None:
    """The fake fails as the real ones do."""
    with pytest.raises(EmptyCorpus):
        list(FakeCorpusReader([]).slices(1))
    reader = FakeCorpusReader([Document("a", "text")])
    slices = list(reader.slices(1))
    reader.stamp = "2"
    with pytest.raises(FingerprintMismatch):
        list(reader.read(slices))
