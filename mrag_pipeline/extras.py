"""What a smaller install lacks, and the extra of the distribution that brings it.

`pip install mrag-pipeline` brings what the client imports. `[library]` adds what searching and
ingesting in one's own process import, `[cluster]` what runs them as services and on many machines.
"""

from __future__ import annotations

import importlib.util

from mrag_pipeline.errors import NotInstalled

# By the names that Python imports.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "library": (
        *("bm25s", "botocore", "chardetng_py", "docutils", "fastapi", "filelock"),
        *("huggingface_hub", "markdown_it", "milvus_lite", "numpy", "platformdirs"),
        *("prometheus_client", "psutil", "pyarrow", "pymilvus", "pytrec_eval", "rich"),
        *("safetensors", "selectolax", "semantic_text_splitter", "sentencex", "snowballstemmer"),
        *(
            "starlette",
            "threadpoolctl",
            "tokenizers",
            "torch",
            "transformers",
            "typer",
            "uvicorn",
            "wcmatch",
        ),
        *("webencodings", "yaml"),
    ),
    "cluster": ("prefect", "ray"),
}
_EXTRA = {library: extra for extra, libraries in LIBRARIES.items() for library in libraries}


def has(library: str) -> bool:
    """Whether the library can be imported; imports nothing."""
    return importlib.util.find_spec(library) is not None


def not_installed(library: str, wanted_by: str = "") -> NotInstalled:
    """The error for a library of ours that is missing.

    Args:
        library: a key of LIBRARIES' lists.
        wanted_by: what needs it, as the subject of the sentence.
    """
    extra = _EXTRA[library]
    return NotInstalled(
        f"{wanted_by or 'this part of mrag'} needs {library}, which is not installed: "
        f"pip install 'mrag-pipeline[{extra}]'"
    )


def explained(error: ModuleNotFoundError, wanted_by: str = "") -> NotInstalled | None:
    """The error in our words; None if the missing module belongs to none of these extras."""
    library = (error.name or "").split(".")[0]
    return not_installed(library, wanted_by) if library in _EXTRA else None
