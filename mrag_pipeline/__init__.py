"""Multi-Head RAG: one collection per attention head, and a vote among them."""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

# Imported when first asked for: the package itself brings no library along.
_LAZY = {
    "AsyncClient": "mrag_pipeline.client",
    "Client": "mrag_pipeline.client",
    "Encoder": "mrag_pipeline.library.encoder",
    "Index": "mrag_pipeline.library.index",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        missing = import_module("mrag_pipeline.extras").explained(error, f"mrag_pipeline.{name}")
        if missing is None:
            raise
        raise missing from None
