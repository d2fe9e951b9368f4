"""`mrag ingest` and `mrag search` on the paper's Wikipedia articles v1: real size and texts."""

from __future__ import annotations

import bz2
import json
from pathlib import Path

import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.project_folder import Ended, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600)]

ARTICLES = "wikipedia_articles_v1.json.bz2"
QUERIES = "wikipedia_queries_v1.json.bz2"
NUM_ARTICLES = 1_250


@pytest.fixture(scope="module")
def wikipedia(
    datasets: Path, minilm: EncoderSpec, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Ended]:
    """The folder with an index of the articles, and the output of its ingest."""
    articles = datasets / ARTICLES
    if not articles.is_file():
        pytest.skip(f"{ARTICLES} is not in the folder that MRAG_DATASETS names")
    folder = tmp_path_factory.mktemp("wikipedia")
    (folder / "mrag.toml").write_text(f'index = "wiki"\n[encoder]\nmodel = "{minilm.model}"\n')
    ended = run("ingest", str(articles), "--json", cwd=folder, log=folder / "ingest")
    assert ended.code == 0, ended.err
    return folder, ended


def test_every_article_is_ingested(wikipedia: tuple[Path, Ended]) -> None:
    """1,250 documents, no dead letter, in twelve head collections, the words and the chunks."""
    facts = wikipedia[1].json()
    assert (facts["documents"], facts["dead_letters"]) == (NUM_ARTICLES, 0)
    assert (facts["collections"], facts["built_collections"]) == (14, 14)
    assert facts["chunks"] > NUM_ARTICLES


def test_all_collections_have_the_same_rows(wikipedia: tuple[Path, Ended]) -> None:
    """The twelve heads, the words and the chunks have one count."""
    folder, ended = wikipedia
    status = run("status", "--json", cwd=folder, log=folder / "status").json()
    [version] = status["versions"]
    assert len(version["rows"]) == 14
    assert set(version["rows"].values()) == {ended.json()["chunks"]}
    assert version["whole"]


def test_a_query_of_the_set_finds_its_articles(
    wikipedia: tuple[Path, Ended], datasets: Path
) -> None:
    """A story about five articles: at least four of them are among the five fetched."""
    queries = json.loads(bz2.decompress((datasets / QUERIES).read_bytes()))
    query = next(query for query in queries if len(query["topics"]) == 5)
    folder, _ = wikipedia
    ended = run("search", query["text"], "-k", "5", "--json", cwd=folder, log=folder / "search")
    [answer] = ended.json()
    titles = {hit["title"] for hit in answer["hits"]}
    assert len(titles & set(query["topics"])) >= 4
