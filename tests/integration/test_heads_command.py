"""`mrag heads` on a real Milvus Lite index whose heads are known."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.domain.head_study import FORMAT
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.planted_heads import INDEX, OTHER, VERSION, documents, load, planted
from tests.support.project_folder import Mrag, refused
from tests.support.typed_commands import typed_here


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and an index of two versions; head 0 is another in the older one."""
    folder = tmp_path_factory.mktemp("heads")
    (folder / "mrag.toml").write_text(f'index = "{INDEX}"\n[milvus]\nuri = "index.db"\n')
    chunks = documents()
    chunks[0] = replace(chunks[0], title="<b>&amp; [bold]red[/]")
    heads, standard = planted(chunks)
    changed = np.random.default_rng(8).normal(size=heads[0].shape).astype(np.float32)
    with closing(open_index(MilvusSpec(uri=str(folder / "index.db")), INDEX)) as index:
        load(index, chunks, [changed, *heads[1:]], standard, OTHER)
        load(index, chunks, heads, standard, VERSION)
        index.activate(VERSION)
    return folder


@pytest.fixture
def mrag(project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Mrag:
    """Runs the command in this process, in the project's folder."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "120")

    return typed_here(monkeypatch, capfd)


def test_the_table_names_what_a_head_separates(mrag: Mrag) -> None:
    """A row for each head with its words, the field's head, and one conclusion."""
    said = mrag("heads", "--sample", "60", "-k", "5", "--field", "metadata.colour")
    assert said.code == 0
    rows = {line.split()[0]: line for line in said.out.splitlines() if line.strip()}
    assert {"l05_h00", "l05_h01", "l05_h02", "standard", "lexical"} <= set(rows)
    assert any(colour in rows["l05_h02"] for colour in ("red", "green", "blue", "white"))
    assert "l05_h02 keeps it best" in said.out.replace("\n", " ")
    assert "neighbours: 480 of 480 searches" in said.err


def test_json_on_standard_output_is_all_there_is(mrag: Mrag) -> None:
    """It can be piped; the drift of the head that changed is in it."""
    said = mrag("heads", "--sample", "60", "-k", "5", "--compare", OTHER, "--json", "-")
    assert said.code == 0
    values = said.json()
    assert values["format"] == FORMAT
    assert values["version"] == VERSION
    assert values["made_by"].startswith("mrag heads --sample 60")
    drift = values["drift"]
    assert drift["version"] == OTHER
    assert drift["overlap"]["l05_h00"]["high"] < 0.3
    assert drift["overlap"]["l05_h01"]["value"] == 1.0
    assert drift["overlap"]["lexical"]["value"] == 1.0


def test_files_are_written(mrag: Mrag, project: Path) -> None:
    """A page that holds texts as texts, and the figures beside it."""
    page, figures = project / "heads.html", project / "heads.json"
    said = mrag("heads", "--sample", "120", "-k", "5", "--html", str(page), "--json", str(figures))
    assert said.code == 0
    assert f"written: {figures}, {page}" in said.out.replace("\n", "")
    html = page.read_text("utf-8")
    assert html.startswith("<!doctype html>")
    assert "<b>&amp; [bold]" not in html
    values = json.loads(figures.read_text("utf-8"))
    assert values["conclusion"] in html
    assert len(values["heads"]) == 3


def test_another_version_can_be_studied(mrag: Mrag) -> None:
    """By name; the live one is only the default."""
    said = mrag("heads", "--version", OTHER, "--sample", "30", "--json", "-")
    assert said.json()["version"] == OTHER


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sample", "3"), ("20 to 10,000",)),
        (("--field", "colour"), ("metadata.colour",)),
        (("--compare", "v000000000000"), (VERSION, OTHER)),
        (("--html", "no/such/folder/x.html"), ("a folder that does not exist",)),
        (("--json", "."), ("is a folder",)),
    ],
    ids=["sample", "field", "version", "no folder", "a folder"],
)
def test_bad_arguments_are_refused(
    mrag: Mrag, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """Before any search, with what would do."""
    refused(mrag("heads", *arguments), 2, *words)
