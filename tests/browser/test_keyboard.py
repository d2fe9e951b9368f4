"""Everything can be done without a mouse."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.support.browser_page import Opened, asked
from tests.support.staged_page import QUERY, Stage


def test_slash_goes_to_the_box_and_enter_asks(stage: Stage, open_page: Opened) -> None:
    """Shift and Enter is a new line; a slash in the box is a slash."""
    page = open_page(stage.url)
    page.locator("#theme").focus()
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    expect(page.locator("#query")).to_have_value("")
    page.keyboard.type("a/b")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("c")
    assert not stage.asked
    page.keyboard.press("Enter")
    expect(page.locator(".hit")).to_have_count(3)
    assert stage.asked[0]["query"] == "a/b\nc"


def test_an_empty_question_is_not_asked(stage: Stage, open_page: Opened) -> None:
    """Enter in an empty box, or one of spaces, leaves the cursor there."""
    page = open_page(stage.url)
    for text in ("", "   "):
        page.fill("#query", text)
        page.press("#query", "Enter")
    expect(page.locator("#query")).to_be_focused()
    assert not stage.asked


def test_the_first_tab_stop_skips_to_the_question(stage: Stage, open_page: Opened) -> None:
    """The links are seen when they have the focus, and lead there."""
    page = open_page(f"{stage.url}/#q=x")
    expect(page.locator(".hit")).to_have_count(3)
    page.keyboard.press("Tab")
    link = page.get_by_role("link", name="Skip to the question")
    expect(link).to_be_focused()
    expect(link).to_be_in_viewport()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#results")).to_be_focused()


def test_whatever_has_the_focus_shows_it(stage: Stage, open_page: Opened) -> None:
    """Every stop of the Tab key has a ring, and none is lost on the way."""
    page = open_page(stage.url)
    asked(page)
    page.locator("#query").focus()
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name, ring = page.evaluate(
            "[document.activeElement.id || document.activeElement.className"
            " || document.activeElement.tagName,"
            " getComputedStyle(document.activeElement).outline]"
        )
        if name == "BODY":
            break
        seen.append(name)
        assert "solid 2px" in ring, f"{name} shows no focus: {ring}"
    for name in ("strategy", "k", "submit", "chip hue-1", "chip hue-3"):
        assert name in seen


def test_results_are_announced(stage: Stage, open_page: Opened) -> None:
    """What a search came to is in a live region; regions and lists have names."""
    page = open_page(stage.url)
    asked(page)
    status = page.get_by_role("status")
    expect(status).to_have_attribute("aria-live", "polite")
    expect(status).to_contain_text("3 hits")
    expect(page.get_by_role("textbox", name="Your question")).to_have_value(QUERY)
    expect(page.get_by_role("list", name="Aspects").get_by_role("listitem")).to_have_count(3)
    expect(page.get_by_role("complementary", name="Standard RAG")).to_be_visible()
