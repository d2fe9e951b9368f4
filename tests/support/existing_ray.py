"""A Ray of its own that others join: `python -m tests.support.existing_ray`, until its input ends.

Says its address, and then the names of the Serve applications on it for each line it is told.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import psutil
import ray

from mrag_pipeline import library_settings
from mrag_pipeline.runtime import cluster
from mrag_pipeline.serving.ray import launcher


def main() -> None:
    """Holds the Ray, with an application of somebody else's on it."""
    library_settings.settle()
    cluster.start_local(num_cpus=8)
    from ray import serve

    class Another:
        def __call__(self) -> str:
            return "another"

    another: Any = serve.deployment(Another)

    try:
        serve.start(proxy_location="HeadOnly", http_options={"port": int(sys.argv[1])})
        handle = serve.run(another.bind(), name="another", route_prefix="/another")
        _say({"address": ray.get_runtime_context().gcs_address})
        for _ in sys.stdin:
            applications = {name: app.status for name, app in serve.status().applications.items()}
            _say({"applications": applications, "answer": handle.remote().result()})
    finally:
        family = psutil.Process(os.getpid()).children(recursive=True)
        serve.shutdown()
        cluster.disconnect_ray()
        launcher.end(family)


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
