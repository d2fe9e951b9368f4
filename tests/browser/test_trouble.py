"""What is seen when something goes wrong."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response
from playwright.sync_api import expect

from tests.support.browser_page import Opened
from tests.support.staged_page import QUERY, Stage, a_problem, an_answer


def test_a_refused_question_is_told_why_and_what_to_do(stage: Stage, open_page: Opened) -> None:
    """422: title, detail, expected, fix, the place in the body and the request's id."""
    stage.reply = lambda body: a_problem(
        422,
        title="Invalid request",
        detail="k = 500",
        expected="at most 100",
        fix="ask for fewer",
        request_id="abc123",
        errors=[{"loc": ["body", "k"], "msg": "too many"}],
    )
    page = open_page(stage.url, allowed=(422,))
    page.fill("#query", QUERY)
    page.fill("#k", "500")
    page.press("#k", "Enter")
    panel = page.get_by_role("alert")
    expect(panel.locator("h2")).to_have_text("Invalid request 422")
    expect(panel.locator("p")).to_have_text("k = 500")
    assert panel.locator("dt").all_inner_texts() == ["Expected", "What to do", "Where", "Request"]
    assert panel.locator("dd").all_inner_texts() == [
        "at most 100",
        "ask for fewer",
        "body.k too many",
        "abc123",
    ]
    expect(panel.get_by_role("button")).to_have_count(0)
    expect(page.locator("#results")).to_be_empty()


def test_a_key_is_asked_for_and_used(stage: Stage, open_page: Opened) -> None:
    """401: only then; a wrong one is told; a right one goes on, is sent, and is never shown."""
    stage.key = "s3cret"
    page = open_page(f"{stage.url}/#q=a+question", allowed=(401,))
    expect(page.get_by_role("alert")).to_have_text("An API key is needed")
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This key was not accepted")
    page.get_by_label("API key").fill("s3cret")
    page.get_by_role("button", name="Use it").click()
    expect(page.locator(".hit")).to_have_count(3)
    assert stage.asked[-1]["query"] == "a question"
    assert "s3cret" not in page.content() + page.url
    page.reload()
    expect(page.locator(".hit")).to_have_count(3)
    assert page.evaluate("Object.keys(localStorage)") == []
    page.get_by_role("button", name="Forget the API key").click()
    assert page.evaluate("Object.keys(sessionStorage)") == []
    page.reload()
    expect(page.get_by_role("alert")).to_have_text("An API key is needed")


def test_no_key_is_asked_for_where_none_is_needed(stage: Stage, open_page: Opened) -> None:
    """A service without keys shows nothing of them."""
    page = open_page(f"{stage.url}/#q=x")
    expect(page.locator(".hit")).to_have_count(3)
    expect(page.get_by_label("API key")).to_have_count(0)
    expect(page.get_by_role("button", name="Forget the API key")).to_be_hidden()


def test_an_overloaded_service_is_asked_again_when_it_says(stage: Stage, open_page: Opened) -> None:
    """503: the button waits out Retry-After; then the same question goes through."""
    full = [True]

    def reply(body: dict[str, Any]) -> Any:
        if full[0]:
            return a_problem(503, {"Retry-After": "1"}, title="Overloaded", detail="64 waiting")
        return an_answer(body["strategy"])

    stage.reply = reply
    page = open_page(f"{stage.url}/#q=x", allowed=(503,))
    expect(page.get_by_role("alert").locator("h2")).to_have_text("Overloaded 503")
    button = page.get_by_role("button", name="Try again")
    expect(button).to_be_disabled()
    expect(button).to_have_text("Try again in 1 s")
    full[0] = False
    expect(button).to_be_enabled()
    button.click()
    expect(page.locator(".hit")).to_have_count(3)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_service_that_does_not_answer(stage: Stage, open_page: Opened) -> None:
    """Network down: said so, what was typed is kept, and it can be tried again."""
    page = open_page(stage.url, allowed=(0,))
    page.route("**/v1/search", lambda route: route.abort("connectionrefused"))
    page.fill("#query", QUERY)
    page.press("#query", "Enter")
    panel = page.get_by_role("alert")
    expect(panel.locator("h2")).to_have_text("The service does not answer")
    expect(panel).to_contain_text("mrag serve")
    expect(page.locator("#query")).to_have_value(QUERY)
    page.unroute("**/v1/search")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".hit")).to_have_count(3)


def test_an_answer_that_is_no_json_is_not_believed(stage: Stage, open_page: Opened) -> None:
    """A proxy's sign-in page, or its error page, is told as what it is."""
    page_of_proxy = Response("<html><script>pwned = 1</script>", 200, media_type="text/html")
    stage.reply = lambda body: page_of_proxy
    page = open_page(f"{stage.url}/#q=x", allowed=(502,))
    expect(page.get_by_role("alert").locator("h2")).to_have_text("The answer cannot be read 200")
    stage.reply = lambda body: Response("<h1>Bad gateway</h1>", 502, media_type="text/html")
    page.locator("#submit").click()
    expect(page.get_by_role("alert").locator("h2")).to_have_text("Bad Gateway 502")


def test_a_service_that_is_not_ready_yet(stage: Stage, open_page: Opened) -> None:
    """The index's state is asked for again, and the shared question after it."""
    page = open_page(stage.url, allowed=(503,))
    body = '{"title": "Not ready", "status": 503, "detail": "no live version"}'
    page.route(
        "**/v1/index",
        lambda route: route.fulfill(
            status=503, body=body, headers={"Content-Type": "application/problem+json"}
        ),
    )
    page.goto("about:blank")
    page.goto(f"{stage.url}/#q=x")
    expect(page.get_by_role("alert")).to_contain_text("no live version")
    page.unroute("**/v1/index")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".hit")).to_have_count(3)
