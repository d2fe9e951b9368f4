"""Shard folders on a disk, planned for one version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging.shards import ShardFolders
from tests.support.fake_staging import a_manifest

VERSION = "vaaaaaaaaaaaa"


def opened(uri: Path | str) -> ShardFolders:
    """The staging area at an address; its manifest may be missing."""
    return ShardFolders(StagingSpec(uri=str(uri)), "docs", VERSION)


def planned(uri: Path | str, **changes: Any) -> ShardFolders:
    """The same, with a manifest."""
    staging = opened(uri)
    staging.write_manifest(a_manifest(**changes))
    return staging


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative path."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
