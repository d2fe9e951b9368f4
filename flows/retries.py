"""Which failures are worth another try of a whole phase."""

from __future__ import annotations

from mrag_pipeline.errors import IndexUnavailable

DELAYS_S = (5.0, 30.0)  # before the second and the third try


def is_worth_another_try(error: object) -> bool:
    """True only if the index did not answer: the pool retries shards, the client retries calls."""
    return isinstance(error, IndexUnavailable)
