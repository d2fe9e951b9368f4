"""The MCP server by the official client over stdio and HTTP, with the service's keys."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from mrag_pipeline import __version__
from mrag_pipeline.cli.mcp import check_exposure
from mrag_pipeline.client import AsyncClient
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import Keys, new_key
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.lazy_library import LazyLibrary
from tests.support.query_service import a_backend, a_client, a_living
from tests.support.staged_page import served

if TYPE_CHECKING:
    from mcp import Client as McpClient

httpx2 = LazyLibrary("httpx2")
mcp = LazyLibrary("mcp")
mcp_http = LazyLibrary("mcp.client.streamable_http")
ours = LazyLibrary("mrag_pipeline.integrations.mcp")

QUESTION = "a shaggy herding dog of the hills. a cool giant star rich in carbon."
TOOLS = {"search", "answer_sources", "get_document", "index_status"}
SPEC = ServeSpec(tenant_field="owner.name", requests_per_minute=4)
ANY, ANY_KEY = new_key("any")
ACME, ACME_KEY = new_key("acme", "acme")
BUSY, BUSY_KEY = new_key("busy")
CURIOUS, CURIOUS_KEY = new_key("curious")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with keys: any tenant's, acme's, one that will ask too much, an inspector's."""
    backend = a_backend(a_living(tmp_path_factory.mktemp("service")), SPEC)
    guard = KeyGuard(SPEC, Keys([ANY_KEY, ACME_KEY, BUSY_KEY, CURIOUS_KEY]))
    with served(cast(FastAPI, a_client(backend, SPEC, guard).app)) as url:
        yield url
    backend.close()


@pytest.fixture
def open_url(tmp_path: Path) -> Iterator[str]:
    """A service without keys."""
    backend = a_backend(a_living(tmp_path / "service"))
    with served(cast(FastAPI, a_client(backend).app)) as url:
        yield url
    backend.close()


@pytest.fixture(scope="module")
def mcp_url(url: str) -> Iterator[str]:
    """The MCP server before the service with keys."""
    server = ours.create_server(lambda key: AsyncClient(url, api_key=key, attempts=1))
    app = server.streamable_http_app(stateless_http=True)
    with served(app, lifespan="on") as address:
        yield f"{address}/mcp"


def over_http(mcp_url: str, key: str, work: Callable[[McpClient], Awaitable[Any]]) -> Any:
    """What the official client gets with a key."""

    async def ask() -> Any:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            mcp.Client(mcp_http.streamable_http_client(mcp_url, http_client=http)) as client,
        ):
            return await work(client)

    return asyncio.run(ask())


async def use_everything(client: McpClient) -> None:
    """The tools and the resource, by the official client, which checks every message."""
    assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
    found = await client.call_tool("search", {"query": QUESTION, "k": 2})
    assert not found.is_error, found
    passages = structured(found)["passages"]
    assert {passage["document_id"] for passage in passages} == {"dog", "star"}
    read = await client.call_tool("get_document", {"document_id": "dog"})
    assert "sheep" in " ".join(structured(read)["passages"])
    [content] = (await client.read_resource(passages[0]["read_more"])).contents
    assert passages[0]["title"] in cast(Any, content).text


def structured(result: Any) -> dict[str, Any]:
    """A tool's result as data."""
    content: dict[str, Any] = result.structured_content
    return content


def test_tools_and_resources_over_http(mcp_url: str) -> None:
    """With a key that the service knows."""
    over_http(mcp_url, ANY, use_everything)


@pytest.mark.parametrize("key", ["", "mrag_unknown"])
def test_a_caller_without_a_key_gets_nothing(mcp_url: str, key: str) -> None:
    """The service's 401, as the tool's error."""

    async def ask(client: McpClient) -> Any:
        return await client.call_tool("index_status", {})

    result = over_http(mcp_url, key, ask)
    assert result.is_error
    assert "no API key, or an unknown one" in str(result.content)


def test_a_keys_tenant_is_all_that_it_sees(mcp_url: str) -> None:
    """In a search, and in a resource that another tenant has."""

    async def ask(client: McpClient) -> None:
        found = structured(await client.call_tool("search", {"query": QUESTION, "k": 5}))
        assert {passage["document_id"] for passage in found["passages"]} == {"dog", "star"}
        with pytest.raises(mcp.MCPError):
            await client.read_resource("mrag://document/cake")

    over_http(mcp_url, ACME, ask)


def test_a_keys_limit_holds(mcp_url: str) -> None:
    """Four requests a minute, here as there; the error says so to the model."""

    async def ask(client: McpClient) -> list[Any]:
        return [await client.call_tool("index_status", {}) for _ in range(5)]

    results = over_http(mcp_url, BUSY, ask)
    assert [result.is_error for result in results] == [False] * 4 + [True]
    assert "429" in str(results[-1].content)


def test_what_the_service_refuses_the_model_reads(open_url: str) -> None:
    """With what was expected and what to do; in one process, without a transport."""

    async def ask() -> None:
        server = ours.create_server(lambda _: AsyncClient(open_url, attempts=1))
        async with mcp.Client(server) as client:
            asked = {"query": QUESTION, "strategy": "aspects"}
            refused = await client.call_tool("search", asked)
            assert refused.is_error
            assert "to fix" in str(refused.content)
            unworded = await client.call_tool("answer_sources", {"query": QUESTION})
            assert "no chat model" in str(unworded.content)

    asyncio.run(ask())


async def over_stdio(
    folder: Path, service_url: str, work: Callable[[McpClient], Awaitable[Any]]
) -> None:
    """Starts the command before the service, as an assistant does, and uses it."""
    server = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "mrag_pipeline.cli", "mcp", "--url", service_url],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=folder,
    )
    async with mcp.Client(server) as client:
        await work(client)


def test_the_command_over_stdio(tmp_path: Path, open_url: str) -> None:
    """A process of its own, as an assistant starts it."""
    asyncio.run(over_stdio(tmp_path, open_url, use_everything))


def test_a_service_without_keys_is_not_opened_to_others(open_url: str) -> None:
    """Before anything listens."""
    check_exposure(open_url, "127.0.0.1")
    with pytest.raises(ConfigError, match="without keys"):
        check_exposure(open_url, "0.0.0.0")


def test_a_service_with_keys_may_be(url: str) -> None:
    """It checks every caller itself."""
    check_exposure(url, "0.0.0.0")


async def conform(client: McpClient) -> None:
    """What an inspector tries: who answers, what is offered and in which form, and wrong calls."""
    info = client.server_info
    assert info is not None
    assert (info.name, info.version) == ("mrag", __version__)
    tools = (await client.list_tools()).tools
    for tool in tools:
        assert tool.description
        Draft202012Validator.check_schema(tool.input_schema)
        assert tool.input_schema["type"] == "object"
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is True
    templates = (await client.list_resource_templates()).resource_templates
    assert [template.uri_template for template in templates] == ["mrag://document/{document_id}"]
    wrong: dict[str, Any] = {"query": 7, "k": "many"}
    wrong_calls: list[tuple[str, dict[str, Any]]] = [("search", {}), ("search", wrong)]
    for name, arguments in [*wrong_calls, ("get_document", {}), ("no_such_tool", {})]:
        result = await client.call_tool(name, arguments)
        assert result.is_error, (name, arguments)
    for uri in ("mrag://document/no-such", "mrag://nothing/x", "file:///etc/passwd"):
        with pytest.raises(mcp.MCPError):
            await client.read_resource(uri)
    # It still answers.
    assert not (await client.call_tool("index_status", {})).is_error


def test_an_inspectors_calls_over_http(mcp_url: str) -> None:
    """Over streamable HTTP, with a key."""
    over_http(mcp_url, CURIOUS, conform)


def test_an_inspectors_calls_over_stdio(tmp_path: Path, open_url: str) -> None:
    """Over the command's own pipes."""
    asyncio.run(over_stdio(tmp_path, open_url, conform))
