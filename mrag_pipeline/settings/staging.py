"""`[staging]`: where embedded shards are stored, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrag_pipeline.settings.vectors import VectorType


@dataclass(frozen=True, slots=True)
class StagingSpec:
    """Where embedded shards are stored, and how they are written."""

    uri: str = ".mrag/staging"  # path, or URI of any filesystem: file://, s3://, gs://, abfs://
    vector_dtype: VectorType = "float32"  # of the staged vectors
    compression: Literal["zstd", "lz4", "snappy", "gzip", "none"] = "zstd"  # of the Parquet files
