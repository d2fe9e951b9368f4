"""An audit's sample, as a schedule may ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrag_pipeline.errors import ConfigError
from tests.support.plain_flows import plain_flows


@pytest.mark.parametrize("size", [0, -1])
def test_a_sample_of_no_chunks_is_refused(tmp_path: Path, size: int) -> None:
    """It would find nothing wrong; the command line refuses it by itself."""
    file = tmp_path / "mrag.toml"
    file.write_text('[corpus]\nuri = "a.jsonl"\n')
    with plain_flows():
        from mrag_pipeline.flows.audit import audit

        with pytest.raises(ConfigError, match=f"a sample of {size} chunks"):
            audit(str(file), {"milvus": {"uri": str(tmp_path / "index.db")}}, sample=size)
    assert not (tmp_path / "index.db").exists()
