"""What the table of docs/support.md says of each Milvus that is known by its protocol."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.index.milvus.capabilities import MilvusRelease
from mrag_pipeline.ports import SearchRequest
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.fake_staging import table_of
from tests.support.index_rows import HEAD, vectors
from tests.support.milvus_protocol_server import protocol_server

PAGE = (Path(__file__).parents[2] / "docs" / "support.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("| ").split("|")]
    for line in re.findall(r"^\| (?:Lite )?\d\.\d \|.*$", PAGE, re.MULTILINE)
]
SERVERS = [row for row in ROWS if not row[0].startswith("Lite")]


def test_the_table_has_every_version_between_the_first_and_the_last() -> None:
    """None is left out."""
    assert [row[0] for row in SERVERS] == ["2.3", "2.4", "2.5", "2.6"]
    assert len(ROWS) == len(SERVERS) + 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_the_table_says_is_what_the_code_asks_for(row: list[str]) -> None:
    """Bulk import, 16-bit vectors and words."""
    name = row[0].replace("Lite ", "milvus_lite-")
    release = MilvusRelease.of(name if name.startswith("milvus") else f"v{name}.0")
    can = release.capabilities(MilvusSpec(), is_shared=True)
    told = ["yes" if one else "no" for one in (can.has_bulk_import, release.has_halves)]
    assert row[3:] == [*told, "yes" if can.has_full_text else "no"]


@pytest.mark.parametrize("row", SERVERS, ids=lambda row: row[0])
def test_a_head_is_loaded_changed_and_searched_by_protocol(row: list[str]) -> None:
    """By a server that says it is that version, in each type of vector that it has."""
    version = re.search(rf"{row[0]}\.\d+", row[1])
    dtypes = ["float32", *(["float16", "bfloat16"] if row[4] == "yes" else [])]
    for dtype in dtypes:
        with protocol_server(f"v{version[0] if version else f'{row[0]}.0'}") as (uri, _):
            spec = MilvusSpec(uri=uri, vector_dtype=dtype)  # type: ignore[arg-type]
            rows = (np.round(vectors(60) * 64) / 64).astype(
                np.float32
            )  # numbers that every type has
            rows[:, 0] = 1
            with closing(open_index(spec, "docs")) as index:
                assert index.load(HEAD, [table_of(range(50), rows[:50])]) == 50
                index.upsert(HEAD, table_of(range(50, 60), rows[50:]))
                index.delete(HEAD.name, [7])
                assert index.count(HEAD.name) == 59
                [found] = index.search([SearchRequest(HEAD.name, rows[55:56], 3)])
                assert found.ids[0, 0] == 55
                assert 7 not in set(index.vectors(HEAD.name, range(60)))
