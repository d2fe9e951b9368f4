"""The search page in a real Chromium: where it is, how it starts, and how a question is typed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.staged_page import QUERY

FLAGS = [
    "--headless",
    "--no-sandbox",  # the tests run as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Opened = Callable[..., Page]
PATIENCE_MS = 30_000  # on machines that do much else
expect.set_options(timeout=PATIENCE_MS)


def chromium() -> str | None:
    """Where a Chromium is, if there is one; its headless shell takes a third of the CPU time."""
    shells = (os.environ.get("MRAG_CHROMIUM"), "chromium-headless-shell")
    names = (*shells, "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """A Chromium; skips where there is none."""
    path = chromium()
    if path is None:
        pytest.skip("needs a browser: `make browser`, or install chromium, or set MRAG_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def asked(page: Page, query: str = QUERY) -> None:
    """Types a question and waits until both answers are there."""
    page.fill("#query", query)
    page.press("#query", "Enter")
    expect(page.locator(".others li, .empty").first).to_be_visible()
