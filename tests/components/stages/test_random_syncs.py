"""Many random syncs in a row equal one build of the last corpus."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrag_pipeline.stages.sync.compare import SyncScope
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.living_index import Living, a_document, assert_same


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here, and fifty syncs write a thousand files."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_fifty_random_syncs_equal_a_rebuild(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Adds, changes and deletes: importance to 1e-9, ids, vectors, texts and counts exactly."""
    folder = tmp_path_factory.mktemp("syncs")
    random = np.random.default_rng(seed)
    corpus = {i: a_document(i) for i in range(12)}
    living = Living(folder / "staging", list(corpus.values()), num_heads=2)
    living.ingest()
    for step in range(1, 51):
        for _ in range(int(random.integers(1, 5))):
            number = int(random.integers(0, 40))
            if number in corpus and len(corpus) > 6 and random.random() < 0.5:
                del corpus[number]
            else:
                words = int(random.integers(3, 30))
                corpus[number] = a_document(number, edition=step, words=words)
        living.items = list(corpus.values())
        living.sync(SyncScope(allow_deletes=True))
    assert live_record(living.index).syncs > 0
    assert_same(living, living.rebuilt(folder / "rebuilt"))
