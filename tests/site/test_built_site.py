"""The built documentation site: nothing from elsewhere, no dead link, and a search that finds.

`make docs` builds it and runs these with MRAG_SITE set to its folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser_page import launched

SITE = Path(os.environ.get("MRAG_SITE") or "/nowhere").resolve()
pytestmark = pytest.mark.skipif(not SITE.is_dir(), reason="needs a built site: run `make docs`")
# Attributes by which a page loads something, without a click.
LOADS = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src")}
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
LOOKED_AT = (
    "index.html",
    "reference/configuration.html",
    "retrieval.html",
    "reference/python.html",
)


class Parsed(HTMLParser):
    """A page's ids, what it links to, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Keeps what the tag says."""
        values = {name: value or "" for name, value in attributes}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if values.get("rel") in ("canonical", "prev", "next"):
            return
        self.loads += [values[name] for kind, name in LOADS if kind == tag and name in values]


@cache
def parsed(path: Path) -> Parsed:
    """The page, read once."""
    return Parsed(path)


def pages() -> Iterator[Path]:
    """Every page but the one for addresses that do not exist, whose links start at the root."""
    yield from (path for path in sorted(SITE.rglob("*.html")) if path.name != "404.html")


def test_no_page_loads_anything_from_another_host() -> None:
    """Fonts, scripts, styles and pictures are the site's own."""
    assert [
        f"{page.name}: {address}"
        for page in pages()
        for address in parsed(page).loads
        if urlsplit(address).netloc
    ] == []


def test_no_link_within_the_site_is_dead() -> None:
    """Neither the page nor the place in it."""
    dead = []
    for page in pages():
        for link in parsed(page).links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (page.parent / unquote(address.path)).resolve() if address.path else page
            target = target / "index.html" if target.is_dir() else target
            there = target.is_file()
            if there and address.fragment and target.suffix == ".html":
                there = unquote(address.fragment) in parsed(target).ids
            if not there:
                dead.append(f"{page.relative_to(SITE)}: {link}")
    assert dead == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as started:
        yield started


def opened(browser: Browser, place: str, size: str, scheme: str) -> tuple[Page, list[str]]:
    """A page from its file, and what went wrong on it, errors and requests to other hosts."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: wrong.append(r.url) if r.url.startswith("http") else None)
    page.goto((SITE / place).as_uri())
    return page, wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", LOOKED_AT)
def test_a_page_fits_its_window(browser: Browser, place: str, size: str, scheme: str) -> None:
    """Nothing makes the page scroll sideways, and its colours follow the system's."""
    page, wrong = opened(browser, place, size, scheme)
    width = page.evaluate("document.documentElement.scrollWidth")
    shown = page.evaluate("document.body.getAttribute('data-md-color-scheme')")
    page.context.close()
    assert width == SIZES[size][0]
    assert shown == {"light": "default", "dark": "slate"}[scheme]
    assert wrong == []


def test_the_search_finds_resume(browser: Browser) -> None:
    """From the files alone, without a server."""
    page, wrong = opened(browser, "index.html", "desktop", "light")
    page.fill("input.md-search__input", "resume")
    results = page.locator(".md-search-result__item")
    expect(results.first).to_contain_text("resume", ignore_case=True)
    assert results.count() >= 3
    assert wrong == []
    page.context.close()
