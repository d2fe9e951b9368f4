"""Text and pages in every encoding: read right, or refused by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.corpus.formats.charset import NotText, decoded_page, decoded_text
from mrag_pipeline.domain.documents import DeadLetter, Document
from tests.support.corpus_files import only, read, written

STORIES = [
    "A story about a green tractor without a mark.",
    "Hi\n",
    "Это рассказ о ледниках.\n",
    "קטע קצר על קרח",
    "قصة قصيرة عن الجليد",
    "हिन्दी में एक कहानी है।",
    "日本語の文書です。\n次の行。\n",
    "这是一个故事，关于冰川。",
    "이것은 빙하에 대한 이야기입니다.\n",
    "smile 😀 and go on, 😀\n",
]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-16"])
@pytest.mark.parametrize("story", STORIES)
def test_utf16_and_utf32_are_read_with_and_without_a_mark(story: str, encoding: str) -> None:
    """No text comes out with a NUL or a space between its letters."""
    assert decoded_text(story.encode(encoding)) == story


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
@settings(max_examples=300)
def test_utf8_stays_what_it_is(text: str) -> None:
    """Detection of other encodings never takes a text that is UTF-8."""
    assert decoded_text(text.encode()) == text.removeprefix("\ufeff")


@pytest.mark.parametrize("data", [b"a\x00b\x0cc \x1b[31m", b"hello wor\x00ld, " * 9, b"a\x00b"])
def test_a_stray_nul_makes_no_utf16(data: bytes) -> None:
    """Careless extraction leaves some in texts."""
    assert decoded_text(data) == data.decode()


LEGACY = {
    "windows-1252": ("café au lait, “naïve” – déjà vu", "cp1252"),
    "windows-1251": ("Это рассказ о ледниках.", "cp1251"),
    "Shift_JIS": ("これは日本語の文章です。", "cp932"),
    "EUC-JP": ("これは日本語の文章です。", "euc_jp"),
    "ISO-2022-JP": ("これは日本語の文章です。", "iso2022_jp"),
    "GBK": ("这是一个关于冰川的短故事。", "gbk"),
    "Big5": ("這是一個關於冰川的短故事。", "big5"),
    "EUC-KR": ("이것은 빙하에 대한 이야기입니다.", "euc_kr"),
}


@pytest.mark.parametrize("label", LEGACY)
@pytest.mark.parametrize(
    "declaration",
    [
        '<meta charset="{}">',
        "<META HTTP-EQUIV=Content-Type CONTENT='text/html; charset={}'>",
        "",
    ],
)
def test_a_page_is_read_in_what_it_declares_or_else_looks_like(
    tmp_path: Path, label: str, declaration: str
) -> None:
    """By a `<meta>` of either form, else by the detector."""
    text, codec = LEGACY[label]
    page = f"<html><head>{declaration.format(label)}</head><body><p>{text}</p>".encode(codec)
    item = only(read(written(tmp_path / "a.html", page)))
    assert isinstance(item, Document), item
    assert item.text == text


@pytest.mark.parametrize("label", LEGACY)
def test_a_page_that_is_not_the_utf8_it_declares_is_read_as_what_it_looks_like(label: str) -> None:
    """As an editor leaves it that saves in the old encoding."""
    text, codec = LEGACY[label]
    page = f"<meta charset=utf-8><p>{text * 4}</p>".encode(codec)
    assert text in decoded_page(page)


@pytest.mark.parametrize("label", LEGACY)
def test_a_text_is_read_in_what_it_looks_like_or_as_the_settings_say(
    tmp_path: Path, label: str
) -> None:
    """Detected, and the same when `corpus.encoding` names it."""
    text, codec = LEGACY[label]
    path = written(tmp_path / "a.txt", text.encode(codec))
    for encoding in ("", label):
        item = only(read(path, encoding=encoding))
        assert isinstance(item, Document), item
        assert item.text == text


def test_iso_8859_1_is_windows_1252() -> None:
    """The standard says so; its five open bytes are C1 controls."""
    page = b"<meta charset=iso-8859-1><p>\x93caf\xe9\x94 \x80\x81"
    assert decoded_page(page).endswith("“café” €\x81")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"<!-- <meta charset=shift_jis> --><meta charset=koi8-r>", "koi8-r"),
        (b"<?xml version='1.0' encoding='windows-1251'?><html>", "windows-1251"),
        (b'<meta name="d" content="charset=big5"><meta charset="gbk">', "gbk"),
        (b"<meta charset=utf-16>", "utf-16"),
        (b"<p>charset=big5", ""),
    ],
)
def test_the_first_real_declaration_counts(head: bytes, expected: str) -> None:
    """Not one in a comment, nor the content of another `<meta>`."""
    from mrag_pipeline.corpus.formats.charset import declared_label

    assert declared_label(head) == expected


def test_a_mark_is_stronger_than_a_declaration() -> None:
    """As in browsers; and a page that says UTF-16 in ASCII is UTF-8."""
    assert decoded_page("\ufeff<meta charset=big5>é".encode()) == "<meta charset=big5>é"
    assert decoded_page("<meta charset=utf-16>é".encode()) == "<meta charset=utf-16>é"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff\xd8\x01\x02" * 9, "not UTF-8"),
        ("naïve café — and so on. ".encode() * 9 + b"\xff", "not UTF-8: invalid start byte"),
        (b"\xff\xfea\x00b", "not utf-16-le: truncated data"),
        (b"\xfe\xff\xd8\x00\x00a", "not utf-16-be"),
    ],
)
def test_what_is_no_text_is_refused_by_name(data: bytes, reason: str) -> None:
    """Binary data, UTF-8 with a broken byte, UTF-16 that is cut or has half a pair."""
    with pytest.raises(NotText) as caught:
        decoded_text(data)
    assert reason in str(caught.value)
    assert " at byte " in str(caught.value)


def test_a_named_encoding_that_does_not_fit_is_a_dead_letter(tmp_path: Path) -> None:
    """The reason names the encoding and the place."""
    item = only(read(written(tmp_path / "a.txt", b"caf\x81\xff"), encoding="shift_jis"))
    assert isinstance(item, DeadLetter)
    assert item.reason.startswith("not cp932: ")


@pytest.mark.parametrize("label", ["shift_jis", "gbk", "big5", "euc-kr", "iso-2022-jp"])
@pytest.mark.parametrize("layout", ["[%s,\n%s]", "%s\n%s", '{"data": [%s, %s]}'])
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_json_in_an_east_asian_encoding_is_read_if_it_is_named(
    tmp_path: Path, label: str, layout: str, suffix: str
) -> None:
    """Also where the last byte of a string is that of a backslash, and beside a file in UTF-8."""
    word = {"gbk": "\u8a47", "big5": "\u529f", "euc-kr": "\ud55c"}.get(label, "\u8868")
    rows = [json.dumps({"id": one, "text": f"x{word}"}, ensure_ascii=False) for one in "ab"]
    written(tmp_path / f"a{suffix}", (layout % tuple(rows)).encode(label))
    written(tmp_path / f"b{suffix}", layout % tuple(rows))
    found = read(tmp_path, encoding=label)
    assert [item.text for item in found if isinstance(item, Document)] == [f"x{word}"] * 4
    assert read(tmp_path, 1, encoding=label) == found


def test_bytes_that_a_named_encoding_does_not_have_cost_their_record(tmp_path: Path) -> None:
    """No character is replaced without a word."""
    data = '[{"text": "\u8868"}, {"text": "~\u8868"}]'.encode("shift_jis").replace(
        b"~", b"\x85\x41"
    )
    good, bad = read(written(tmp_path / "a.json", data), encoding="shift_jis")
    assert isinstance(good, Document)
    assert isinstance(bad, DeadLetter)
    assert "not UTF-8" in bad.reason
