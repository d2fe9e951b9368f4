"""Data sets of the Hugging Face hub, read by its own client from a stand-in on loopback."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.errors import ConfigError, CorpusError, CorpusNotFound, FingerprintMismatch
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging.shards import open_staging
from tests.support.hub_server import Hub, served_hub

URI = "hf://datasets/people/notes"


def lines(*numbers: int) -> bytes:
    """Records as JSON Lines."""
    return "".join(f'{{"id": "{i}", "text": "Text number {i}."}}\n' for i in numbers).encode()


def parquet(numbers: range, text: str = "Text number") -> bytes:
    """Records as Parquet, in row groups of ten."""
    rows = [{"id": f"p{i}", "text": f"{text} {i}."} for i in numbers]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=10, compression="none")
    return buffer.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a data set of two commits; the client is pointed at it as HF_ENDPOINT does."""
    first = {
        "README.md": b"---\nlicense: mit\n---\n# Notes\n",
        "data/a.jsonl": lines(1, 2),
        "data/sub/b.jsonl": lines(3),
        "table/t.parquet": parquet(range(30)),
        "script.py": b"raise SystemExit",
    }
    made = Hub("people/notes", [first, {**first, "data/a.jsonl": lines(1, 2, 4)}])
    with served_hub(made, monkeypatch):
        yield made


def read(uri: str, **spec: object) -> list[Document | DeadLetter]:
    """Everything at the URI, slice by slice."""
    reader = open_corpus(CorpusSpec(uri, **spec))  # type: ignore[arg-type]
    return [item for piece in reader.slices(20) for item in reader.read([piece])]


def ids(uri: str, **spec: object) -> list[str]:
    return [item.id for item in read(uri, **spec) if isinstance(item, Document)]


def test_a_file_a_folder_and_a_pattern_are_read(hub: Hub) -> None:
    """In the order of the paths, listed page by page."""
    assert ids(f"{URI}/data/a.jsonl") == ["1", "2", "4"]
    assert ids(f"{URI}/data") == ["1", "2", "4", "3"]
    assert ids(f"{URI}/**/*.jsonl") == ["1", "2", "4", "3"]
    assert ids(URI, include=("b.jsonl",)) == ["3"]
    assert ids(f"{URI}/table") == [f"p{i}" for i in range(30)]


def test_a_revision_is_read_as_it_was(hub: Hub) -> None:
    """A commit by its name; the main branch by default."""
    assert ids(f"{URI}@{hub.commit(0)}/data/a.jsonl") == ["1", "2"]
    assert ids(f"{URI}@main/data/a.jsonl") == ["1", "2", "4"]


def test_a_run_reads_the_commit_that_it_began_with(hub: Hub) -> None:
    """Whatever is pushed meanwhile; a later reader sees that a planned file has changed."""
    planned = open_corpus(CorpusSpec(f"{URI}/data"))
    pieces = list(planned.slices(10**9))
    hub.commits.append({**hub.commits[1], "data/a.jsonl": lines(9)})
    assert len(list(planned.read(pieces))) == 4
    later = open_corpus(CorpusSpec(f"{URI}/data"))
    assert len(list(later.read(pieces[1:]))) == 1  # this file has not changed
    with pytest.raises(FingerprintMismatch, match="has changed since the run was planned"):
        list(later.read(pieces[:1]))


def test_a_large_file_is_read_in_ranges(hub: Hub) -> None:
    """One row group of many costs a part of the file."""
    hub.commits[-1]["table/t.parquet"] = parquet(range(400), "x" * 100_000)
    num_bytes = len(hub.commits[-1]["table/t.parquet"])
    assert num_bytes > 39_000_000
    planned = open_corpus(CorpusSpec(f"{URI}/table"))
    pieces = list(planned.slices(1))
    assert len(pieces) == 40
    hub.num_bytes_sent = 0
    reader = open_corpus(CorpusSpec(f"{URI}/table"), planned.reading())
    assert len(list(reader.read(pieces[20:21]))) == 10
    assert hub.num_bytes_sent < num_bytes / 2


def test_a_busy_hub_is_asked_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own client, which waits in between."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.statuses = [503, 503]
    assert ids(f"{URI}/data/sub/b.jsonl") == ["3"]
    hub.statuses = [500] * 100
    with pytest.raises(CorpusError, match="failed after several attempts"):
        ids(f"{URI}/data/sub/b.jsonl")


def test_what_is_not_there_is_said(hub: Hub) -> None:
    """The data set, the revision, the folder."""
    with pytest.raises(CorpusNotFound, match="shows no data set 'people/other'") as caught:
        ids("hf://datasets/people/other")
    assert "HF_TOKEN" in caught.value.fix
    with pytest.raises(CorpusNotFound, match="no revision 'v9'"):
        ids(f"{URI}@v9")
    with pytest.raises(CorpusNotFound, match="no such file or folder"):
        ids(f"{URI}/nothing")
    with pytest.raises(CorpusNotFound, match="no file matches"):
        ids(f"{URI}/data/*.csv")


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, with the way out; also where somebody has set HF_HUB_OFFLINE."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(CorpusError, match="the hub cannot be reached") as caught:
        ids(URI)
    assert "hf download" in caught.value.fix
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CorpusError, match="HF_HUB_OFFLINE is set"):
        ids(URI)


@pytest.mark.parametrize("uri", ["hf://people/notes", "hf://datasets/notes", "hf://spaces/a/b"])
def test_what_is_no_data_set_is_refused(uri: str) -> None:
    """No server is asked."""
    with pytest.raises(ConfigError, match="no data set of the hub"):
        open_corpus(CorpusSpec(uri))


def test_nothing_is_written_there() -> None:
    """It is no place for staging."""
    with pytest.raises(ConfigError, match="unknown scheme"):
        open_staging(StagingSpec(f"{URI}/staging"), "notes", "v")


def test_the_command_reads_it_by_hf_endpoint(hub: Hub, tmp_path: Path) -> None:
    """As a user with a mirror sets it."""
    endpoint = {"HF_ENDPOINT": constants.ENDPOINT, "HF_HOME": str(tmp_path)}
    code = (
        "from mrag_pipeline.corpus.reader import open_corpus\n"
        "from mrag_pipeline.settings.corpus import CorpusSpec\n"
        f"print(open_corpus(CorpusSpec('{URI}/data')).describe())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | endpoint, capture_output=True, text=True
    )
    assert "2 file(s)" in ended.stdout, ended.stderr
