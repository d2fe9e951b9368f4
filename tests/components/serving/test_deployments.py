"""Batches, settings that change while it runs, and what the application asks of Serve."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.serving import listening
from mrag_pipeline.serving.app import application, build
from mrag_pipeline.serving.backend import SILENT
from mrag_pipeline.serving.ray import haproxy, launcher
from mrag_pipeline.serving.ray.deployments import Current
from mrag_pipeline.serving.ray.user_config import API, ENCODER, SEARCH, changed, pinned
from mrag_pipeline.settings.serve import ServeSpec


def test_an_app_is_exchanged_between_requests() -> None:
    """A request ends on the app that it began on."""
    told = []

    def an_app(name: str) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(0)
            told.append((name, scope))

        return app

    async def run() -> None:
        current = Current(an_app("old"))
        first = asyncio.create_task(current("a", None, None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        current.app = an_app("new")
        await asyncio.gather(first, current("b", None, None))  # type: ignore[arg-type]

    asyncio.run(run())
    assert told == [("old", "a"), ("new", "b")]


# ------------------------------------------------------------------ user_config
def test_user_config_changes_what_it_names() -> None:
    """What it leaves out, or gives as null, stays as configured."""
    spec = ServeSpec(max_k=50, timeout_s=7.0)
    assert changed(spec, {"max_k": 20, "timeout_s": None}, API) == ServeSpec(
        max_k=20, timeout_s=7.0
    )
    assert changed(spec, None, API) == spec
    assert changed(spec, {"batch_wait_ms": 0}, ENCODER).batch_wait_ms == 0


@pytest.mark.parametrize(
    ("given", "keys", "told"),
    [
        ({"max_kk": 5}, API, "max_k"),
        ({"host": "0.0.0.0"}, API, "host"),
        ({"max_k": 0}, API, "max_k = 0"),
        ({"max_k": "many"}, API, "max_k"),
        ({"max_k": True}, API, "max_k"),
        ({"timeout_s": float("nan")}, API, "timeout_s"),
        ({"max_batch": 1.5}, ENCODER, "max_batch"),
        ({"version": "v1"}, ENCODER, "version"),
    ],
)
def test_a_wrong_user_config_is_refused(given: Any, keys: tuple[str, ...], told: str) -> None:
    """The error names the key."""
    with pytest.raises(ConfigError, match=told):
        changed(ServeSpec(), given, keys)


def test_a_pin_is_a_name_or_nothing() -> None:
    """Null and "" follow the alias."""
    assert pinned({"version": "v0123456789ab"}) == "v0123456789ab"
    assert pinned({"version": None}) is pinned({"version": ""}) is pinned(None) is None
    assert changed(ServeSpec(), {"version": "v0123456789ab"}, SEARCH) == ServeSpec()
    with pytest.raises(ConfigError):
        pinned({"version": 3})


# ------------------------------------------------------------------ the application
def deployments(**serve: Any) -> dict[str, Any]:
    """Each deployment's options, by name."""
    app = build(Config.parse({"milvus": {"uri": "http://127.0.0.1:19530"}, "serve": serve}))
    found = {}
    waiting = [app._bound_deployment]
    while waiting:
        one = waiting.pop()
        found[one.name] = one
        waiting += [a for a in one.init_args if hasattr(a, "init_args")]
        waiting += [a._bound_deployment for a in one.init_args if hasattr(a, "_bound_deployment")]
    return found


def test_three_deployments_by_the_config() -> None:
    """Replicas and limits are [serve]'s; the ingress refuses nothing that they would queue."""
    found = deployments(search_replicas=3, api_replicas=2, max_ongoing=5, max_queued=7)
    assert set(found) == {"QueryApi", "QueryEncoder", "HeadSearch"}
    assert found["HeadSearch"].num_replicas == 3
    assert found["QueryApi"].num_replicas == 2
    assert found["HeadSearch"].max_ongoing_requests == 5
    assert found["HeadSearch"]._deployment_config.max_queued_requests == 7
    assert found["QueryApi"].max_ongoing_requests > 2 * (5 + 7)


def test_every_deployment_gets_the_settings_of_queries() -> None:
    """Those of `[retrieve]`, as each replica will read them from the config that it is given."""
    retrieve = {"strategy": "aspect", "windows": {"span_words": 8}, "voters": {"standard": 0}}
    config = Config.parse({"retrieve": retrieve})
    api = build(config)._bound_deployment
    parts = [part._bound_deployment for part in api.init_args if hasattr(part, "_bound_deployment")]
    assert len(parts) == 2
    for deployment in (api, *parts):
        assert Config.parse(deployment.init_args[0]).retrieve == config.retrieve


def test_the_encoder_grows_where_it_may() -> None:
    """From the least to the most; with GPUs it takes no CPU, else it would wait for both."""
    fixed = deployments(encoder_replicas=2)["QueryEncoder"]
    assert fixed.num_replicas == 2
    grown = deployments(max_encoder_replicas=4, encoder_gpus=0.5)["QueryEncoder"]
    scaling = grown._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 4)
    assert grown.ray_actor_options["num_gpus"] == 0.5
    assert grown.ray_actor_options["num_cpus"] == 0


def test_a_reranker_is_a_deployment_where_one_is_configured() -> None:
    """The API calls it; on GPUs it takes no CPU."""
    assert "Reranker" not in deployments()
    serve = {"reranker_replicas": 2, "reranker_gpus": 0.5}
    app = build(Config.parse({"rerank": {"model": "package:none"}, "serve": serve}))
    assert len(app._bound_deployment.init_args) == 4
    reranker = app._bound_deployment.init_args[3]._bound_deployment
    assert (reranker.name, reranker.num_replicas) == ("Reranker", 2)
    assert reranker.ray_actor_options["num_gpus"] == 0.5
    assert reranker.ray_actor_options["num_cpus"] == 0


def test_one_owner_on_lite() -> None:
    """Only one process may open the database."""
    with pytest.raises(ConfigError, match="only one process"):
        build(Config.parse({"serve": {"search_replicas": 2}}))


def test_the_builder_takes_a_config_and_settings_over_it(tmp_path: Path) -> None:
    """As a command line's strings, dotted, or as a Serve file's sections."""
    file = tmp_path / "mrag.toml"
    file.write_text('index = "tales"\n[serve]\nmax_k = 5\n')
    app = application(
        {
            "config": str(file),
            "serve.max_queued": "9",
            "serve": {"api_replicas": 2},
            "milvus.uri": "http://127.0.0.1:1",
        }
    )
    values = app._bound_deployment.init_args[0]
    assert (values["index"], values["serve"]["max_k"]) == ("tales", 5)
    assert (values["serve"]["max_queued"], values["serve"]["api_replicas"]) == (9, 2)
    assert values["milvus"]["uri"] == "http://127.0.0.1:1"
    with pytest.raises(ConfigError, match=r"serve\.max_k"):
        application({"config": str(file), "serve.max_kk": "9"})


def test_the_serve_file_fits_the_application() -> None:
    """Its deployments are the application's, on loopback; every user_config key is known."""
    import yaml
    from ray.serve.schema import ServeDeploySchema

    file = Path(__file__).parents[3] / "deploy" / "serve.yaml"
    values = yaml.safe_load(file.read_text("utf-8"))
    ServeDeploySchema.model_validate(values)
    [app] = values["applications"]
    assert app["import_path"] == f"{application.__module__}:{application.__name__}"
    assert values["http_options"]["host"] == app["args"]["serve"]["host"] == "127.0.0.1"
    assert {one["name"] for one in app["deployments"]} == set(deployments())
    spec = ServeSpec()
    for one in app["deployments"]:
        keys = {"QueryApi": API, "QueryEncoder": ENCODER, "HeadSearch": SEARCH}[one["name"]]
        assert changed(spec, one["user_config"], keys) == spec  # what [serve] has by default
        assert one["graceful_shutdown_timeout_s"] > spec.timeout_s


# ------------------------------------------------------------------ what stands around it
def test_a_taken_port_is_said_with_who_has_it() -> None:
    """Before Ray is started."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ConfigError, match=f"process {os.getpid()}"):
            listening.check_port("127.0.0.1", port)
    listening.check_port("127.0.0.1", port)


def test_a_host_of_another_machine_is_said() -> None:
    """192.0.2.1 is nobody's."""
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        listening.check_port("192.0.2.1", 8000)


def test_serves_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user has set counts; what was not set is not set afterwards."""
    monkeypatch.setenv("RAY_SERVE_LOG_TO_STDERR", "1")
    monkeypatch.delenv("RAY_SERVE_ENABLE_HA_PROXY", raising=False)
    before = dict(os.environ)
    with launcher.environment() as folder:
        assert os.environ["RAY_SERVE_LOG_TO_STDERR"] == "1"
        assert os.environ["RAY_SERVE_USE_GRPC_BY_DEFAULT"] == "1"
        assert folder.is_dir()
    assert dict(os.environ) == before
    assert not folder.exists()


@pytest.mark.parametrize("body", [haproxy.AWAY, {"status": "not ready", "detail": SILENT}])
def test_a_service_whose_parts_start_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> None:
    """HAProxy knows no replica, or one loads: the limit for a service with a reason begins not."""
    answers = [(503, body), (503, body), (200, {"status": "ready"})]

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.pop(0)
            self.send_response(status)
            self.send_header("content-type", "application/problem+json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(listening, "PATIENCE_S", 0.0)
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = Config.load(None, {"serve": {"port": server.server_port}})
        try:
            assert listening.wait_ready(config, lambda: True) == ""
        finally:
            server.shutdown()
    assert answers == []
