"""Metadata from a file through a real ingest into filters and tenants, as docs/api.md says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.project_folder import Mrag
from tests.support.served_project import serving

pytestmark = pytest.mark.timeout(1800)

SERIAL = ("-s", "workers.pool=serial")
ROWS: list[dict[str, Any]] = [
    {
        "id": "m1", "text": "alpha harbour", "lang": "en", "year": 2020, "tags": ["x", "y"],
        "owner": {"name": "acme", "address": {"city": "Bern"}}, "a.b": "dot",
        "on": "2024-05-01T23:30:00-02:00", "score": float("nan"),
    },
    {
        "id": "m2", "text": "beta harbour", "lang": "de", "year": 1999, "tags": ["y", 7],
        "owner": {"name": "other"}, "on": "2024-04-30",
    },
    {"id": "m3", "text": "gamma harbour"},
]  # fmt: skip
FILTERS: list[tuple[Any, list[str]]] = [
    ({"field": "metadata.owner.name", "op": "eq", "value": "acme"}, ["m1"]),
    ({"field": "metadata.owner.address.city", "op": "prefix", "value": "Be"}, ["m1"]),
    ({"field": r"metadata.a\.b", "op": "eq", "value": "dot"}, ["m1"]),
    ({"not": {"field": "metadata.owner.name", "op": "exists"}}, ["m3"]),
    ({"field": "metadata.tags", "op": "contains", "value": "y"}, ["m1", "m2"]),
    ({"field": "metadata.tags", "op": "contains", "value": 7.0}, ["m2"]),
    ({"field": "metadata.year", "op": "ge", "value": 2000}, ["m1"]),
    ({"field": "metadata.on", "op": "ge", "value": "2024-05-02"}, ["m1"]),
    ({"field": "metadata.on", "op": "le", "value": "2024-05-01T00:00:00+14:00"}, ["m2"]),
]


def write_json_lines() -> str:
    Path("docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return "docs.jsonl"


def write_parquet() -> str:
    """The same; a Parquet list has one type."""
    rows = [{**row, "tags": [str(tag) for tag in row.get("tags", [])]} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows), "docs.parquet")
    return "docs.parquet"


def found(mrag: Mrag, wanted: Any) -> list[str]:
    said = mrag("search", "harbour", "--json", "--filter", json.dumps(wanted))
    assert said.code == 0, said.err
    return sorted(hit["document_id"] for hit in said.json()[0]["hits"])


@pytest.mark.parametrize(
    "write", [write_json_lines, pytest.param(write_parquet, marks=pytest.mark.long)]
)
def test_what_was_ingested_can_be_filtered(mrag: Mrag, write: Any) -> None:
    """Nested values, lists, numbers and dates; what was left out is told, once."""
    said = mrag("ingest", write(), *SERIAL)
    assert said.code == 0, said.err
    told = "metadata 'score': NaN or infinity: left out (documents: 1)"
    assert told in " ".join(said.out.split())
    is_parquet = write is write_parquet
    for wanted, right in FILTERS:
        if is_parquet and wanted.get("value") == 7.0:
            continue
        assert found(mrag, wanted) == right, wanted


def test_numbers_of_a_csv_file_are_numbers(mrag: Mrag) -> None:
    """The plan declares the columns; a filter compares them."""
    Path("docs.csv").write_text("id,text,year,price\n1,harbour one,1990,1.5\n2,harbour two,2020,\n")
    assert "number: 'price', 'year'" in " ".join(mrag("plan", "docs.csv").out.split())
    assert mrag("ingest", "docs.csv", *SERIAL).code == 0
    assert found(mrag, {"field": "metadata.year", "op": "ge", "value": 2000}) == ["2"]
    assert found(mrag, {"field": "metadata.price", "op": "lt", "value": 2}) == ["1"]


def test_a_tenant_sees_its_documents(mrag: Mrag, tmp_path: Path) -> None:
    """`serve.tenant_field = "owner.name"`, over HTTP."""
    assert mrag("ingest", write_json_lines(), *SERIAL).code == 0
    field = ("-s", "serve.tenant_field=owner.name")
    with serving(Path.cwd(), tmp_path / "serve", *field, backend="process") as service:
        for tenant, right in (("acme", ["m1"]), ("other", ["m2"]), ("nobody", [])):
            hits = service.search("harbour", tenant=tenant)["hits"]
            assert [hit["document_id"] for hit in hits] == right


@pytest.mark.long
def test_an_appended_record_with_an_earlier_id_is_set_aside(mrag: Mrag) -> None:
    """By name; no document gets another id, and nothing is deleted."""
    rows = [{"id": f"doc-{n}", "text": f"text number {n} of a harbour"} for n in range(12)]
    path = Path("docs.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert mrag("ingest", "docs.jsonl", *SERIAL).code == 0
    update = {"id": "doc-0", "text": "the update"}
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, update]))
    synced = mrag("sync", *SERIAL, "--json").json()
    counts = [synced[name] for name in ("added", "changed", "removed", "unchanged")]
    assert (counts, synced["documents"]) == ([0, 0, 0, 12], 12)
    [letter] = mrag("deadletters", "list", "--json").json()["dead_letters"]
    assert letter["document_id"] == "doc-0"
    assert "duplicate document id" in letter["reason"]
    # The same folder from the beginning: the same documents.
    again = mrag("ingest", "docs.jsonl", *SERIAL, "--json").json()
    assert (again["documents"], again["dead_letters"]) == (12, 1)
