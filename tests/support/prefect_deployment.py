"""Deploys a Serve file on a Ray of its own, again for each line of JSON that it is told.

python -m tests.support.prefect_deployment serve.yaml mrag.toml PORT URI
{"HeadSearch": {"version": "v0123456789ab"}}      a user_config for each deployment named
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import psutil
import yaml

from mrag_pipeline import library_settings
from mrag_pipeline.config import Config
from mrag_pipeline.runtime import cluster
from mrag_pipeline.serving import listening
from mrag_pipeline.serving.ray import launcher


def deploy(values: dict[str, Any]) -> None:
    """As the dashboard does for `serve deploy`, until all of it runs."""
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    _get_global_client().deploy_apps(ServeDeploySchema.model_validate(values))
    time.sleep(0.5)  # what is deployed again is "running" until the controller has looked at it
    until = time.monotonic() + 300
    while time.monotonic() < until:
        app = serve.status().applications["mrag"]
        if app.status == "RUNNING":
            return
        assert app.status != "DEPLOY_FAILED", app.message
        time.sleep(0.1)
    raise TimeoutError


def main() -> None:
    """Says "ready" after each deploying; ends with its input."""
    library_settings.settle()
    file, config, port, uri = sys.argv[1:]
    with open(file, encoding="utf-8") as text:
        values = yaml.safe_load(text)
    app = values["applications"][0]
    values["http_options"]["port"] = int(port)
    app["args"] = {"config": config, "milvus.uri": uri, "serve": {"port": int(port)}}
    for one in app["deployments"]:
        if "num_replicas" in one:
            one["num_replicas"] = 1
    resolved = Config.load(None, {"serve": {"port": int(port)}})
    with launcher.environment():
        cluster.start_local(num_cpus=4)
        from ray import serve

        try:
            serve.start(http_options=values["http_options"], proxy_location="HeadOnly")
            values["proxy_location"] = "HeadOnly"
            deploy(values)
            assert listening.wait_ready(resolved, lambda: True) == ""
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            for line in sys.stdin:
                for name, user_config in json.loads(line).items():
                    [one] = [one for one in app["deployments"] if one["name"] == name]
                    one["user_config"] = user_config
                deploy(values)
                sys.stdout.write("ready\n")
                sys.stdout.flush()
        finally:
            family = psutil.Process(os.getpid()).children(recursive=True)
            serve.shutdown()
            cluster.disconnect_ray()
            launcher.end(family)


if __name__ == "__main__":
    main()
