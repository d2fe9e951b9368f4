"""`[rerank]`: the reranker, if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrag_pipeline.settings.bounds import Count, PositiveAmount, PositiveCount

RerankForm = Literal["tei", "cohere", "jina"]


@dataclass(frozen=True, slots=True)
class RerankSpec:
    """What rescores the documents that the vote found: a local cross-encoder, or an endpoint."""

    # A local cross-encoder (hub id, folder, or package:NAME); with url, its name at the endpoint.
    model: str = ""
    url: str = ""  # of an endpoint; empty: the model is local
    form: RerankForm = "tei"  # of the endpoint's requests and replies
    key_env: str = "MRAG_RERANK_API_KEY"  # environment variable that holds the endpoint's API key
    revision: str = ""  # commit of the hub, for a local model
    weights_sha256: str = ""  # of model.safetensors; a file with another hash is refused
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"  # of a local forward pass
    device: str = "auto"  # of a local model
    max_tokens: Count = 512  # of a window and a passage together; 0: the local model's own limit
    documents: PositiveCount = 50  # rescored for each question; its windows share them
    batch: PositiveCount = 32  # texts in one forward pass or request
    timeout_s: PositiveAmount = 10.0  # to rescore one question
    on_error: Literal["vote", "fail"] = "vote"  # keep the vote's order and warn, or fail

    @property
    def is_configured(self) -> bool:
        """Whether there is a reranker."""
        return bool(self.model or self.url)
