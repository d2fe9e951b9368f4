"""Users' mistakes: one message that says what to do, the documented exit code, no traceback.

The command runs in this process unless the test is about a separate one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.errors import StorageFull
from mrag_pipeline.flows.ingest import make_plan
from mrag_pipeline.runtime.pools import serial_pool
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.reconcile import reconcile
from mrag_pipeline.wiring import at_work
from tests.support.builds import RecordingProgress
from tests.support.project_folder import GOOD, Mrag, Undisturbed, fill, refused, run, write_lines

pytestmark = pytest.mark.timeout(1800)


# ------------------------------------------------------------------ the corpus
def test_a_missing_file(mrag: Mrag) -> None:
    """Exit 3, with the path."""
    refused(mrag("plan", "nowhere.jsonl"), 3, "nowhere.jsonl")


def test_no_corpus_at_all(mrag: Mrag) -> None:
    """Exit 2, with how to name one."""
    refused(mrag("plan"), 2, "no corpus is named", "mrag ingest docs.jsonl")


def test_an_empty_folder(mrag: Mrag) -> None:
    """Exit 3."""
    Path("empty").mkdir()
    refused(mrag("plan", "empty"), 3, "empty")


def test_an_empty_file(mrag: Mrag) -> None:
    """Exit 3."""
    Path("empty.jsonl").touch()
    refused(mrag("plan", "empty.jsonl"), 3)


def test_a_corpus_without_a_document(mrag: Mrag) -> None:
    """Lines, but none with text: exit 3 before anything is embedded."""
    Path("blank.jsonl").write_text('{"id": "a", "text": ""}\n{"id": "b", "text": null}\n')
    refused(mrag("plan", "blank.jsonl"), 3)


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", b"\x00" * 5_000])
def test_a_broken_parquet_file(mrag: Mrag, content: bytes) -> None:
    """Exit 3, naming the file."""
    Path("broken.parquet").write_bytes(content)
    refused(mrag("plan", "broken.parquet"), 3, "broken.parquet")


def test_a_parquet_file_that_is_cut_short(mrag: Mrag) -> None:
    """As an interrupted download leaves it: exit 3, naming the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"] * 999, "text": ["b c d"] * 999}), "whole.parquet")
    whole = Path("whole.parquet").read_bytes()
    Path("cut.parquet").write_bytes(whole[: len(whole) // 2])
    refused(mrag("plan", "cut.parquet"), 3, "cut.parquet")


def test_bad_documents_are_dead_letters_with_reasons(undisturbed: Undisturbed) -> None:
    """Invalid JSON, not UTF-8, null, empty, a 20 MB line, a repeated id: each is set aside."""
    config = Config.load(undisturbed.project / "mrag.toml")
    staging = wiring.staging(config, undisturbed.second.json()["version"])
    manifest = staging.manifest()
    assert manifest is not None
    letters = [letter for shard in manifest.shards for letter in staging.dead_letters(shard.index)]
    duplicates = [
        letter for of_shard in (staging.duplicates() or {}).values() for letter in of_shard
    ]
    reasons = sorted(letter.reason for letter in (*letters, *duplicates))
    assert len(reasons) == 6
    for words in ("not JSON", "not UTF-8", "20,0", "duplicate document id", "text"):
        assert [reason for reason in reasons if words in reason], (words, reasons)
    assert all(letter.source for letter in (*letters, *duplicates))
    assert [letter.document_id for letter in letters if letter.document_id] == ["null", "empty"]
    assert [letter.document_id for letter in duplicates] == ["d3"]
    document_ids = [
        document.id for shard in manifest.shards for document in staging.documents(shard.index)
    ]
    assert sorted(document_ids) == sorted([f"d{i}" for i in range(GOOD)] + ["d3"])


# ------------------------------------------------------------------ the config and the model
def test_an_unknown_key(mrag: Mrag) -> None:
    """Exit 2, suggesting the similar key, before anything is loaded or started."""
    with Path("mrag.toml").open("a") as file:
        file.write("[chunking]\nmax_token = 64\n")
    for command in ("plan", "ingest"):
        refused(mrag(command, "x.jsonl"), 2, "chunking.max_token", "chunking.max_tokens")


def test_a_model_with_pickled_weights_only(mrag: Mrag) -> None:
    """Exit 4: reading them could run code."""
    Path("model").mkdir()
    Path("model/config.json").write_text('{"model_type": "bert"}')
    Path("model/pytorch_model.bin").write_bytes(b"\x80\x04.")
    write_lines(Path("x.jsonl"), range(2))
    refused(mrag("plan", "x.jsonl", "-s", "encoder.model=./model"), 4, "safetensors")


def test_a_model_that_does_not_exist(mrag: Mrag) -> None:
    """Exit 4."""
    write_lines(Path("x.jsonl"), range(2))
    refused(mrag("plan", "x.jsonl", "-s", "encoder.model=./nowhere"), 4, "nowhere")


# ------------------------------------------------------------------ what is staged and loaded
def test_staged_work_of_another_plan(mrag: Mrag) -> None:
    """Exit 6: a receipt with another fingerprint is refused, never warned about."""
    write_lines(Path("x.jsonl"), range(4))
    config = Config.load(None, {"corpus": {"uri": "x.jsonl"}, "workers": {"pool": "serial"}})
    made = make_plan(config)
    staging = wiring.staging(config, made.manifest.version)
    staging.write_manifest(made.manifest)
    pool = serial_pool(config, made.manifest)
    embed(made.manifest, staging, lambda: pool, IngestSpec(), RecordingProgress())
    assert mrag("plan", "x.jsonl").code == 0
    for receipt in Path(".mrag/staging").rglob("receipt.json"):
        text = receipt.read_text()
        receipt.write_text(text.replace(made.manifest.fingerprint, "0" * 32))
    refused(mrag("plan", "x.jsonl"), 6, "belongs to plan", "0" * 32)


def test_a_database_held_by_another_process(mrag: Mrag) -> None:
    """Exit 5, saying what to do; the command works once that process has ended."""
    write_lines(Path("x.jsonl"), range(4))
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from mrag_pipeline import wiring; from mrag_pipeline.config import Config;"
            "index = wiring.index(Config.load(None)); print('open', flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        for command in (("plan", "x.jsonl"), ("status",)):
            refused(mrag(*command), 5, "index.db", "one owner at a time")
    finally:
        holder.kill()
        holder.communicate()
    assert mrag("plan", "x.jsonl").code == 0


def test_a_second_run_at_the_same_time(mrag: Mrag, tmp_path: Path, prefect: str) -> None:
    """Exit 5, naming the process that holds the index."""
    write_lines(Path("x.jsonl"), range(4))
    with at_work.run_lock(Config.load(None)):
        ended = run("ingest", "x.jsonl", cwd=Path.cwd(), log=tmp_path / "second", prefect=prefect)
    assert ended.code == 5, ended.err
    assert f"process {os.getpid()}" in ended.err
    assert "Traceback" not in ended.err


def test_an_index_without_a_version(mrag: Mrag) -> None:
    """`inspect` exits with 5 because no version is live; `status` reports that there is none."""
    refused(mrag("inspect", "d1"), 5, "no live version", "mrag ingest")
    said = mrag("status")
    assert said.code == 0
    assert "no version yet" in said.out


# ------------------------------------------------------------------ the disk
def test_a_disk_too_small_for_the_plan(mrag: Mrag, small_disk: Path) -> None:
    """Exit 2 before the first vector, with the needed and the free space."""
    write_lines(Path("x.jsonl"), range(2_000))
    said = mrag("plan", "x.jsonl", "-s", f"staging.uri={small_disk}/staging")
    refused(said, 2, "MB are needed", "MB are free", "float16")


def test_a_disk_that_fills_up(mrag: Mrag, small_disk: Path) -> None:
    """Embedding and loading each stop with exit 7, and resume once there is room again."""
    write_lines(Path("x.jsonl"), range(40))
    config = Config.load(
        None,
        {
            "corpus": {"uri": "x.jsonl"},
            "sharding": {"shard_mb": 0.003},
            "staging": {"uri": str(small_disk / "staging")},
        },
    )
    made = make_plan(config)
    manifest = made.manifest
    assert len(manifest.shards) > 2
    staging = wiring.staging(config, manifest.version)
    staging.write_manifest(manifest)

    def embedded() -> int:
        pool = serial_pool(config, manifest)
        return embed(manifest, staging, lambda: pool, IngestSpec(), RecordingProgress()).chunks

    filler = fill(small_disk)
    with pytest.raises(StorageFull, match="no space left") as caught:
        embedded()
    assert caught.value.exit_code == 7
    assert "run the same command again" in caught.value.fix
    filler.unlink()
    assert embedded() == made.estimate.num_chunks
    reconcile(manifest, staging, IngestSpec(), RecordingProgress())

    on_small = config.model_copy(
        update={"milvus": type(config.milvus)(uri=str(small_disk / "x.db"))}
    )

    def loaded() -> int:
        with closing(wiring.index(on_small)) as index:
            return load(manifest, staging, index, made.estimate.num_chunks, RecordingProgress())

    shutil.rmtree(small_disk / "x.db", ignore_errors=True)
    with closing(wiring.index(on_small)):
        filler = fill(small_disk)
    with pytest.raises(StorageFull) as caught:
        loaded()
    assert caught.value.exit_code == 7
    filler.unlink()
    assert loaded() == 14
