"""`mrag mcp`: the index for assistants that speak the Model Context Protocol."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.client import AsyncClient, Client, ServiceRefused
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving.security.keys import is_loopback


@shared_options("config", "index", "settings")
def mcp(
    shared: SharedOptions,
    url: Annotated[
        str | None,
        typer.Option(help="Of a running service; without it the index is opened here."),
    ] = None,
    http: Annotated[
        bool, typer.Option("--http", help="Listen for streamable HTTP at /mcp instead of stdio.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen on, with --http.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port to listen on, with --http.")
    ] = 8001,
) -> None:
    """Offer search, answers and documents to assistants, over stdio or streamable HTTP.

    Over stdio the key of a service is MRAG_API_KEY. Over HTTP every caller sends a key of its
    own, as to the service: keys, tenants and limits are the service's.

    Examples:
        mrag mcp -c mrag.toml
        mrag mcp --url http://127.0.0.1:8000
        mrag mcp --url http://127.0.0.1:8000 --http --port 8001
    """
    try:
        from mrag_pipeline.integrations.mcp import create_server
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`mrag mcp` without {error.name}",
            "the packages of the extra `mcp`",
            "pip install 'mrag-pipeline[library,mcp]'",
        ) from None

    if http:
        if url is None:
            raise ConfigError(
                "--http without --url",
                "the URL of a running service, which knows keys, tenants and limits",
                "start `mrag serve`, and give --url http://127.0.0.1:8000",
            )
        check_exposure(url, host)
        # Never this process's own key: every caller has to send one.
        server = create_server(lambda key: AsyncClient(url, api_key=key))
        server.run("streamable-http", host=host, port=port, stateless_http=True)
    elif url is not None:
        create_server(lambda _: AsyncClient(url)).run()
    else:
        asyncio.run(_run_here(shared))


async def _run_here(shared: SharedOptions) -> None:
    import httpx

    from mrag_pipeline.integrations.mcp import create_server
    from mrag_pipeline.serving.local_api import LocalApi

    api = LocalApi(shared.load())
    try:
        transport = httpx.ASGITransport(api.app)
        server = create_server(lambda _: AsyncClient(api_key="", attempts=1, transport=transport))
        await server.run_stdio_async()
    finally:
        await api.close()


def check_exposure(url: str, host: str) -> None:
    """Refuses to open a service without keys to other machines.

    Raises: ConfigError; ServiceUnreachable.
    """
    if is_loopback(host):
        return
    try:
        with Client(url, api_key="") as service:
            service.index()
    except ServiceRefused as refused:
        if refused.status == 401:
            return
        raise
    raise ConfigError(
        f"--host {host} before a service without keys",
        "a service with API keys: others could read every document",
        "create keys with `mrag keys new`, or listen on 127.0.0.1",
    )
