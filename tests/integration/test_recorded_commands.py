"""Audit, repair, export and import are runs: on a real Milvus Lite index, however they end."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mrag_pipeline.cli import interrupts
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.plain_flows import plain_flows
from tests.support.planted_heads import INDEX, OTHER, VERSION, documents, load, planted
from tests.support.project_folder import Mrag
from tests.support.typed_commands import typed_here


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of two versions, whose metrics are asked for."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "metrics").mkdir()
    (folder / "mrag.toml").write_text(
        f'index = "{INDEX}"\n[milvus]\nuri = "index.db"\n[notify]\nmetrics_folder = "metrics"\n'
    )
    chunks = documents(24)
    heads, standard = planted(chunks)
    with closing(open_index(MilvusSpec(uri=str(folder / "index.db")), INDEX)) as index:
        for version in (OTHER, VERSION):
            load(index, chunks, heads, standard, version, words=False)
        index.activate(VERSION)
    return folder


@pytest.fixture
def mrag(
    built: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Mrag]:
    """Runs the command in this process, in the project's folder."""
    monkeypatch.chdir(built)
    monkeypatch.setattr(interrupts, "leave", _left)
    with plain_flows():
        yield typed_here(monkeypatch, capfd)


def _left(code: int) -> NoReturn:
    raise SystemExit(code)


def last(mrag: Mrag, *arguments: str) -> dict[str, Any]:
    """The latest run."""
    said = mrag("runs", "--json", "--limit", "1", *arguments)
    assert said.code == 0, said.err
    [run] = said.json()["runs"]
    return dict(run)


@pytest.mark.parametrize("kind", ["audit", "repair", "export"])
def test_a_command_is_listed_with_version_phases_and_end(mrag: Mrag, kind: str) -> None:
    """As ingests are; one that ends with another exit code than 0 has failed."""
    said = mrag(kind, *(["export"] if kind == "export" else []))
    run = last(mrag)
    assert (run["kind"], run["version"], run["chunks"]) == (kind, VERSION, 24), said.err
    assert run["state"] == ("failed" if said.code else "completed")
    assert bool(run["message"]) is bool(said.code)
    assert list(run["seconds"]) == ["find", kind]
    assert run["process_cpu_s"] > 0


def test_an_import_is_listed_in_the_index_that_it_is_loaded_into(mrag: Mrag) -> None:
    """With its phases."""
    assert mrag("export", "moved").code == 0
    said = mrag("import", "moved", "--index", "moved", "--activate")
    assert said.code == 0, said.err
    run = last(mrag, "--index", "moved")
    assert (run["kind"], run["version"], run["chunks"]) == ("import", VERSION, 24)
    assert list(run["seconds"]) == ["load", "verify", "activate"]
    assert last(mrag)["kind"] == "export"


def test_an_audit_that_finds_damage_says_what(mrag: Mrag, built: Path) -> None:
    """Its findings are the run's message."""
    with closing(open_index(MilvusSpec(uri=str(built / "index.db")), INDEX)) as index:
        record = index.record(OTHER)
        assert record is not None
        name = record.head_collections()[0]
        index.delete(name, [int(number) for number in next(iter(index.ids(name)))[:2]])
    said = mrag("audit", "--version", OTHER)
    assert said.code == 6
    run = last(mrag)
    assert (run["kind"], run["state"], run["version"]) == ("audit", "failed", OTHER)
    assert run["message"].split(";")[0] in said.out.replace("\n", " ")


@pytest.mark.parametrize("kind", ["audit", "repair", "export", "import"])
@pytest.mark.parametrize(
    ("error", "state", "code"),
    [(RuntimeError("the disk is gone"), "failed", 1), (KeyboardInterrupt(), "interrupted", 130)],
    ids=["error", "ctrl-c"],
)
def test_a_command_that_is_cut_short_is_listed(
    mrag: Mrag,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    error: BaseException,
    state: str,
    code: int,
) -> None:
    """With what ended it."""

    def fails(*_: object, **__: object) -> NoReturn:
        raise error

    assert mrag("export", "kept").code == 0
    name = "import_version" if kind == "import" else kind
    flow = importlib.import_module(f"mrag_pipeline.flows.{name}")
    monkeypatch.setattr(flow, f"{kind}_stage", fails)
    arguments = ["kept"] if kind in ("export", "import") else []
    if isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError):
            mrag(kind, *arguments)
    else:
        assert mrag(kind, *arguments).code == code
    run = last(mrag)
    assert (run["kind"], run["state"]) == (kind, state)
    assert run["message"] == (str(error) or "KeyboardInterrupt")


def test_a_command_has_metrics(mrag: Mrag, built: Path) -> None:
    """Items, bytes and errors of its phase, done by the run's own process."""
    assert mrag("export", "measured").code == 0
    text = (built / "metrics" / f"mrag_{INDEX}_export.prom").read_text("utf-8")
    found = {
        sample.name: sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["mrag_run_items_done"].value == 24
    assert found["mrag_run_bytes_total"].value > 0
    assert found["mrag_run_rows_total"].value == 24
    assert found["mrag_run_errors_total"].value == found["mrag_run_retries_total"].value == 0
    labels = found["mrag_run_bytes_total"].labels
    assert (labels["phase"], labels["node"]) == ("export", "driver")
