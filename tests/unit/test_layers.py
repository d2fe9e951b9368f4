"""The house's layers, held by reading the imports of every module (nothing is imported)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.source_imports import imports_of

ROOT = Path(__file__).parents[2]

# Low to high; layers of one rank are siblings and don't know each other.
RANKS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("settings", "wire", "environment", "processes", "extras", "quick_imports"),
    ("domain", "filesystems", "client", "library_settings", "config_keys", "config_tables"),
    ("ports",),
    ("query", "encoder", "corpus", "staging", "index", "locking", "llm", "rerank"),
    ("stages",),
    ("config",),
    ("wiring",),
    ("runtime", "report"),
    ("serving", "flows"),
    ("library",),
    ("integrations",),
    ("cli",),
    ("__main__",),
)
# What stands behind a port: only wiring names it.
ADAPTERS = {"encoder", "corpus", "staging", "index", "locking", "llm", "rerank"}
RANK = {layer: rank for rank, layers in enumerate(RANKS) for layer in layers}

OWNERS = {
    "torch": {"encoder"},
    "transformers": {"encoder"},
    "tokenizers": {"encoder"},
    "safetensors": {"encoder"},
    "huggingface_hub": {"encoder", "filesystems"},
    "sqlalchemy": {"corpus"},
    "deltalake": {"corpus"},
    "pyiceberg": {"corpus"},
    "pyarrow": {"corpus", "staging", "filesystems"},
    "filelock": {"locking"},
    "botocore": {"filesystems"},
    "pymilvus": {"index"},
    "snowballstemmer": {"index"},
    "bm25s": {"index"},
    "pytrec_eval": {"stages"},
    "pypdf": {"corpus"},
    "docx": {"corpus"},
    "pptx": {"corpus"},
    "openpyxl": {"corpus"},
    "milvus_lite": {"index"},
    "ray": {"runtime", "serving"},
    "matplotlib": {"report"},
    "pooch": {"corpus"},
    "fastapi": {"serving"},
    "starlette": {"flows", "serving"},
    "prometheus_client": {"serving", "flows"},
    "opentelemetry": {"serving"},
    "httpx": {"filesystems", "llm", "rerank", "flows", "cli", "client", "library"},
    "prefect": {"flows"},
    "uvicorn": {"flows", "serving"},
    "typer": {"cli"},
    "rich": {"cli", "library"},
    "langchain_core": {"integrations"},
    "llama_index": {"integrations"},
    "haystack": {"integrations"},
    "mcp": {"integrations"},
    "mcp_types": {"integrations"},
}
# What these may use besides the standard library; the others are bound by OWNERS alone.
PURE: dict[str, set[str]] = {
    "errors": set(),
    "settings": {"annotated_types"},
    "environment": set(),
    "processes": {"psutil"},
    "extras": set(),
    "quick_imports": set(),
    "library_settings": set(),
    "config_keys": {"pydantic"},
    "config_tables": set(),
    "wire": {"pydantic"},
    "domain": {"numpy"},
    "ports": {"numpy"},
    "query": {"numpy"},
    "stages": {"numpy", "pytrec_eval"},
    "config": {"pydantic"},
    "wiring": set(),
}


def layer_of(module: str) -> str:
    """`mrag_pipeline.index.milvus.adapter` is in `index`; "" for the root."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in RANK else ""


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """What a module's imports break, one sentence each."""
    layer = layer_of(module)
    package = module if is_package else module.rpartition(".")[0]
    found = []
    for one in imports_of(source, package):
        top = one.name.split(".")[0]
        where = f"{module}:{one.line} imports {one.name}"
        if top == "mrag_pipeline":
            other = layer_of(one.name)
            if not other or other == layer:
                continue
            if not layer or RANK[other] >= RANK[layer]:
                found.append(f"{where}: {other} is not below {layer or 'the package'}")
            elif other in ADAPTERS and layer != "wiring" and not one.typing_only:
                found.append(f"{where}: only wiring chooses implementations")
        elif top in sys.stdlib_module_names or one.typing_only:
            continue
        elif layer in PURE and top not in PURE[layer]:
            found.append(f"{where}: {layer} is pure")
        elif top in OWNERS and layer not in OWNERS[top]:
            found.append(f"{where}: {top} belongs to {', '.join(sorted(OWNERS[top]))}")
    return found


def _modules() -> list[Path]:
    # The link mrag_pipeline/flows leads to flows/; glob does not follow it.
    flows = (ROOT / "mrag_pipeline" / "flows" / path.name for path in ROOT.glob("flows/*.py"))
    return sorted([*ROOT.glob("mrag_pipeline/**/*.py"), *flows])


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    """Imports point down the layers, and each third-party library has its owners."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    assert violations(module, path.read_text("utf-8"), is_package) == []


def circles(sources: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The groups of modules that import each other in a loop, lazily or for types too.

    Args:
        sources: by module name; a package's own file under the package's name.
    """
    uses = {
        module: {
            name
            for imported in imports_of(source, module.rpartition(".")[0])
            for name in (imported.name, imported.name.rpartition(".")[0])
            if name in sources and name != module
        }
        for module, source in sources.items()
    }
    reached = {module: _reached(module, uses) for module in uses}
    loops = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in reached
        if module in reached[module]
    }
    return sorted(loops)


def _reached(start: str, uses: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(uses[start])
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += uses[module]
    return seen


def test_no_module_imports_itself_through_others() -> None:
    """There is an order in which every module can be read: no import circle."""
    sources = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text("utf-8")
        for path in _modules()
        if path.name != "__init__.py"  # packages hand names on
    }
    assert circles(sources) == []


def test_a_circle_is_found() -> None:
    """Also one of lazy imports, and one through a third module."""
    sources = {
        "a": "def f():\n    from b import x",
        "b": "import c",
        "c": "from a import y",
        "d": "import a",
    }
    assert circles(sources) == [("a", "b", "c")]


def test_every_module_has_a_layer() -> None:
    """A new folder must be given its place here before it can hold code."""
    homeless = {
        path.relative_to(ROOT / "mrag_pipeline").parts[0].removesuffix(".py")
        for path in ROOT.glob("mrag_pipeline/**/*.py")
    } - {*RANK, "__init__"}
    assert homeless == set()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mrag_pipeline.domain.heads", "from mrag_pipeline.ports import Encoder"),
        ("mrag_pipeline.domain.heads", "import pydantic"),
        (
            "mrag_pipeline.stages.ingest.load",
            "from mrag_pipeline.index.milvus.adapter import open_index",
        ),
        ("mrag_pipeline.stages.ingest.load", "from mrag_pipeline import index"),
        ("mrag_pipeline.stages.ingest.load", "from ...index import milvus"),
        ("mrag_pipeline.stages.ingest.load", "def f():\n    import pyarrow as pa"),
        ("mrag_pipeline.index.milvus.adapter", "import pyarrow.parquet as pq"),
        ("mrag_pipeline.index.exact", "from mrag_pipeline.staging.shards import open_staging"),
        ("mrag_pipeline.stages.sync.apply", "from mrag_pipeline.index.exact import ExactIndex"),
        ("mrag_pipeline.flows.ingest", "from mrag_pipeline.corpus.reader import open_corpus"),
        ("mrag_pipeline.config", "from mrag_pipeline.index.milvus.adapter import open_index"),
        ("mrag_pipeline.wiring", "def f():\n    from mrag_pipeline.runtime import pools"),
        ("mrag_pipeline.runtime.serial", "from mrag_pipeline.serving import app"),
        ("mrag_pipeline.runtime.serial", "import mrag_pipeline.flows.ingest"),
        ("mrag_pipeline.flows.ingest", "from mrag_pipeline.cli import app"),
        ("mrag_pipeline.flows.ingest", "import ray"),
        ("mrag_pipeline.cli.status", "def f():\n    from prefect import flow"),
        ("mrag_pipeline", "from mrag_pipeline.config import Config"),
    ],
)
def test_a_violation_is_found(module: str, source: str) -> None:
    """The checker sees upward, sideways, lazy and relative imports, and foreign libraries."""
    assert len(violations(module, source, module == "mrag_pipeline")) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mrag_pipeline.domain.heads", "import json, numpy\nfrom mrag_pipeline import errors"),
        ("mrag_pipeline.stages.ingest.load", "if TYPE_CHECKING:\n    import pyarrow as pa"),
        ("mrag_pipeline.stages.ingest.plan", "from mrag_pipeline.stages.ingest.load import load"),
        ("mrag_pipeline.config", "from mrag_pipeline.settings.milvus import MilvusSpec"),
        ("mrag_pipeline.wiring", "def f():\n    from mrag_pipeline.index.milvus.adapter import x"),
        (
            "mrag_pipeline.flows.ingest",
            "from prefect import flow\nfrom mrag_pipeline import wiring",
        ),
        (
            "mrag_pipeline.cli.status",
            "from mrag_pipeline import __version__\nimport mrag_pipeline.flows.ingest",
        ),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    """The checker does not cry about imports that point down, or that are for types only."""
    assert violations(module, source) == []
