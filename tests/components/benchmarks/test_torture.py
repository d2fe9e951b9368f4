"""The torture kit sees the faults that a pipeline has, and none that it has not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOY = Path(__file__).parent / "toy_pipeline.py"

with pytest.MonkeyPatch.context() as patch:  # its scripts are run, so it is no package of ours
    patch.syspath_prepend(str(ROOT / "benchmarks"))
    from torture import corpus, points
    from torture.pipeline import Pipeline
    from torture.table import table

FILLER = 12


def tortured(kind: str, folder: Path) -> dict[str, points.Row]:
    """Every point's row; the models are names that the toy does not read."""
    texts = corpus.documents(47 + FILLER)
    given = points.Given(
        texts=texts,
        own=tuple(name for name in texts if not name.startswith("python-")),
        questions=corpus.questions(),
        model=folder / "new-model",
        earlier_model=folder / "old-model",
        make=lambda name, milvus: Pipeline(
            f"{sys.executable} {TOY} {kind}", folder / name, folder / "new-model", milvus
        ),
    )
    return {row.point: row for row in points.tortured(given)}


def figures_of(rows: dict[str, points.Row]) -> dict[str, float]:
    """Those of every row, by its point and their name."""
    return {
        f"{row.point}: {name}": value
        for row in rows.values()
        for name, value in row.figures.items()
    }


@pytest.mark.slow  # some thirty processes and a server
def test_a_whole_pipeline_has_no_fault(tmp_path: Path) -> None:
    """Nothing is lost, doubled or stale, whenever it is killed."""
    figures = figures_of(tortured("whole", tmp_path))
    assert {key: value for key, value in figures.items() if key.endswith(("lost", "duplicates"))}
    for key, value in figures.items():
        if key.endswith((": lost", ": duplicates", ": wrong", ": refused")):
            assert value == 0, key
        if key.endswith((": gone", ": renamed", ": changed", ": sound")):
            assert value == 1, key
        if key.endswith(": kills"):
            assert value > 0, key


@pytest.mark.slow  # some thirty processes and a server
def test_a_careless_pipeline_is_found_out(tmp_path: Path) -> None:
    """Doubled or lost answers, a deleted file that is found, a file under two names."""
    rows = tortured("careless", tmp_path)
    assert rows["the same again"].figures["duplicates"] > 0
    assert rows["a file deleted"].outcome == "still found"
    assert rows["a file renamed"].outcome == "found by both names"
    again = rows["kill -9 in the first ingest, then run again"].figures
    assert again["duplicates"] + again["lost"] > 0


def test_success_counts_subjects_among_the_first_n() -> None:
    """Of two questions of two subjects one is answered whole, one by half."""
    asked = [
        corpus.Question("a", (frozenset({"x"}), frozenset({"y", "z"}))),
        corpus.Question("b", (frozenset({"x"}), frozenset({"y"}))),
    ]
    assert points.success([["x", "x", "z"], ["x", "q", "y"]], asked) == 0.75


def test_a_table_has_a_line_for_each_point() -> None:
    """A pipeline that lacks a point has a dash."""
    rows = {"a": [points.Row("speed", "1 s", {})], "b": [points.Row("size", "2 MB", {})]}
    assert table(rows).splitlines() == [
        "| | a | b |",
        "|---|---|---|",
        "| speed | 1 s | - |",
        "| size | - | 2 MB |",
    ]


def test_the_page_shows_what_was_measured() -> None:
    """docs/comparison.md has the table of benchmarks/figures/compare.json."""
    kept = json.loads((ROOT / "benchmarks/figures/compare.json").read_text("utf-8"))
    rows = {name: [points.Row(**row) for row in own] for name, own in kept.items()}
    page = (ROOT / "docs/comparison.md").read_text("utf-8")
    shown = page.split("<!-- comparison: begin -->\n")[1].split("\n<!-- comparison: end -->")[0]
    assert shown == table(rows)
