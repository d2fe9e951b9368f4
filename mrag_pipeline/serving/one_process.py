"""The service in one process: API, encoder and search on one machine, without Ray.

The same parts as the replicas', the same guard, limits and logs. What stands before replicas,
HAProxy's limits for connections, is `http/patience.py` here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from mrag_pipeline.config import Config
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving.address_limit import connections_per_address
from mrag_pipeline.serving.http.leaving import Leaving
from mrag_pipeline.serving.http.patience import allow_many_connections, limited_protocol
from mrag_pipeline.serving.local_api import LocalApi
from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import check_exposure, read_keys
from mrag_pipeline.serving.telemetry.observer import RequestObserver

STARTS_S = 30.0
_POLL_S = 0.02


def is_enough(config: Config) -> bool:
    """Whether `serve.backend` and the replicas that are configured ask for one process.

    Raises: ConfigError for one process of several replicas, or on a cluster.
    """
    spec = config.serve
    if spec.backend == "ray":
        return False
    needs = {
        "workers.address": config.workers.address,
        "serve.api_replicas": spec.api_replicas > 1,
        "serve.encoder_replicas": spec.encoder_replicas > 1,
        "serve.max_encoder_replicas": spec.max_encoder_replicas > 1,
        "serve.search_replicas": spec.search_replicas > 1,
        "serve.reranker_replicas": spec.reranker_replicas > 1,
        "serve.encoder_gpus": spec.encoder_gpus,
        "serve.reranker_gpus": spec.reranker_gpus,
    }
    wanted = [name for name, asked in needs.items() if asked]
    if wanted and spec.backend == "process":
        raise ConfigError(
            f"serve.backend = 'process' with {', '.join(wanted)}",
            "one replica of each part on this machine",
            "remove those, or set serve.backend = 'ray'",
        )
    return not wanted


@contextmanager
def running(config: Config) -> Iterator[threading.Thread]:
    """The service answers within the block, and `serve.drain_s` longer, when it says it is leaving.

    Then it takes no more requests, and ends when those under way have been answered.

    Yields: the thread that serves, which lives as long as the service.
    Raises: as LocalApi; ConfigError for keys that cannot be read, a host that requires keys,
        or a limit of connections that is no number.
    """
    spec = config.serve
    keys = read_keys(spec)
    check_exposure(spec, keys)
    guard = KeyGuard(spec, keys)
    observer = RequestObserver(spec, door=guard.for_operators() if keys else None)
    connections = connections_per_address()
    allow_many_connections()
    api = LocalApi(config, guard, observer, spec.encoder_threads)
    api.warm_up()
    app = Leaving(api.app)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=spec.host,
            port=spec.port,
            http=limited_protocol(connections=connections),
            ws="none",
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=round(spec.timeout_s) + 1,
        )
    )
    serving = threading.Thread(target=_serve, args=(server, api), name="serve", daemon=True)
    serving.start()
    try:
        while not server.started and serving.is_alive():
            serving.join(_POLL_S)
        yield serving
        app.leave()
        serving.join(spec.drain_s)
    finally:
        server.should_exit = True
        serving.join(spec.timeout_s + STARTS_S)


def _serve(server: uvicorn.Server, api: LocalApi) -> None:
    async def until_told() -> None:
        try:
            await server.serve()
        finally:
            await api.close()

    asyncio.run(until_told())
