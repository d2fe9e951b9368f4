"""mrag by its own commands: `ingest` where the model is new, `sync` after that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from protocol import Search, main, milvus, model

CONFIG = Path("mrag.toml")
MRAG = [sys.executable, "-m", "mrag_pipeline.cli"]


def ingest(folder: str) -> None:
    """Builds a version unless one of this model is live; then brings it up to date."""
    text = f'[corpus]\nuri = "{folder}"\n[encoder]\nmodel = "{model()}"\n'
    if "COMPARE_MILVUS" in os.environ:
        text += f'[milvus]\nuri = "{milvus("")}"\n'
    same = CONFIG.exists() and CONFIG.read_text() == text
    CONFIG.write_text(text)
    command = "sync" if same and live() else "ingest"
    settings = os.environ.get("COMPARE_SETTINGS", "").split()  # such as -s workers.pool=serial
    sys.exit(subprocess.run([*MRAG, command, *settings], check=False).returncode)


def live() -> str | None:
    """The live version's name; None before the first ingest has come to its end."""
    told = subprocess.run([*MRAG, "status", "--json"], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(told)["live"]  # type: ignore[no-any-return]


def reader() -> Search:
    """The index in this process."""
    from mrag_pipeline import Index

    index = Index.open()
    return lambda question, k: [hit.document_id for hit in index.search(question, k=k).hits]


main(ingest, reader)
