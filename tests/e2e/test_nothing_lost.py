"""Documents in = documents indexed + set aside, and what is not taken whole is told."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.project_folder import Mrag

pytestmark = pytest.mark.timeout(1800)

SERIAL = ("-s", "workers.pool=serial", "-s", "ingest.max_dead_letter_share=1")
TITLE = "A rather long descriptive title about the history of the harbour " * 2
LONG_TEXT = " ".join(["harbour river stone apple"] * 60)  # 240 tokens


def indexed_ids(index: str) -> set[str]:
    """The documents of the live version, as its rows name them."""
    with closing(wiring.index(Config.load(None, {"index": index}))) as opened:
        name = live_record(opened).chunks_collection()
        return {mark.document_id for block in opened.marks(name) for mark in block}


def json_lines() -> tuple[str, set[str], int]:
    """The file, the ids that are good, and how many records it has."""
    good = [{"id": f"d{n}", "text": f"text number {n} of a harbour"} for n in range(20)]
    bad = [
        '{"id": "cut", "text": "no end', "[1, 2]", '{"id": null, "text": "x"}', '{"id": "e"}',
        '{"id": "d3", "text": "the same id again"}', '{"id": "z", "text": " \\u200b "}',
        '{"id": "n", "text": %s}' % ("[" * 5_000),
    ]  # fmt: skip
    lines = [*map(json.dumps, good[:10]), *bad, *map(json.dumps, good[10:])]
    Path("docs.jsonl").write_text("\n".join(lines))
    return "docs.jsonl", {row["id"] for row in good}, len(lines)


def table() -> tuple[str, set[str], int]:
    """The same; the open quote takes in seven rows and is one of them."""
    good = [f"{n},text number {n},{2000 + n}" for n in range(20)]
    bad = ["x,only two", "y,a,1,b", '0,"an earlier id",1']
    swallowed = ['q,"an open quote,1', *(f"{n},text number {n},1" for n in range(90, 97))]
    Path("docs.csv").write_text("\n".join(["id,text,year", *good, *bad, *swallowed]) + "\n")
    return "docs.csv", {str(n) for n in range(20)}, len(good) + len(bad) + len(swallowed)


@pytest.mark.parametrize("write", [json_lines, pytest.param(table, marks=pytest.mark.long)])
def test_every_record_is_indexed_or_set_aside(mrag: Mrag, write: object) -> None:
    """Counted by hand on one side, in the index and in the dead letters on the other."""
    corpus, good, num_records = write()  # type: ignore[operator]
    ingested = mrag("ingest", corpus, *SERIAL, "--index", "lost", "--json").json()
    assert ingested["documents"] + ingested["dead_letters"] == num_records
    assert indexed_ids("lost") == good
    assert ingested["documents"] == len(good)


def test_plan_ingest_and_sync_tell_the_same_of_a_corpus(mrag: Mrag) -> None:
    """The types of its columns; of a sync also the titles that gave way to their texts."""
    told = "fields read as number: 'price', 'year'"
    chunks = ("-s", "chunking.max_tokens=250")
    rows = ["id,title,text,year,price", "1,A,harbour one,1990,1.5", "2,B,harbour two,2020,"]
    Path("docs.csv").write_text("\n".join(rows) + "\n")
    for command in ("plan", "ingest"):
        said = mrag(command, "docs.csv", *SERIAL, *chunks)
        assert said.code == 0, said.err
        assert told in " ".join(said.out.split()), command
    Path("docs.csv").write_text("\n".join([*rows, f"3,{TITLE},{LONG_TEXT},2021,2"]) + "\n")
    said = mrag("sync", "docs.csv", *SERIAL, *chunks)
    assert said.code == 0, said.err
    assert told in " ".join(said.out.split())
    assert "a part of the title is not embedded" in " ".join(said.out.split())


def test_chunks_that_leave_no_room_for_their_titles_are_refused(mrag: Mrag) -> None:
    """Two documents that differ at their ends would have had equal vectors."""
    ends = ("glacier", "volcano")
    rows = [
        {"id": end, "title": TITLE, "text": " ".join(["harbour river stone apple"] * 63 + [end])}
        for end in ends
    ]
    Path("tail.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = mrag("plan", "tail.jsonl", *SERIAL, "-s", "chunking.max_tokens=254")
    assert refused.code != 0
    assert "chunking.max_tokens" in refused.err
    assert "Traceback" not in refused.err
    advised = [word for word in refused.err.replace("`", " ").split() if word.isdigit()]
    assert advised, refused.err
    allowed = mrag("plan", "tail.jsonl", *SERIAL, "-s", f"chunking.max_tokens={advised[-1]}")
    assert allowed.code == 0, allowed.err


def test_an_evaluation_without_matplotlib_says_so_before_it_asks(
    mrag: Mrag, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And writes what it can."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    corpus, _, _ = json_lines()
    assert mrag("ingest", corpus, *SERIAL).code == 0
    Path("q.jsonl").write_text('{"text": "text number 3 of a harbour", "relevant": ["d3"]}\n')
    asked = mrag("evaluate", "-q", "q.jsonl", "--strategies", "standard", "-o", "out", *SERIAL)
    assert asked.code == 0, asked.err
    assert asked.err.index("no plots: matplotlib is not installed") < asked.err.index("evaluate:")
    assert {path.name for path in Path("out").iterdir()} == {"evaluation.json", "report.md"}


@pytest.mark.long
def test_a_replay_remembers_the_share_that_the_ingest_was_allowed(mrag: Mrag) -> None:
    """Without the setting, which was given once on the command line."""
    lines = [json.dumps({"id": f"d{n}", "text": f"text number {n}"}) for n in range(4)]
    bad = ["{bad"] * 40  # more than the few that are always allowed
    Path("docs.jsonl").write_text("\n".join([*lines, *bad]))
    serial, share = SERIAL[:2], ("-s", "ingest.max_dead_letter_share=0.95")
    assert mrag("ingest", "docs.jsonl", *serial).code != 0
    assert mrag("ingest", "docs.jsonl", *serial, *share).code == 0
    mended = json.dumps({"id": "new", "text": "a mended text"})
    Path("docs.jsonl").write_text("\n".join([*lines, mended, *bad[1:]]))
    replayed = mrag("deadletters", "replay", *serial, "--json")
    assert replayed.code == 0, replayed.err
    assert (replayed.json()["added"], replayed.json()["dead_letters"]) == (1, 39)
