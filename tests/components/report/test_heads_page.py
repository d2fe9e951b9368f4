"""The page of `mrag heads`: what is on it, and that texts stay texts."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mrag_pipeline.report.heads_page import heads_page
from tests.support.made_study import HOSTILE, made_study


class Tags(HTMLParser):
    """The tags, and the texts outside of style."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.texts.append(data)


def read(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


def test_the_page_has_every_part() -> None:
    """The conclusion first; groups, overlap, heads, field, drift, words and examples."""
    study = made_study()
    page = read(heads_page(study, "mrag heads --html x.html"))
    text = "\n".join(page.texts)
    assert study.conclusion in text
    for part in (
        "Heads beside pieces of the standard vector",
        "How heads complement each other",
        "Head by head",
        "metadata.colour",
        "Since vba9876543210",
        "What each head sees",
        "mrag heads --html x.html",
    ):
        assert part in text
    for head in study.heads:
        assert head.name in page.texts
        assert all(pair.chunk.text in page.texts for pair in head.examples)


def test_the_page_asks_for_nothing() -> None:
    """No script, no picture, no link: one file."""
    html = heads_page(made_study(), "mrag heads")
    assert not {"script", "img", "link", "iframe", "a"} & set(read(html).tags)
    assert not re.search(r"url\(|@import|https?:", html)
    assert "default-src 'none'" in html


@pytest.mark.parametrize("text", HOSTILE, ids=["markup", "breakout", "bidi", "long"])
def test_what_others_wrote_is_only_ever_text(text: str) -> None:
    """Titles, passages, words, models, fields: no tag more than with harmless ones."""
    harmless = read(heads_page(made_study("harmless"), "mrag heads"))
    spoilt = read(heads_page(made_study(text), text))
    assert spoilt.tags == harmless.tags
    assert text.replace("\0", "\ufffd") in spoilt.texts


def test_a_page_without_field_or_drift_leaves_them_out() -> None:
    """Nothing is shown of what was not asked for."""
    study = replace(made_study(), fields=(), drift=None)
    text = "\n".join(read(heads_page(study, "mrag heads")).texts)
    assert "Since " not in text
    assert "Neighbours by " not in text


def test_what_could_not_be_measured_is_left_empty() -> None:
    """No `None` on the page."""
    study = made_study()
    groups = {
        name: replace(group, above_chance=None, repeatability=None, preference=None)
        for name, group in study.groups.items()
    }
    gap = replace(study.difference, above_chance=None, repeatability=None, preference=None)
    voters = tuple(replace(voter, above_chance=None, repeatability=None) for voter in study.voters)
    spare = replace(study, groups=groups, difference=gap, voters=voters)
    assert "None" not in read(heads_page(spare, "mrag heads")).texts
