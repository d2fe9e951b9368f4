"""One folder with a file of every kind, and hostile ones, ingested by one command."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support import document_files as made
from tests.support.corpus_files import written
from tests.support.project_folder import run

pytestmark = pytest.mark.timeout(900)


def sentence(number: int) -> str:
    """A sentence that no other file has."""
    return f"Berth {number} is where the ferry number {number} to island {number * 37} leaves."


def rows(number: int) -> list[dict[str, str]]:
    """Records whose second has the marked sentence."""
    return [
        {"id": f"r{number}a", "title": "Rain", "text": "It rained all week."},
        {"id": f"r{number}b", "title": "The ferry", "text": sentence(number)},
    ]


def ipc(number: int) -> bytes:
    table = pa.Table.from_pylist(rows(number))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def parquet(number: int) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows(number)), sink)
    return sink.getvalue().to_pybytes()


def csv(number: int) -> str:
    lines = [f"{row['id']},{row['title']},{row['text']}" for row in rows(number)]
    return "\n".join(["id,title,text", *lines]) + "\n"


def json_lines(number: int) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows(number))


def page(number: int) -> str:
    return (
        "<html><body><nav>Home | About | Login</nav><main><h1>Boats</h1>"
        f"<p>{sentence(number)}</p></main></body></html>"
    )


def every_kind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, str]]:
    """Writes the files; by name the sentence and where it stands: the part of the id."""
    kinds: dict[str, tuple[str, str]] = {}

    def add(name: str, make: object, where: str) -> None:
        number = len(kinds) + 1
        monkeypatch.setattr(made, "MARKED", sentence(number))
        data = make(number) if callable(make) else make
        assert isinstance(data, bytes | str)
        written(folder / name, data)
        kinds[name] = (sentence(number), where)

    add(
        "a.pdf",
        lambda n: made.pdf(["Cover.", sentence(n)], {"3.1 Limits": 1}),
        "#page=2 3.1 Limits",
    )
    add("b.docx", lambda _: made.word(), "#section=2 Limits")
    add("c.pptx", lambda _: made.presentation(), "#slide=2 Departures")
    add("d.xlsx", lambda _: made.workbook(), "#sheet=2 Notes")
    add("e.epub", lambda _: made.book(), "#chapter=2 Two")
    add("f.eml", lambda n: made.message(text=sentence(n)), "")
    add("g.mbox", mailbox, "#message=2")
    add("h.ipynb", lambda _: made.notebook(), "")
    add("i.html", page, "")
    add("j.md", lambda n: f"---\nlang: en\n---\n# Boats\n\n{sentence(n)}\n", "")
    add("k.rst", lambda n: f"Boats\n=====\n\n{sentence(n)}\n", "")
    add("l.txt", sentence, "")
    add("m.jsonl", json_lines, "")
    add("n.json", lambda n: json.dumps(rows(n)), "")
    add("o.csv", csv, "")
    add("p.tsv", lambda n: csv(n).replace(",", "\t"), "")
    add("q.parquet", parquet, "")
    add("r.arrow", ipc, "")
    return kinds


def mailbox(number: int) -> bytes:
    mails = [made.message("Rain", "It rained."), made.message(text=sentence(number))]
    start = b"From a@example.org Sat Nov 28 12:00:00 2026\n"
    return b"".join(start + mail + b"\n" for mail in mails)


def bomb(path: Path) -> Path:
    """A Word file of 600 MB of one letter, which is 600 kB packed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("word/document.xml", "w", force_zip64=True) as inner:
            for _ in range(600):
                inner.write(b"a" * 1_000_000)
    return path


def hostile(folder: Path) -> dict[str, str]:
    """Writes files that are set aside; by name a part of the reason."""
    bomb(folder / "x1.docx")
    bad = {
        "x2.pdf": (made.pdf(["x"], password="p"), "it opens with a password only"),
        "x3.pdf": (made.pdf(["x"])[:200], "no text could be extracted"),
        "x4.docx": (made.word()[:900], "it is damaged"),
        "x5.epub": (made.book(encrypted="OPS/b.xhtml"), "it is encrypted (DRM)"),
        "x6.arrow": (ipc(99)[:-100], ""),
        "x7.parquet": (b"PAR1" + bytes(200), ""),
        "x8.ipynb": (b"[" * 100_000, "it is not JSON"),
    }
    for name, (data, _) in bad.items():
        written(folder / name, data)
    return {"x1.docx": "unpacked", **{name: reason for name, (_, reason) in bad.items()}}


@pytest.mark.slow
def test_one_command_reads_a_file_of_every_kind(
    minilm: EncoderSpec, prefect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each marked sentence is found with its page or heading; hostile files are dead letters."""
    folder = tmp_path / "all"
    folder.mkdir()
    kinds = every_kind(folder, monkeypatch)
    reasons = hostile(folder)
    pool = ("-s", "workers.pool=serial")
    settings = ("-s", f"encoder.model={minilm.model}", "-s", "corpus.format=all")
    ended = run(
        *("ingest", "all", *settings, *pool, "-s", "ingest.max_dead_letter_share=0.5", "--json"),
        cwd=tmp_path,
        log=tmp_path / "ingest",
        prefect=prefect,
    )
    assert ended.code == 0, ended.err
    listed = run("deadletters", "list", "--json", cwd=tmp_path, log=tmp_path / "letters")
    dead = listed.json()["dead_letters"]
    letters = {letter["source"].split(":")[0]: letter["reason"] for letter in dead}
    assert set(letters) == set(reasons)
    for name, reason in reasons.items():
        assert reason in letters[name], (name, letters[name])
    questions = [text for text, _ in kinds.values()]
    asked = run(
        *("search", "-k", "3", "--strategy", "standard", "--json", *settings, *questions),
        cwd=tmp_path,
        log=tmp_path / "search",
    )
    assert asked.code == 0, asked.err
    for (name, (text, where)), answer in zip(kinds.items(), asked.json(), strict=True):
        [hit] = [hit for hit in answer["hits"] if text in hit["text"]]
        part, _, heading = where.partition(" ")
        assert hit["document_id"].endswith(part), name
        assert heading in hit["title"], name
        assert "Login" not in hit["text"], name
