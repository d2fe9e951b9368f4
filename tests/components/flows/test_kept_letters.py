"""Dead letters of a run that ends by them are kept, and its own error is told."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.errors import TooManyDeadLetters
from mrag_pipeline.flows import artifacts, ingest
from tests.support.builds import Build, a_document

LETTERS = [DeadLetter("", f"x:{number}", "empty", "") for number in range(20)]
ITEMS: list[Document | DeadLetter] = [
    a_document(0),
    *LETTERS,
    *(a_document(number) for number in range(100, 200)),
]


def test_an_ingest_that_is_cut_short_keeps_the_letters_of_what_it_has_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards that it did not come to have none yet; that they are not there is no error."""
    settings: dict[str, Any] = {
        "index": "docs",
        "staging": {"uri": str(tmp_path / "staging")},
        "milvus": {"uri": str(tmp_path / "index.db")},
    }
    config = Config.parse(settings)
    version = Build(ITEMS).plan().manifest.version
    staging = wiring.staging(config, version)
    build = Build(ITEMS, staging=staging)  # type: ignore[arg-type]
    manifest = build.planned()
    monkeypatch.setattr(ingest, "plan", lambda _: version)
    monkeypatch.setattr(ingest, "embed", lambda *_: build.embed(manifest))
    monkeypatch.setattr(artifacts, "dead_letters", lambda *_: None)  # on a Prefect server
    with pytest.raises(TooManyDeadLetters):
        inspect.unwrap(ingest.ingest)(None, settings)
    shards = [shard.index for shard in manifest.shards]
    assert None in list(staging.receipts(shards, manifest.fingerprint))
    kept = wiring.dead_letters(config).read(version)
    assert 10 <= len(kept) <= 20
    assert kept == LETTERS[: len(kept)]
