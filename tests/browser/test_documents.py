"""The document browser and the first view, over the service itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import ApiKey, Keys, digest
from mrag_pipeline.serving.unguarded import NoObserver
from mrag_pipeline.settings.serve import ServeSpec
from tests.support import query_service
from tests.support.browser_page import Opened
from tests.support.living_index import Living
from tests.support.staged_page import served

LONG = " ".join(f"the long tale of word{number}" for number in range(180))
ODD = 'a/b?c#d&<i>"% +.txt'


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessBackend]:
    """The toy documents, one of more passages than a page has, and one with an odd id."""
    odd = Document(ODD, "odd " + "W" * 300, metadata={"note": "<b>bold</b>"})
    documents = [*query_service.documents(), Document("tale", LONG, title="A tale"), odd]
    living = Living(tmp_path_factory.mktemp("index"), documents)
    living.ingest()
    backend = query_service.a_backend(living)
    yield backend
    backend.close()


@pytest.fixture
def url(backend: InProcessBackend) -> Iterator[str]:
    """Without examples."""
    spec = ServeSpec()
    with served(create_api(backend, spec, KeyGuard(spec, Keys()), NoObserver())) as url:
        yield url


def test_an_index_without_examples_shows_what_it_has(url: str, open_page: Opened) -> None:
    """Some documents, and a question for two of them that a click asks."""
    page = open_page(url)
    expect(page.locator("#some li")).to_have_count(6)
    suggested = page.locator("#examples button").first
    subjects = suggested.inner_text().split(". ")
    assert len(subjects) == 2
    suggested.click()
    expect(page.locator(".hit").first).to_be_visible()
    expect(page.locator("#some")).to_be_hidden()
    expect(page.locator("#query")).to_have_value(". ".join(subjects))
    page.context.close()


def test_a_document_is_found_and_read(url: str, open_page: Opened) -> None:
    """By how its title begins; back and forth by the browser's history."""
    page = open_page(f"{url}/documents")
    expect(page.locator(".list li")).to_have_count(7)
    page.fill("#text", "swo")
    page.keyboard.press("Enter")
    expect(page.locator(".list h2")).to_have_text(["Sword"])
    page.get_by_role("link", name="Sword").click()
    expect(page.locator(".document h2")).to_have_text("Sword")
    expect(page.locator(".document > .facts")).to_contain_text("year 2020")
    expect(page.locator(".passages .text").first).to_contain_text("curved sword")
    page.go_back()
    expect(page.locator(".list h2")).to_have_text(["Sword"])
    page.fill("#text", "zebra")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("No id and no title begins with “zebra”")
    page.context.close()


def test_a_passage_has_its_place_in_every_head(url: str, open_page: Opened) -> None:
    """A row for each head and the standard vector; each neighbour leads to its passage."""
    page = open_page(f"{url}/documents#id=dog")
    page.get_by_role("button", name="Its place in every head").first.click()
    rows = page.locator(".around tr")
    expect(rows.first).to_be_visible()
    heads = page.evaluate("fetch('v1/index').then((r) => r.json()).then((r) => r.heads.length)")
    expect(rows).to_have_count(heads + 1)
    expect(rows.last.locator("th")).to_have_text("standard")
    neighbour = rows.first.locator("a").first
    name = neighbour.inner_text()
    neighbour.click()
    expect(page.locator(".document h2")).to_have_text(name)
    expect(page.locator(".passages > li.meant")).to_be_focused()
    page.context.close()


def test_a_hit_leads_to_its_document(url: str, open_page: Opened) -> None:
    """At its passage, whatever signs the id has."""
    page = open_page(f"{url}/#q=odd+{'W' * 300}")
    page.locator(".hit .facts a").first.click()
    expect(page.locator(".document > .facts .id")).to_have_text(ODD)
    expect(page.locator(".document > .facts")).to_contain_text("<b>bold</b>")
    expect(page.locator(".passages > li.meant")).to_have_count(1)
    page.context.close()


def test_a_long_document_is_read_on(url: str, open_page: Opened) -> None:
    """A hundred passages at once, in order, to the last."""
    page = open_page(f"{url}/documents#id=tale")
    passages = page.locator(".passages > li")
    expect(passages).to_have_count(100)
    more = page.get_by_role("button", name="Show more passages")
    more.click()
    expect(passages.nth(100)).to_contain_text("passage 101")
    expect(more).to_be_hidden()
    expect(passages.last.locator(".text")).to_contain_text("word179")
    page.context.close()


@pytest.mark.parametrize("width", [320])
def test_the_browser_fits_its_screen(width: int, url: str, open_page: Opened) -> None:
    """First view, list, a document with unbroken words, its neighbours: none scrolls sideways."""
    page = open_page(url, width=width)
    sideways = "document.documentElement.scrollWidth > innerWidth"
    expect(page.locator("#some li").first).to_be_visible()
    assert not page.evaluate(sideways)
    page.goto(f"{url}/documents")
    expect(page.locator(".list li").first).to_be_visible()
    assert not page.evaluate(sideways)
    page.locator(".list a", has_text=ODD).click()
    page.get_by_role("button", name="Its place in every head").first.click()
    expect(page.locator(".around")).to_be_visible()
    assert not page.evaluate(sideways)
    page.context.close()


def test_a_key_opens_the_documents(backend: InProcessBackend, open_page: Opened) -> None:
    """It is asked for once, and kept for the search page too."""
    spec = ServeSpec()
    keys = Keys([ApiKey("web", digest("correct-horse"))])
    with served(create_api(backend, spec, KeyGuard(spec, keys), NoObserver())) as url:
        page = open_page(f"{url}/documents#id=dog", allowed=(401,))
        page.get_by_label("API key").fill("correct-horse")
        page.keyboard.press("Enter")
        expect(page.locator(".document h2")).to_have_text("Dog")
        page.goto(f"{url}/")
        expect(page.locator("#index")).to_contain_text("7 documents")
        page.context.close()


def test_a_document_that_is_gone_is_told(url: str, open_page: Opened) -> None:
    """With what to do."""
    page = open_page(f"{url}/documents#id=gone", allowed=(404,))
    expect(page.get_by_role("alert")).to_contain_text("no document 'gone'")
    page.context.close()
