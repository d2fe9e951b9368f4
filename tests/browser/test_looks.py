"""Themes, sizes, and texts that were not written for us."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser_page import Opened, asked
from tests.support.staged_page import (
    INDEX,
    PARTS,
    QUERY,
    Stage,
    a_hit,
    a_problem,
    a_window,
    an_answer,
)

HOSTILE = (
    '<img src="x" onerror="pwned=1"><script>pwned=1</script>',
    "</textarea></title>{{7*7}}${7*7}javascript:pwned=1",
    "\u202eright to left\u202c \u0000\u0007 \ud7ff",
    "W" * 4000,
)
# Relative luminance and contrast, as WCAG 2 defines them.
CONTRAST = """([front, back]) => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const luminance = (...layers) => {
    for (const layer of layers) { canvas.fillStyle = layer; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const named = (name) => {
    document.body.style.outlineColor = `var(${name})`;
    return getComputedStyle(document.body).outlineColor;
  };
  const [low, high] = [luminance(named(front)), luminance(named(back))].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}"""


def is_wider_than_the_screen(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("width", [320, 360, 768])
def test_a_narrow_screen_never_scrolls_sideways(
    width: int, stage: Stage, open_page: Opened
) -> None:
    """At first, with results and every fold open, with a problem, and with words of any length."""
    page = open_page(stage.url, allowed=(422,), width=width, has_touch=True)
    expect(page.locator("#examples")).to_be_visible()
    assert not is_wider_than_the_screen(page)
    asked(page)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert not is_wider_than_the_screen(page)
    long = "w" * 300
    hits = [
        a_hit("x", [1.0, 0, 0, 0], [1.0] * 40, title=long, text=long, metadata={long: long})
        for _ in range(30)
    ]
    stage.reply = lambda body: an_answer(
        version=long, voters=[f"l99_h{at:02d}" for at in range(40)], hits=hits
    )
    asked(page, f"{QUERY} {long}")
    assert not is_wider_than_the_screen(page)
    stage.reply = lambda body: a_problem(422, title=long, detail=long, expected=long, fix=long)
    page.locator("#submit").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert not is_wider_than_the_screen(page)


def test_a_tap_shows_a_cells_value(stage: Stage, open_page: Opened) -> None:
    """Without a mouse a cell is touched; the value stays on the screen."""
    page = open_page(stage.url, width=360, has_touch=True, is_mobile=True)
    asked(page)
    page.locator("#heat-voters tbody td").nth(8).tap()
    tip = page.locator("#tip")
    expect(tip).to_have_text("standard gave hit 3, Store: 0, 0 % of what it got")
    box = tip.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


def paper(page: Page) -> Any:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_theme_follows_the_system_until_it_is_chosen(stage: Stage, open_page: Opened) -> None:
    """Dark and light by the system; the button turns it over, and that is kept."""
    page = open_page(stage.url, color_scheme="light")
    button = page.get_by_role("button", name="Dark")
    light = paper(page)
    expect(button).to_have_attribute("aria-pressed", "false")
    page.emulate_media(color_scheme="dark")
    dark = paper(page)
    assert dark != light
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    assert paper(page) == light
    page.reload()
    assert paper(page) == light
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_can_be_read(scheme: str, stage: Stage, open_page: Opened) -> None:
    """WCAG AA in both themes: 4.5 for text and for numbers on a hue, 3 for edges."""
    page = open_page(stage.url, color_scheme=scheme)
    for back in ("--paper", "--sheet"):
        for front in ("--ink", "--soft", "--bad", *(f"--hue-{at}" for at in range(9))):
            assert page.evaluate(CONTRAST, [front, back]) >= 4.5, (front, back)
        for front in ("--edge", "--focus", "--heat-ink"):
            assert page.evaluate(CONTRAST, [front, back]) >= 3, (front, back)
    for at in range(9):
        assert page.evaluate(CONTRAST, ["--on-hue", f"--hue-{at}"]) >= 4.5, at


@pytest.mark.parametrize("text", HOSTILE, ids=["markup", "breakout", "bidi", "long"])
def test_what_others_wrote_is_only_ever_text(text: str, stage: Stage, open_page: Opened) -> None:
    """Titles, ids, passages, metadata, windows, voters, versions, examples: shown as written."""
    voters = [text, "standard"]
    hit = a_hit(
        "x",
        [1.0, 0.5],
        [1.0, 0.5],
        document_id=text,
        title=text,
        text=text,
        metadata={text: text, "deep": {"list": [text]}},
    )
    parts = [a_window(*span) for span in PARTS[:2]]
    parts[0] = parts[0].model_copy(update={"text": text, "scale": text})
    stage.index = INDEX.model_copy(
        update={"index": text, "model": text, "strategies": {"aspect": text, text: text},
                "examples": [text], "version": text}
    )  # fmt: skip
    stage.reply = lambda body: an_answer(
        version=text, strategy=text, windows=parts, voters=voters, hits=[hit], missing_voters=[text]
    )
    page = open_page(stage.url)
    page.locator("#examples button").click()
    expect(page.locator(".others li")).to_have_count(1)
    page.locator("#heat-voters tbody td").first.hover()
    assert page.evaluate("typeof pwned") == "undefined"
    assert page.locator("#results img, #results script, #index img").count() == 0
    told = page.locator(".hit h3 bdi").text_content()
    assert told == text
    assert page.locator(".hit .text").text_content() == text
    assert not is_wider_than_the_screen(page)


def test_a_hostile_problem_and_address_are_only_text(stage: Stage, open_page: Opened) -> None:
    """What an error says and what a shared link holds are shown as written."""
    markup = HOSTILE[0]
    stage.reply = lambda body: a_problem(
        422, title=markup, detail=markup, expected=markup, fix=markup, request_id=markup
    )
    page = open_page(
        f"{stage.url}/#q=%3Cimg+src%3Dx+onerror%3Dpwned%3D1%3E&s=%3Cb%3E&k=7&w=%3Ci%3E&field=%22",
        allowed=(422,),
    )
    expect(page.get_by_role("alert").locator("p")).to_have_text(markup)
    expect(page.locator("#query")).to_have_value("<img src=x onerror=pwned=1>")
    expect(page.locator("#strategy")).to_have_value("<b>")
    assert page.evaluate("typeof pwned") == "undefined"
    assert page.locator("main img").count() == 0


def test_a_phone_has_a_way_to_standard_rags_answer(stage: Stage, open_page: Opened) -> None:
    """What stands beside on a desk stands below on a phone: a link leads there."""
    page = open_page(stage.url, width=360)
    asked(page)
    before = page.url
    page.get_by_role("link", name="standard RAG").click()
    expect(page.locator("#standard-title")).to_be_focused()
    expect(page.locator("#standard-title")).to_be_in_viewport()
    assert page.url == before
    page.set_viewport_size({"width": 1280, "height": 800})
    expect(page.get_by_role("link", name="standard RAG")).to_be_hidden()
