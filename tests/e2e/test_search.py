"""`mrag search` on a live index: its output, and its errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project_folder import Mrag, Undisturbed, a_text, run

pytestmark = pytest.mark.timeout(1800)


def test_a_documents_own_words_find_it(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Each hit has its document, its passage, and the votes of every voter."""
    ended = run(
        "search", a_text(17), "-k", "5", "--json", cwd=undisturbed.project, log=tmp_path / "search"
    )
    assert (ended.code, ended.err) == (0, "")
    [answer] = ended.json()
    best = answer["hits"][0]
    assert best["document_id"] == "d17"
    assert best["text"] in a_text(17)
    assert best["metadata"]["year"] == 1817
    assert len(answer["hits"]) == 5
    assert len(best["votes_by_voter"]) == len(answer["voters"]) == 14
    assert len(best["votes_by_window"]) == len(answer["windows"]) > 1
    assert sum(best["votes_by_voter"]) == pytest.approx(sum(best["votes_by_window"]))


def test_a_short_query_by_the_papers_rule_is_one_window(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Twelve heads, one search each, and no other voter."""
    ended = run(
        "search",
        "Person number 42",
        "--strategy",
        "mrag",
        "--json",
        cwd=undisturbed.project,
        log=tmp_path / "search",
    )
    [answer] = ended.json()
    assert answer["windows"] == ["Person number 42"]
    assert answer["num_searches"] == len(answer["voters"]) == 12


def test_without_arguments_each_line_of_standard_input_is_a_query(
    undisturbed: Undisturbed,
) -> None:
    """One model for all of them; with --json a line for each answer."""
    asked = subprocess.run(
        [sys.executable, "-m", "mrag_pipeline.cli", "search", "-k", "1", "--json"],
        cwd=undisturbed.project,
        input=f"{a_text(17)}\n\n  {a_text(3)}\n".encode(),
        capture_output=True,
        timeout=300,
        check=True,
    )
    answers = [json.loads(line) for line in asked.stdout.splitlines()]
    assert [answer["hits"][0]["document_id"] for answer in answers] == ["d17", "d3"]


def test_a_filter_leaves_only_what_matches(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """All matching documents are found, and no others, whatever the query."""
    filter_body = {"all": [
        {"field": "metadata.year", "op": "lt", "value": 1806},
        {"not": {"field": "document_id", "op": "in", "value": ["d1", "d4"]}},
    ]}  # fmt: skip
    ended = run(
        *("search", a_text(17), "-k", "50", "--json", "--filter", json.dumps(filter_body)),
        cwd=undisturbed.project,
        log=tmp_path / "search",
    )
    [answer] = ended.json()
    assert sorted(hit["document_id"] for hit in answer["hits"]) == ["d0", "d2", "d3", "d5"]


def test_two_strategies_stand_side_by_side(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """One table with both names, no traceback, no log line."""
    ended = run(
        "search",
        "who repairs the violin and who paints the river",
        "--compare",
        "standard",
        cwd=undisturbed.project,
        log=tmp_path / "search",
    )
    assert (ended.code, ended.err) == (0, "")
    assert "standard" in ended.out
    assert "adaptive" in ended.out
    assert "Story" in ended.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["  "], 2, "without text"),
        (["bees", "--strategy", "aspcet"], 2, "did you mean `aspect`"),
        (["bees", "--strategy", "fusion"], 2, "sub-queries"),
        (["bees", "--index", "nowhere"], 5, "mrag ingest"),
        (["bees", "--filter", "year > 1900"], 2, "--filter is not valid JSON"),
        (["bees", "--filter", '{"field": "year", "op": "exists"}'], 2, "`metadata.year`"),
    ],
)
def test_an_invalid_search_is_refused(
    undisturbed: Undisturbed,
    mrag: Mrag,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    """One message that says what to do, and the documented exit code."""
    monkeypatch.chdir(undisturbed.project)
    said = mrag("search", *arguments)
    assert said.code == code
    assert message in said.err
