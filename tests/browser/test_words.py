"""An answer in words on the page: as it is written, with its sources, and with what has none."""

from __future__ import annotations

import threading

import pytest
from playwright.sync_api import Page, expect

from mrag_pipeline.llm.chat import ChatStream
from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.unguarded import NoObserver, OpenGuard
from mrag_pipeline.settings.llm import LlmSpec
from mrag_pipeline.settings.serve import ServeSpec
from tests.support import query_service
from tests.support.browser_page import Opened
from tests.support.chat_server import DONE, a_chat_server, a_chunk, streaming
from tests.support.staged_page import INDEX, QUERY, Stage, a_problem, an_end, served

TEXT = "Fetch it [1], then parse [2, 3]. Never [9]."
NOTHING = {"text": "zip it", "start": 0, "end": 6, "nearness": 0.1, "verdict": "nothing here"}


@pytest.fixture
def chatting(stage: Stage) -> Stage:
    """A service with a chat model."""
    stage.index = INDEX.model_copy(update={"chat_model": "tiny-chat"})
    stage.words = [("text", {"text": TEXT}), ("done", an_end(TEXT, [1, 2, 3]))]
    return stage


def worded(page: Page, query: str = QUERY) -> None:
    """Asks, and waits until the answer is complete."""
    page.fill("#query", query)
    page.press("#query", "Enter")
    expect(page.locator(".words-panel")).to_have_attribute("aria-busy", "false")


def test_citations_lead_to_their_passages_in_their_aspects_colours(
    chatting: Stage, open_page: Opened
) -> None:
    """Each number is a link with its hit's hue; one that the model was not given is struck out."""
    page = open_page(chatting.url)
    worded(page)
    expect(page.locator(".words-panel .said")).to_have_text(
        "Fetch it [1], then parse [2][3]. Never [9]."
    )
    cited = page.locator(".said .cite")
    classes = cited.evaluate_all("(all) => all.map((one) => one.className)")
    hits = page.locator(".hit").evaluate_all(
        "(all) => all.map((one) => one.className.match(/hue-[0-9]/)[0])"
    )
    assert classes == [*(f"cite {hue}" for hue in hits), "cite none"]
    assert len(set(hits)) == 3
    cited.nth(1).click()
    expect(page.locator("#hit-2")).to_be_focused()
    assert "#hit" not in page.evaluate("location.hash")


def test_the_sources_and_what_has_none_are_named(chatting: Stage, open_page: Opened) -> None:
    """Cited passages with title and aspect; the aspects that no passage answers; the model."""
    chatting.words = [("done", an_end("Only [3].", [1, 3], unsourced=[NOTHING]))]
    page = open_page(chatting.url)
    worded(page)
    expect(page.locator(".sources li")).to_have_text(["[3] Store aspect 3"])
    expect(page.locator(".unsourced li")).to_have_text("zip it")
    expect(page.locator("#words-title")).to_have_text("Answer by tiny-chat")
    expect(page.locator("#status")).to_have_text("Answered from 1 passage.")


def test_words_and_hits_are_seen_before_the_answer_ends(chatting: Stage, open_page: Opened) -> None:
    """The passages come with the first event; stopping keeps what was written, and the rest."""
    is_seen = threading.Event()
    chatting.words = [("text", {"text": "Fetch [1] and"}), ("hold", is_seen)]
    page = open_page(chatting.url)
    page.fill("#query", QUERY)
    page.press("#query", "Enter")
    expect(page.locator(".said")).to_have_text("Fetch [1] and")
    expect(page.locator(".hit")).to_have_count(3)
    expect(page.locator(".others li").first).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".words-panel .note")).to_have_text("Stopped.")
    expect(page.locator(".said")).to_have_text("Fetch [1] and")
    expect(page.locator(".hit")).to_have_count(3)
    is_seen.set()


@pytest.mark.parametrize(
    ("end", "title"),
    [
        (("error", {"title": "Chat is down", "status": 502, "detail": "busy"}), "Chat is down 502"),
        (("text", {"text": "."}), "The answer broke off"),
    ],
)
def test_an_answer_that_fails_leaves_the_passages(
    chatting: Stage, open_page: Opened, end: tuple[str, object], title: str
) -> None:
    """The reason stands where the answer would end; trying again asks again."""
    chatting.words = [("text", {"text": "Fetch"}), end]
    page = open_page(chatting.url)
    worded(page)
    expect(page.locator(".words-panel .trouble h2")).to_have_text(title)
    expect(page.locator(".said")).to_contain_text("Fetch")
    expect(page.locator(".hit")).to_have_count(3)
    chatting.words = [("done", an_end("All is well [1].", [1]))]
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".said")).to_have_text("All is well [1].")


def test_without_words_only_a_search_is_asked(chatting: Stage, open_page: Opened) -> None:
    """The box's state is in the address, and shared with it."""
    page = open_page(chatting.url)
    page.get_by_label("Answer in words").uncheck()
    page.get_by_role("button", name="Hash a tree, zip it.").click()
    expect(page.locator(".hit")).to_have_count(3)
    expect(page.locator(".words-panel")).to_have_count(0)
    assert not [body for body in chatting.asked if "stream" in body]
    assert "words=no" in page.evaluate("location.hash")
    page.reload()
    expect(page.get_by_label("Answer in words")).not_to_be_checked()


def test_a_service_without_a_chat_model_offers_none(stage: Stage, open_page: Opened) -> None:
    """The box is not there, and no answer is asked for, whatever a shared address says."""
    page = open_page(f"{stage.url}/#q=dog&words=yes")
    expect(page.locator(".hit")).to_have_count(3)
    expect(page.get_by_label("Answer in words")).to_be_hidden()
    assert not [body for body in stage.asked if "stream" in body]


def test_a_refused_answer_is_told_like_a_refused_search(chatting: Stage, open_page: Opened) -> None:
    """An error before the first event has a status of its own."""
    chatting.reply = lambda body: a_problem(503, title="Not ready", detail="starting")
    page = open_page(chatting.url, allowed=(503,))
    page.fill("#query", QUERY)
    page.press("#query", "Enter")
    expect(page.locator("#trouble h2")).to_have_text("Not ready 503")


@pytest.mark.parametrize("width", [320, 1280])
def test_an_answer_of_any_text_fits_its_screen(
    width: int, chatting: Stage, open_page: Opened
) -> None:
    """Markup stays text, and nothing scrolls sideways."""
    text = '<img src="x" onerror="pwned=1"> [1] ' + "W" * 600 + " [1][2][3]" * 40
    unsourced = [NOTHING | {"text": "<b>" + "w" * 300}]
    chatting.words = [("done", an_end(text, [1, 2, 3], unsourced=unsourced))]
    page = open_page(chatting.url, width=width)
    worded(page)
    assert page.locator(".said").text_content() == text
    assert page.evaluate("typeof pwned") == "undefined"
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_the_services_own_events_are_read(
    tmp_path_factory: pytest.TempPathFactory, open_page: Opened
) -> None:
    """The real API over a chat endpoint: pieces that end anywhere, other alphabets' line breaks."""
    backend = query_service.a_backend(query_service.a_living(tmp_path_factory.mktemp("index")))
    turn = streaming(
        a_chunk("A dog guards\u2028sheep ["), a_chunk("1"), a_chunk("] ünd 🦊.", "stop"), DONE
    )
    with a_chat_server(turn) as (chat_url, asked):
        answerer = Answerer(ChatStream(LlmSpec(url=chat_url, model="m")), 3000)
        app = create_api(backend, ServeSpec(), OpenGuard(), NoObserver(), answerer)
        with served(app) as url:
            page = open_page(url)
            worded(page, "a shaggy herding dog")
            expect(page.locator(".said .cite")).to_have_text("[1]")
            assert page.locator(".said").text_content() == "A dog guards\u2028sheep [1] ünd 🦊."
            expect(page.locator(".sources li bdi")).to_have_text("Dog")
            page.context.close()
    assert "herding dog" in asked[0]["messages"][1]["content"]
    backend.close()
