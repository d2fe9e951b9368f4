"""Several processes write the same shards: every one leaves the bytes of one."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

from tests.support.fake_staging import PLAN, an_output
from tests.support.staged_shards import contents, opened, planned


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    """A shard that another worker redoes, with another hash seed, is byte for byte the same."""
    planned(tmp_path / "one").write_shard(an_output(), PLAN)
    code = (
        "from tests.support.fake_staging import PLAN, an_output\n"
        "from tests.support.staged_shards import planned\n"
        f"planned({str(tmp_path / 'two')!r}).write_shard(an_output(), PLAN)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONHASHSEED": "7"}
    )
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def _write(uri: str) -> None:
    for shard in range(3):
        opened(uri).write_shard(an_output(shard), PLAN)


def test_two_processes_may_write_the_same_shards(tmp_path: Path) -> None:
    """A retried worker beside one that was thought dead leaves the bytes of one."""
    planned(tmp_path / "both")
    planned(tmp_path / "one")
    # Not forked: the product never runs a forked copy of a process with Ray's and Milvus's threads.
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(str(tmp_path / "both"),)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 3
    _write(str(tmp_path / "one"))
    assert contents(tmp_path / "both") == contents(tmp_path / "one")
