"""One Chromium for all tests of the page; each has a context, and a service, of its own.

Whatever a test is about, its page must not have asked another host for anything, broken the
content security policy, or left an error behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser_page import PATIENCE_MS, Opened, launched
from tests.support.staged_page import Stage, served


# Not for the session: while Playwright runs, no test in this thread can start an event loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with launched() as started:
        yield started


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A service whose answers the test scripts."""
    stage = Stage()
    with served(stage.app()) as url:
        stage.url = url
        yield stage


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opened]:
    """Opens an address in a context of its own: `open_page(url, allowed=(401,), width=360)`."""
    contexts = []
    wrong: list[str] = []

    def opened(url: str, allowed: tuple[int, ...] = (), width: int = 1280, **given: Any) -> Page:
        origin = "/".join(url.split("/")[:3])
        context = browser.new_context(viewport={"width": width, "height": 800}, **given)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) =>"
            " console.error('CSP ' + e.violatedDirective + ' ' + e.blockedURI))"
        )

        def heard(kind: str, text: str) -> None:
            # Chromium reports every refused request as an error of the console.
            told = any(f"status of {status} " in text for status in allowed)
            told |= 0 in allowed and "net::ERR_" in text
            if kind == "error" and not told:
                wrong.append(text)

        page.on("console", lambda message: heard(message.type, message.text))
        page.on("pageerror", lambda error: wrong.append(f"uncaught: {error}"))
        context.on(
            "request",
            lambda request: (
                None if request.url.startswith(f"{origin}/") else wrong.append(request.url)
            ),
        )
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong
