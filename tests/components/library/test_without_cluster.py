"""`Index` where neither Ray nor Prefect is installed: the whole life of an index."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrag_pipeline import extras
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.blocked_imports import run_without

LIFE = """
import json, sys
from mrag_pipeline import Index
documents = [{"id": "dog", "text": "A herding dog guards the sheep."},
             {"id": "star", "text": "A cool giant star is rich in carbon."}]
settings = {"workers": {"serial_mb": 0.000001}}  # too small for auto, were Ray there
with Index.open(index="facts", encoder={"model": %r}, **settings) as index:
    ingested = index.ingest(documents)
    first = index.search("which star has much carbon", k=1).hits[0].document_id
    pushed = index.upsert([{"id": "cake", "text": "Layered butter cake."}])
    synced = index.sync(documents, allow_deletes=True)
    left = sorted(hit.document_id for hit in index.search("a dog", k=9).hits)
loaded = [name for name in ("ray", "prefect") if sys.modules[name] is not None]
print(json.dumps([ingested["documents"], first, pushed["added"], synced["removed"], left, loaded]))
"""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_an_index_lives_in_an_install_of_the_library(minilm: EncoderSpec, tmp_path: Path) -> None:
    """Ingested, searched, pushed to and synced by plain calls; a large plan stays here too."""
    ended = run_without(
        [*extras.LIBRARIES["cluster"], "sqlalchemy", "uvicorn"], LIFE % minilm.model, tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == '[2, "star", 1, 1, ["dog", "star"], []]'
