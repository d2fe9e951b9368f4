"""PDF, office files, books, mail and notebooks: a document for each part, hostile ones refused."""

from __future__ import annotations

import sys
import time
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from mrag_pipeline.corpus.formats.charset import NotText
from mrag_pipeline.corpus.formats.documents import archive
from mrag_pipeline.corpus.formats.extraction import extract
from mrag_pipeline.corpus.formats.extraction_process import ExtractionProcess
from mrag_pipeline.domain.documents import DeadLetter, Document
from tests.support import document_files as made
from tests.support.corpus_files import only, read, written

# By name: the file, the id and title of the document with the marked sentence, its metadata.
KINDS = {
    "a.pdf": (
        made.pdf(["Cover.", made.MARKED], {"3.1 Limits": 1}),
        ("a.pdf#page=2", "Timetables: 3.1 Limits", {"page": 2, "heading": "3.1 Limits"}),
    ),
    "a.docx": (made.word(), ("a.docx#section=2", "Handbook: Limits", {"heading": "Limits"})),
    "a.pptx": (
        made.presentation(),
        ("a.pptx#slide=2", "a: Departures",
         {"page": 2, "heading": "Departures"}),
    ),
    "a.xlsx": (made.workbook(), ("a.xlsx#sheet=2", "a: Notes", {"heading": "Notes"})),
    "a.epub": (made.book(), ("a.epub#chapter=2", "Islands: Two", {"heading": "Two"})),
    "a.eml": (
        made.message(),
        ("a.eml", "The ferry", {"from": "a@example.org", "to": "b@example.org"}),
    ),
    "a.mbox": (
        made.mailbox(),
        ("a.mbox#message=2", "a: The ferry", {"from": "a@example.org", "to": "b@example.org"}),
    ),
    "a.ipynb": (made.notebook(), ("a.ipynb", "Ferries", {})),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_passage_knows_its_place(tmp_path: Path, name: str) -> None:
    """Page, heading, sheet or chapter: id, title and metadata say where the sentence stands."""
    data, (document_id, title, metadata) = KINDS[name]
    items = read(written(tmp_path / name, data))
    assert not [item for item in items if isinstance(item, DeadLetter)]
    [found] = [item for item in items if isinstance(item, Document) and made.MARKED in item.text]
    assert (found.id, found.title, dict(found.metadata)) == (document_id, title, metadata)


def test_one_folder_holds_every_kind(tmp_path: Path) -> None:
    """Beside Markdown and text, each file's sentence is found."""
    for name, (data, _) in KINDS.items():
        written(tmp_path / name, data)
    written(tmp_path / "b.md", f"# Ferries\n\n{made.MARKED}")
    written(tmp_path / "c.txt", made.MARKED)
    items = read(tmp_path)
    found = [i for i in items if isinstance(i, Document) and made.MARKED in i.text]
    assert {one.id.partition("#")[0] for one in found} == {*KINDS, "b.md", "c.txt"}


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    """Blank pages and slides, attachments, outputs: a remark each."""
    blank = made.pdf(["", made.MARKED, "", ""])
    [page] = read(written(tmp_path / "a.pdf", blank))
    [slide] = read(written(tmp_path / "a.pptx", made.presentation()))
    [mail] = read(written(tmp_path / "a.eml", made.message()))
    [notes] = read(written(tmp_path / "a.ipynb", made.notebook()))
    for item, count, word in ((page, 3, "page"), (slide, 1, "slide"), (mail, 1, "attachment"),
                              (notes, 1, "printed")):  # fmt: skip
        assert isinstance(item, Document)
        assert len(item.remarks) == count
        assert word in item.remarks[0]


def test_tables_and_notes_are_text(tmp_path: Path) -> None:
    """A line for each row; empty cells are nothing."""
    section = read(written(tmp_path / "a.docx", made.word()))[1]
    [slide] = read(written(tmp_path / "a.pptx", made.presentation()))
    sheet = read(written(tmp_path / "a.xlsx", made.workbook()))[1]
    mail = read(written(tmp_path / "a.mbox", made.mailbox()))[0]
    for item, part in ((section, "left cell | right cell"), (slide, "Say it slowly."),
                       (sheet, f"{made.MARKED} | 3"), (mail, "\nFrom the west")):  # fmt: skip
        assert isinstance(item, Document)
        assert part in item.text


REFUSED = {
    "secret.pdf": (made.pdf(["x"], password="p"), "it opens with a password only"),
    "images.pdf": (made.pdf(["", ""]), "its 2 page(s) hold no text: images are not read"),
    "cut.pdf": (made.pdf(["x"])[:200], "no text could be extracted"),
    "no.pdf": (b"%PDF-1.7\nnothing", "no text could be extracted"),
    "old.docx": (b"\xd0\xcf\x11\xe0" + bytes(600), "encrypted, or of the binary format"),
    "cut.docx": (made.word()[:900], "it is damaged"),
    "other.xlsx": (made.zipped({"a.txt": "x"}), "no text could be extracted"),
    "drm.epub": (made.book(encrypted="OPS/b.xhtml"), "it is encrypted (DRM)"),
    "empty.mbox": (b"no mail here", "no line begins with `From `"),
    "v3.ipynb": (b'{"worksheets": []}', "no list of cells"),
    "deep.ipynb": (b"[" * 100_000, "it is not JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_a_dead_letter(tmp_path: Path, name: str) -> None:
    """With its reason; the file beside it is read."""
    data, reason = REFUSED[name]
    written(tmp_path / name, data)
    written(tmp_path / "z.txt", "a neighbour")
    dead, neighbour = read(tmp_path)
    assert isinstance(dead, DeadLetter)
    assert reason in dead.reason
    assert isinstance(neighbour, Document)


def test_a_reason_is_the_same_each_time(tmp_path: Path) -> None:
    """The parser's own has an address in memory."""
    data = made.pdf(["First.", made.MARKED], {"1 Start": 0}).replace(b"3 0 obj", b'3 0 o"bj')
    letter = only(read(written(tmp_path / "a.pdf", data)))
    assert isinstance(letter, DeadLetter)
    reason = letter.reason
    assert "IndirectObject(3, 0)" in reason


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """Its own directory tells its size: 501 MB of zeros are half a megabyte."""
    path = tmp_path / "bomb.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made_up:
        for number in range(archive.MAX_UNPACKED_BYTES // 1_000_000 + 1):
            made_up.writestr(f"word/{number}.xml", bytes(1_000_000))
    dead = only(read(path))
    assert isinstance(dead, DeadLetter)
    assert "bytes unpacked, expected at most 500,000,000" in dead.reason


def test_real_notes_of_a_word_file_are_told(tmp_path: Path) -> None:
    """Each by a remark; the lines above notes, which Word writes into every file, by none."""
    names = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    lines = '<w:footnote w:type="separator" w:id="-1"/>'
    for notes, count in ((lines, 0), (f'{lines}<w:footnote w:id="1"/><w:footnote w:id="2"/>', 2)):
        path = written(tmp_path / "a.docx", made.word())
        with zipfile.ZipFile(path, "a") as changed:
            changed.writestr("word/footnotes.xml", f"<w:footnotes {names}>{notes}</w:footnotes>")
        first = read(path)[0]
        assert isinstance(first, Document)
        assert first.remarks == ("a footnote of a Word file: left out",) * count


def test_entities_do_not_grow(tmp_path: Path) -> None:
    """A billion laughs in the book's own description cost nothing."""
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    package = f'<!DOCTYPE p [<!ENTITY l0 "ha">{laughs}]><package><title>&l9;</title></package>'
    container = '<container><rootfile full-path="book.opf"/></container>'
    files = {"META-INF/container.xml": container, "book.opf": package}
    dead = only(read(written(tmp_path / "a.epub", made.zipped(files))))
    assert isinstance(dead, DeadLetter)
    assert "no text could be extracted" in dead.reason


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    data = made.pdf(["x"])
    monkeypatch.setitem(sys.modules, "pypdf", None)
    monkeypatch.delitem(sys.modules, "mrag_pipeline.corpus.formats.documents.pdf", raising=False)
    with pytest.raises(NotText, match=r"needs pypdf: pip install 'mrag-pipeline\[documents\]'"):
        list(extract(data, ".pdf", ""))


def test_time_is_counted_for_each_page(tmp_path: Path) -> None:
    """A long book is not refused for its length: its pages take more than the limit together."""
    pages = [f"{'word ' * 3_000} {number}" for number in range(40)]
    path = written(tmp_path / "long.pdf", made.pdf(pages))
    with closing(ExtractionProcess()) as process:
        list(process.extract(made.pdf(["x"]), ".pdf", "", 10.0))  # imports
        started = time.process_time()
        list(extract(path.read_bytes(), ".pdf", ""))
        of_all = time.process_time() - started
        found = list(process.extract(path.read_bytes(), ".pdf", "", of_all / 2))
    assert len(found) == len(pages)
