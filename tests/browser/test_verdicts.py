"""Verdicts on aspects, warnings, and scores, as they are seen."""

from __future__ import annotations

from playwright.sync_api import expect

from mrag_pipeline.wire.schemas import AspectPart, VerdictLevels
from tests.support.browser_page import Opened, asked
from tests.support.staged_page import Stage, a_hit, an_answer

ASPECTS = [
    AspectPart(text="Fetch a file", start=0, end=12, nearness=0.61, verdict="found"),
    AspectPart(text="parse <b>rows</b>", start=14, end=28, nearness=0.4, verdict="weak"),
    AspectPart(text="store them", start=30, end=40, nearness=0.12, verdict="nothing here"),
]
JUDGED = {"aspects": ASPECTS, "levels": VerdictLevels(weak=0.36, found=0.42)}


def test_each_aspect_has_its_verdict(stage: Stage, open_page: Opened) -> None:
    """In words, with its nearness and the levels; a text is never markup."""
    stage.reply = lambda body: an_answer(body["strategy"], **JUDGED)
    page = open_page(stage.url)
    asked(page)
    expect(page.locator(".verdicts h2")).to_have_text(
        "In this index weak from 0.36, found from 0.42"
    )
    assert page.locator(".verdicts li").all_inner_texts() == [
        "found\nFetch a file\n0.61",
        "weak\nparse <b>rows</b>\n0.40",
        "nothing here\nstore them\n0.12",
    ]


def test_verdicts_are_told_without_hits_too(stage: Stage, open_page: Opened) -> None:
    """With a least score that no hit reaches, the page says why there is none."""
    stage.reply = lambda body: an_answer(body["strategy"], hits=[], **JUDGED)
    page = open_page(stage.url)
    page.locator("#more summary").click()
    page.locator("#min").fill("0.7")
    asked(page)
    expect(page.locator(".empty")).to_contain_text("least score")
    expect(page.locator(".verdict")).to_have_count(3)
    assert stage.asked[0]["min_score"] == 0.7
    assert "min=0.7" in page.url


def test_a_service_without_verdicts_shows_none(stage: Stage, open_page: Opened) -> None:
    """As of a version that was built before there were any."""
    page = open_page(stage.url)
    asked(page)
    expect(page.locator(".hit")).to_have_count(3)
    expect(page.locator(".verdicts")).to_have_count(0)
    assert "min_score" not in stage.asked[0]


def test_warnings_stand_above_the_answer(stage: Stage, open_page: Opened) -> None:
    """As text, each on its own line."""
    warning = "no document has the field metadata.<i>yaer</i>"
    stage.reply = lambda body: an_answer(body["strategy"], warnings=[warning])
    page = open_page(stage.url)
    asked(page)
    expect(page.locator("#results > :first-child")).to_have_class("warnings")
    expect(page.locator(".warnings li")).to_have_text(warning)


def test_a_hit_shows_the_scores_it_has(stage: Stage, open_page: Opened) -> None:
    """A version without words has none of them; nothing stands in their place."""
    hits = [
        a_hit("fetch", [1.0, 3.0, 0.0, 0.0], [2.5, 1.5, 0.0], cosine=0.5678, bm25=12.34),
        a_hit("parse", [0.0, 0.0, 2.0, 0.0], [0.0, 1.9, 0.1], cosine=-0.01),
    ]
    stage.reply = lambda body: an_answer(
        body["strategy"], **({} if body["strategy"] == "standard" else {"hits": hits})
    )
    page = open_page(stage.url)
    asked(page)
    first, second = page.locator(".brought").all()
    expect(first).to_contain_text("cosine 0.57BM25 12.3")
    expect(second).to_contain_text("cosine -0.01")
    expect(second).not_to_contain_text("BM25")
