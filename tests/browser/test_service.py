"""The page over the service itself: the real API, guard and an index of a few documents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import ApiKey, Keys, digest
from mrag_pipeline.serving.unguarded import NoObserver
from mrag_pipeline.settings.serve import ServeSpec
from tests.support import query_service
from tests.support.browser_page import Opened
from tests.support.staged_page import served

# Long enough for windows.
TWO_SUBJECTS = (
    "A shaggy herding dog of the hills guards sheep by night. "
    "Then there was a cool giant star rich in carbon."
)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessBackend]:
    backend = query_service.a_backend(query_service.a_living(tmp_path_factory.mktemp("index")))
    yield backend
    backend.close()


@pytest.fixture
def url(backend: InProcessBackend) -> Iterator[str]:
    spec = ServeSpec()
    with served(create_api(backend, spec, KeyGuard(spec, Keys()), NoObserver())) as url:
        yield url


def test_a_question_finds_its_documents(url: str, open_page: Opened) -> None:
    """Both subjects' documents come first, each by a window that holds its words."""
    page = open_page(url)
    page.fill("#query", TWO_SUBJECTS)
    page.press("#query", "Enter")
    expect(page.locator(".others li").first).to_be_visible()
    first_two = page.locator(".hit h3 bdi").all_inner_texts()[:2]
    assert sorted(first_two) == ["Dog", "Star"]
    assert page.locator(".chip").count() >= 2
    expect(page.locator("#heat-voters tbody th").last).to_have_text("lexical")


def test_the_services_own_problem_is_understood(url: str, open_page: Opened) -> None:
    """More hits than `serve.max_k` is refused with what is allowed."""
    page = open_page(url, allowed=(422,))
    page.fill("#query", "dog")
    page.fill("#k", "1000")
    page.press("#query", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("100")
    expect(page.get_by_role("alert").locator("dt").first).to_have_text("Expected")


def test_a_filter_is_the_services_own(url: str, open_page: Opened) -> None:
    """Only what matches is found; what matches nothing is said."""
    page = open_page(url)
    page.get_by_text("More", exact=True).click()
    page.fill("#field", "metadata.year")
    page.select_option("#op", "ge")
    page.fill("#value", "2020")
    page.fill("#query", query_service.QUERY)
    page.press("#query", "Enter")
    expect(page.locator(".others li").first).to_be_visible()
    assert sorted(page.locator(".hit h3 bdi").all_inner_texts()) == ["Reed", "Sword"]


def test_a_real_key_opens_it(backend: InProcessBackend, open_page: Opened) -> None:
    """The guard's 401 brings the key's field; its key goes through."""
    spec = ServeSpec()
    keys = Keys([ApiKey("web", digest("correct-horse"))])
    with served(create_api(backend, spec, KeyGuard(spec, keys), NoObserver())) as url:
        page = open_page(f"{url}/#q=dog", allowed=(401,))
        page.get_by_label("API key").fill("battery-staple")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("This key was not accepted")
        page.get_by_label("API key").fill("correct-horse")
        page.keyboard.press("Enter")
        expect(page.locator(".hit h3 bdi").first).to_have_text("Dog")
        page.context.close()


def test_the_api_is_described_without_help_from_elsewhere(url: str, open_page: Opened) -> None:
    """Every operation and schema of the OpenAPI document, links that lead, a request that works."""
    page = open_page(f"{url}/docs")
    expect(page.locator("h1")).to_have_text(
        "Finds documents for questions that have several aspects."
    )
    routes = page.locator(".route").all_inner_texts()
    for route in (
        "POST\n/v1/search",
        "POST\n/v1/answer",
        "GET\n/v1/index",
        "GET\n/v1/chunks/{chunk_id}",
    ):
        assert any(one.split() == route.split() for one in routes), route
    search = page.locator("#post-v1-search")
    expect(search.locator("pre").first).to_contain_text("curl 'http://127.0.0.1:")
    search.locator(".type a", has_text="SearchBody").first.click()
    schema = page.locator("#schema-SearchBody")
    expect(schema).to_have_attribute("open", "")
    expect(schema.locator("tr").first).to_contain_text("query required")
    search.get_by_text("Try it").click()
    search.get_by_role("button", name="Send").click()
    expect(search.locator(".note")).to_contain_text("200 in")
    assert '"hits": [' in search.locator("pre").last.inner_text()


def test_the_description_fits_a_phone(url: str, open_page: Opened) -> None:
    """No sideways scrolling with every fold open."""
    page = open_page(f"{url}/docs", width=360)
    expect(page.locator(".operation").first).to_be_visible()
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
