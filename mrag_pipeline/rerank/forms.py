"""The three forms in which rerankers are asked over HTTP: one row each.

Sources: the OpenAPI description of text-embeddings-inference (`/rerank`), Cohere's API reference
(`/v2/rerank`), Jina's API reference (`/v1/rerank`). vLLM, Infinity, LiteLLM and others answer in
the forms of Cohere or Jina.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.settings.rerank import RerankForm

_LARGEST = 1e300  # of a score; comparing converts no number, so none can overflow


class UnusableReply(ValueError):
    """A reply that is not of the form; its text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Form:
    """How one kind of endpoint is asked, and how its reply is read."""

    path: str
    texts_key: str  # of the request's passages
    score_key: str  # of a result's score
    results_key: str  # of the reply's results; empty: the reply is the list of them
    names_model: bool  # whether the request names a model and how many results are wanted
    always: Mapping[str, Any] = field(default_factory=dict)  # in every request

    def url(self, base: str) -> str:
        """The base with the form's path; a base that ends in `/rerank` is the whole URL."""
        base = base.rstrip("/")
        return base if base.endswith("/rerank") else base + self.path

    def body(self, model: str, query: str, passages: Sequence[str]) -> dict[str, Any]:
        """One request, which wants a score for every passage."""
        body: dict[str, Any] = {"query": query, self.texts_key: list(passages), **self.always}
        if self.names_model:
            body |= {"model": model, "top_n": len(passages)}
        return body

    def read(self, content: bytes, num_passages: int) -> NDArray[np.float64]:
        """(N,) the scores in a reply, in the order of the passages.

        Raises: UnusableReply unless every passage has exactly one finite score.
        """
        try:
            reply = json.loads(content)
        except (ValueError, RecursionError):
            raise UnusableReply("it is not JSON") from None
        results = reply.get(self.results_key) if isinstance(reply, dict) else reply
        if not isinstance(results, list) or isinstance(reply, dict) != bool(self.results_key):
            raise UnusableReply(f"it has no {self.results_key or 'list of results'}")
        scores = np.full(num_passages, np.nan)
        for result in results:
            index, score = self._result(result)
            if not 0 <= index < num_passages:
                raise UnusableReply(f"index {index} for {num_passages} texts")
            if not math.isnan(scores[index]):
                raise UnusableReply(f"index {index} twice")
            scores[index] = score
        missing = np.flatnonzero(np.isnan(scores))
        if len(missing):
            raise UnusableReply(f"{len(missing)} of {num_passages} texts without a score")
        return scores

    def _result(self, result: object) -> tuple[int, float]:
        index = result.get("index") if isinstance(result, dict) else None
        score = result.get(self.score_key) if isinstance(result, dict) else None
        # Python counts true and false as numbers.
        if type(index) is not int or isinstance(score, bool) or not isinstance(score, int | float):
            raise UnusableReply(f"a result without a whole `index` and a number `{self.score_key}`")
        if not -_LARGEST <= score <= _LARGEST:  # also NaN, and a whole number of any length
            raise UnusableReply(f"a `{self.score_key}` that is no finite number")
        return index, float(score)


FORMS: Mapping[RerankForm, Form] = {
    "tei": Form("/rerank", "texts", "score", "", False, {"truncate": True, "raw_scores": False}),
    "cohere": Form("/v2/rerank", "documents", "relevance_score", "results", True),
    "jina": Form(
        "/v1/rerank", "documents", "relevance_score", "results", True, {"return_documents": False}
    ),
}
