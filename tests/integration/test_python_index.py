"""`Index` and `Encoder` in a Python program: the page's own code, and the sources that it names."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from mrag_pipeline.client import ServiceProblem
from mrag_pipeline.config import Config
from mrag_pipeline.flows import run_record
from mrag_pipeline.flows.retire import drop
from mrag_pipeline.library.index import Index
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.project_folder import UNRECORDED, environment

pytestmark = pytest.mark.timeout(900)

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture
def index(minilm: EncoderSpec, tmp_path: Path) -> Iterator[Index]:
    """An index of nothing yet."""
    with Index.open(
        index="facts",
        encoder={"model": minilm.model},
        staging={"uri": f"{tmp_path}/staging"},
        milvus={"uri": f"{tmp_path}/index.db"},
    ) as opened:
        yield opened


def test_the_pages_code_runs(minilm: EncoderSpec, tmp_path: Path) -> None:
    """All blocks of docs/python.md, one after the other, in an empty folder."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment() | UNRECORDED | {"PYTHONPATH": str(PAGE.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Stars: A cool giant star" in ended.stdout
    assert "Dogs: A shaggy herding dog" in ended.stdout


def test_an_index_without_a_version_says_so(index: Index) -> None:
    """As the service would."""
    with pytest.raises(ServiceProblem, match="no live version"):
        index.search("anything")


def test_a_frame_is_ingested_and_synced_under_a_running_loop(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook; a sync's documents are found; retiring leaves what the version is of."""
    pd = pytest.importorskip("pandas")
    # The five runs are recorded by nobody.
    monkeypatch.setattr(run_record, "COMMAND", ("sh", "-c", "cat > /dev/null"))

    async def cell() -> None:
        frame = pd.DataFrame({"id": ["a", "b"], "text": ["A herding dog.", "A giant star."]})
        assert index.ingest(frame)["documents"] == 2
        assert index.search("a star", k=1).hits[0].document_id == "b"
        more = [*frame.to_dict("records"), {"id": "c", "text": "A flute of reed."}]
        synced = index.sync(iter(more))
        assert (synced["added"], synced["removed"]) == (1, 0)
        answer = await index.asearch("a flute", k=1)
        assert answer.hits[0].document_id == "c"
        pushed = index.upsert([{"id": "b", "text": "A bakery at the harbour."}], key="m1")
        assert (pushed["changed"], pushed["embedded_chunks"]) == (1, 1)
        assert index.upsert([{"id": "b", "text": "A bakery at the harbour."}], key="m1")["repeated"]
        assert index.delete(["c", "nobody"])["unknown"] == 1
        hits = index.search("a bakery", k=5).hits
        assert [hit.document_id for hit in hits] == ["b", "a"]
        assert "A flute of reed." in answer._repr_html_()

    asyncio.run(cell())
    index.close()
    given = tmp_path / "staging" / "facts" / "given"
    assert sorted(file.suffix for file in given.iterdir()) == [".jsonl", ".parquet"]
    settings = {
        "index": "facts",
        "staging": {"uri": f"{tmp_path}/staging"},
        "milvus": {"uri": f"{tmp_path}/index.db"},
        "retire": {"grace_hours": 0},
    }
    cast(Any, drop).fn(Config.load(None, settings), None)  # a task of Prefect
    assert [file.suffix for file in given.iterdir()] == [".parquet"]
