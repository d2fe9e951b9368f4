"""A question and its answers, as they are seen."""

from __future__ import annotations

import re
import threading
from typing import Any

from playwright.sync_api import expect

from mrag_pipeline.wire.schemas import SearchAnswer
from tests.support.browser_page import Opened, asked
from tests.support.staged_page import QUERY, Stage, a_hit, a_problem, a_window, an_answer


def test_the_page_says_what_is_served(stage: Stage, open_page: Opened) -> None:
    """Index, size, model, strategies with what each does, and examples that ask by a click."""
    page = open_page(stage.url)
    expect(page.locator("#index")).to_have_text(
        "toy 1,234 documents, 5,678 passages, 2 heads of tiny"
    )
    assert page.locator("#strategy option").all_inner_texts() == list(stage.index.strategies)
    expect(page.locator("#strategy-is")).to_have_text("windows and heads.")
    page.get_by_role("button", name="Hash a tree, zip it.").click()
    expect(page.locator(".hit")).to_have_count(3)
    assert {"query": "Hash a tree, zip it.", "k": 8, "strategy": "aspect"} in stage.asked


def test_a_question_is_asked_as_the_service_is_configured(stage: Stage, open_page: Opened) -> None:
    """Its default strategy and number of hits stand in the form, and in no shared address."""
    stage.index = stage.index.model_copy(update={"default_strategy": "mrag", "default_k": 5})
    page = open_page(stage.url)
    expect(page.locator("#strategy")).to_have_value("mrag")
    expect(page.locator("#k")).to_have_value("5")
    page.get_by_role("button", name="Hash a tree, zip it.").click()
    expect(page.locator(".hit")).to_have_count(3)
    assert {"query": "Hash a tree, zip it.", "k": 5, "strategy": "mrag"} in stage.asked
    assert page.evaluate("location.hash") == "#q=Hash+a+tree%2C+zip+it."


def test_a_hit_says_what_it_is_and_what_brought_it(stage: Stage, open_page: Opened) -> None:
    """Title, id, place, metadata, passage as it is, vote, and its aspects' shares."""
    page = open_page(stage.url)
    asked(page)
    hit = page.locator(".hit").first
    expect(hit.locator("h3 bdi")).to_have_text("Fetch")
    expect(hit.locator(".facts")).to_have_text(
        "Document docs/fetchpassage 3, characters 100–130kind functionyear 2020"
    )
    assert hit.locator(".text").text_content() == "All about fetch.\n    indented"
    expect(hit.locator(".brought")).to_have_text("vote 4.00aspect 1 75 %other windows 25 %")
    expect(page.locator("#status")).to_have_text(re.compile(r"^3 hits, 3 aspects in \d+ ms$"))


def test_the_aspects_are_marked_in_the_query_and_as_chips(stage: Stage, open_page: Opened) -> None:
    """Those that brought a hit, by rank; the whole, which brought none, is told apart."""
    page = open_page(stage.url)
    asked(page)
    pieces = page.locator(".piece").evaluate_all(
        "(all) => all.map((one) => [one.lastChild.textContent, one.dataset.aspects])"
    )
    assert pieces == [
        ["Fetch a file", "1"],
        [", ", ""],
        ["parse its rows", "2"],
        [", ", ""],
        ["store them", "3"],
        [".", ""],
    ]
    chips = page.locator(".chip")
    assert chips.all_inner_texts() == [
        "1\nFetch a file\n1 hit",
        "2\nparse its rows\n1 hit",
        "3\nstore them\n1 hit",
    ]
    assert (
        len({chip.evaluate("(e) => getComputedStyle(e).borderColor") for chip in chips.all()}) == 3
    )
    expect(page.locator(".unheard summary")).to_have_text(
        "1 more window that brought no hit of its own"
    )


def test_a_passage_has_its_aspects_colour(stage: Stage, open_page: Opened) -> None:
    """Its tint is the first aspect's, its bar is parted by all of them."""
    page = open_page(stage.url)
    asked(page)
    store = page.locator(".hit").nth(2)
    tint = "getComputedStyle(document.querySelectorAll('.chip')[2]).backgroundColor"
    assert page.evaluate(tint) == store.locator(".passage").evaluate(
        "(one) => getComputedStyle(one).backgroundColor"
    )
    bar = store.locator(".bar").evaluate("(one) => one.style.backgroundImage")
    assert "var(--hue-3) 0.00% 75.00%, var(--hue-2) 75.00% 100.00%" in bar


def test_offsets_are_characters_not_utf16(stage: Stage, open_page: Opened) -> None:
    """An emoji is one character to the service and two to JavaScript; marks stay right."""
    query = "🦊🦊 foxes, then 𝒜 script"
    parts = [a_window(0, 8, query), a_window(15, 23, query)]
    hits = [a_hit("fox", [1.0, 0.0], [1.0]), a_hit("script", [0.0, 1.0], [1.0])]
    stage.reply = lambda body: an_answer(windows=parts, voters=["l05_h00"], hits=hits)
    page = open_page(stage.url)
    asked(page, query)
    marked = page.locator(".piece:not([data-aspects=''])").evaluate_all(
        "(all) => all.map((one) => one.lastChild.textContent)"
    )
    assert marked == ["🦊🦊 foxes", "𝒜 script"]


def test_standard_rag_stands_beside_ours(stage: Stage, open_page: Opened) -> None:
    """The same question again by the standard strategy; what only ours found is marked."""
    page = open_page(stage.url)
    asked(page)
    assert [body["strategy"] for body in stage.asked].count("standard") == 1
    assert [mark.inner_text() for mark in page.locator(".hit h3 .mark").all()] == [
        "standard #2",
        "only ours",
        "only ours",
    ]
    assert page.locator(".others .mark").all_inner_texts() == ["not in ours", "ours #1"]
    expect(page.locator(".coverage")).to_have_text(
        "1 of its 2 hits is ours too, of 1 of the 3 aspects 123"
    )
    assert [one.get_attribute("class") for one in page.locator(".dots .badge").all()] == [
        "badge hue-1",
        "badge hue-2 missed",
        "badge hue-3 missed",
    ]


def test_ours_is_shown_though_standard_fails(stage: Stage, open_page: Opened) -> None:
    """The second request's problem is told in its place only."""
    stage.reply = lambda body: (
        a_problem(429, detail="600 a minute") if body["strategy"] == "standard" else an_answer()
    )
    page = open_page(stage.url, allowed=(429,))
    page.fill("#query", QUERY)
    page.press("#query", "Enter")
    expect(page.locator("#standard")).to_have_text("It could not be asked: 600 a minute")
    expect(page.locator(".hit")).to_have_count(3)
    expect(page.locator(".trouble")).to_have_count(0)


def test_another_strategy_asks_again(stage: Stage, open_page: Opened) -> None:
    """Choosing is asking; the standard strategy has nothing beside it."""
    page = open_page(stage.url)
    asked(page)
    page.select_option("#strategy", "mrag")
    expect(page.locator("#ours-title")).to_contain_text("mrag")
    expect(page.locator("#strategy-is")).to_have_text("the paper's rule.")
    page.select_option("#strategy", "standard")
    expect(page.locator("#ours-title")).to_contain_text("standard")
    expect(page.locator(".beside")).to_have_count(0)
    expect(page.locator("#read-title")).to_have_text("Searched as one piece")
    strategies = [body["strategy"] for body in stage.asked]
    assert sorted(strategies) == ["aspect", "mrag", "standard", "standard", "standard"]


def test_version_and_timings_are_told(stage: Stage, open_page: Opened) -> None:
    """By stage, as the service measured, and what the browser waited."""
    page = open_page(stage.url)
    asked(page)
    told = page.locator(".provenance")
    expect(told.locator("p")).to_have_text(
        "Version v0123456789ab, 4 windows × 3 voters = 12 rankings."
    )
    assert told.locator("dt").all_inner_texts() == ["encode", "search", "vote", "in the browser"]
    assert told.locator("dd").all_inner_texts()[:3] == ["20 ms", "60 ms", "< 1 ms"]


def test_heads_that_did_not_answer_are_named(stage: Stage, open_page: Opened) -> None:
    """An answer without all heads says so."""
    stage.reply = lambda body: an_answer(body["strategy"], missing_voters=["l05_h07"])
    page = open_page(stage.url)
    asked(page)
    expect(page.locator(".votes .note")).to_contain_text("Without l05_h07")


def test_pieces_and_a_filter_can_be_given(stage: Stage, open_page: Opened) -> None:
    """Sub-queries a line each for ours only; one condition for both, its value typed."""
    page = open_page(stage.url)
    page.get_by_text("More", exact=True).click()
    page.fill("#windows", "fetch\n\nparse")
    page.fill("#field", "metadata.year")
    page.select_option("#op", "ge")
    page.fill("#value", "2020")
    asked(page)
    condition = {"field": "metadata.year", "op": "ge", "value": 2020}
    ours, standard = sorted(stage.asked, key=lambda body: str(body["strategy"]))
    assert ours["windows"] == ["fetch", "parse"]
    assert "windows" not in standard
    assert ours["filter"] == standard["filter"] == condition
    page.reload()
    expect(page.locator("#value")).to_have_value("2020")
    expect(page.locator("#windows")).to_have_value("fetch\nparse")


def test_a_question_is_in_the_address(stage: Stage, open_page: Opened) -> None:
    """What is asked can be shared and gone back to; nothing of it reaches a server's log."""
    page = open_page(stage.url)
    asked(page, "one & two # three")
    address = page.url
    asked(page, "another")
    page.go_back()
    expect(page.locator("#query")).to_have_value("one & two # three")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    shared = open_page(address)
    expect(shared.locator("#query")).to_have_value("one & two # three")
    expect(shared.locator(".hit")).to_have_count(3)
    assert stage.asked[-1]["query"] == "one & two # three"


def test_nothing_found_is_said(stage: Stage, open_page: Opened) -> None:
    """No hits is an answer of its own, not an empty page."""
    stage.reply = lambda body: an_answer(body["strategy"], hits=[])
    page = open_page(stage.url)
    asked(page)
    expect(page.locator(".empty h2")).to_have_text("Nothing found")
    expect(page.locator("#status")).to_contain_text("Nothing found")


def test_waiting_is_seen_and_a_newer_question_wins(stage: Stage, open_page: Opened) -> None:
    """While one is on its way the page says so; its late answer does not replace a newer one's."""
    held = threading.Event()

    def reply(body: dict[str, Any]) -> SearchAnswer:
        if body["query"] == "slow":
            held.wait(10)
            return an_answer(hits=[])
        return an_answer(body["strategy"])

    stage.reply = reply
    page = open_page(stage.url)
    page.fill("#query", "slow")
    page.press("#query", "Enter")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#status")).to_have_text("Searching…")
    expect(page.locator("#submit")).to_have_text("Asking")
    asked(page, "quick")
    held.set()
    page.wait_for_timeout(200)
    expect(page.locator(".hit")).to_have_count(3)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")


def test_128_windows_are_grouped(stage: Stage, open_page: Opened) -> None:
    """Those that brought a hit are shown; the rest are folded away under what they overlap."""
    words = [f"word{at:03d}" for at in range(140)]
    query = " ".join(words)
    # Twelve words each, overlapping by eleven: 8 characters a word.
    parts = [a_window(8 * at, 8 * (at + 12) - 1, query) for at in range(128)]
    rows = [[float(at == window) for at in range(128)] for window in (5, 60, 100)]
    rows[0][6] = 3 / 5  # near the first aspect's own
    hits = [a_hit(f"hit{at}", row, [1.0]) for at, row in enumerate(rows)]
    stage.reply = lambda body: (
        an_answer(windows=parts, voters=["l05_h00"], hits=hits)
        if body["strategy"] == "aspect"
        else an_answer("standard")
    )
    page = open_page(stage.url)
    asked(page, query)
    expect(page.locator(".chip")).to_have_count(3)
    expect(page.locator(".unheard li").first).to_be_hidden()
    page.locator(".unheard summary").click()
    assert page.locator(".unheard h3").all_inner_texts() == [
        "Around 1",
        "Around 2",
        "Around 3",
        "Elsewhere",
    ]
    expect(page.locator(".unheard li")).to_have_count(125)
    expect(page.locator(".hit").first.locator(".brought")).to_contain_text("aspect 1 100 %")
    expect(page.locator("#heat-windows tbody tr:visible")).to_have_count(3)
    page.get_by_role("button", name="All 128 windows").click()
    expect(page.locator("#heat-windows tbody tr:visible")).to_have_count(128)
