"""mrag 0.1 on shards that a server imports as they are.

Its code is `tests/golden/format_0_1/code.tar.xz`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging.shards import ShardFolders
from tests.support.fake_staging import HEADS, PLAN, a_manifest, an_output
from tests.support.staged_shards import VERSION

CODE = Path(__file__).parents[2] / "golden" / "format_0_1" / "code.tar.xz"
READING = f"""
import json, sys
from mrag_pipeline import __version__
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.stages.ingest.load import staged_rows
from mrag_pipeline.staging.shards import open_staging

staging = open_staging(StagingSpec(uri=sys.argv[1]), "docs", "{VERSION}")
heads = staging.manifest().encoder.heads
print(json.dumps([
    __version__,
    staging.receipt(0, "{PLAN}").num_chunks,
    staging.chunk_ids(0).tolist(),
    [row.text for row in staged_rows(staging.chunks(0))],
    [staging.head(0, head).num_rows for head in heads],
    [document.id for document in staging.documents(0)],
]))
"""


def test_0_1_reads_chunks_with_their_proofs(tmp_path: Path) -> None:
    """What its audit, verify and status read; it only cannot load the chunks from there."""
    spec = StagingSpec(uri=str(tmp_path / "staging"))
    staging = ShardFolders(spec, "docs", VERSION, import_bytes=0)
    staging.write_manifest(a_manifest())
    output = an_output()
    staging.write_shard(output, PLAN)
    staging.write_duplicates({})
    # Python 3.11.0 to 3.11.3 has no filters.
    checked: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(CODE) as archive:
        archive.extractall(tmp_path / "code", **checked)
    ended = subprocess.run(
        [sys.executable, "-c", READING, spec.uri],
        env={"PYTHONPATH": str(tmp_path / "code")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == [
        "0.1.0",
        4,
        [chunk.id for chunk in output.chunks],
        [chunk.text for chunk in output.chunks],
        [4] * len(HEADS),
        [document.id for document in output.documents],
    ]
