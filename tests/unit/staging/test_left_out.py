"""What is left out of a version's shards."""

from __future__ import annotations

from pathlib import Path

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging.shards import ShardFolders
from tests.support.fake_staging import a_manifest


def test_what_is_left_out_goes_with_the_folder(tmp_path: Path) -> None:
    """Also for whoever has written or read it."""
    staging = ShardFolders(StagingSpec(uri=str(tmp_path)), "docs", "v1")
    staging.write_manifest(a_manifest())
    staging.write_duplicates({0: [DeadLetter("a", "", "", "")]})
    assert staging.duplicates()
    staging.remove()
    assert staging.duplicates() is None
