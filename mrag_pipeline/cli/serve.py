"""`mrag serve`: runs the query service on this machine until Ctrl-C."""

from __future__ import annotations

import json as json_text
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from types import FrameType
from typing import Annotated

import psutil
import typer

from mrag_pipeline.cli import interrupts, orphans
from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import err, line, out
from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import FingerprintMismatch, NotReady, RayBroken
from mrag_pipeline.stages.versions.lookup import live_record

CHECK_S = 1.0
LOST_END_S = 2.0  # for processes of a Ray that has lost a part, or has not started


@shared_options()
def serve(
    shared: SharedOptions,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; any but loopback needs API keys.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port to listen on; serve.port (8000) if not given."),
    ] = None,
) -> None:
    """Serve the live version over HTTP, with a search page, until Ctrl-C.

    It follows the live version: on a Milvus server, `mrag activate` and `mrag sync` need no
    restart. Only one process can open a Milvus Lite file; `milvus-lite server` lets an ingest
    and the service share it (docs/operations.md).

    Examples:
        mrag serve
        mrag serve -c mrag.toml --port 8080
        MRAG_API_KEYS="$(mrag keys new me --entry)" mrag serve --host 0.0.0.0
        mrag serve --json   # one line of JSON when it is ready
    """
    from mrag_pipeline.serving.one_process import is_enough

    stopping = Stopping()
    config = shared.override("serve", "host", host).override("serve", "port", port).load()
    record = _checked(config)
    try:
        if is_enough(config):
            _run_here(config, record, stopping, shared.json)
        else:
            _run_on_ray(config, record, stopping, shared.json)
    except KeyboardInterrupt:
        sys.stderr.write("mrag: interrupted during startup\n")
        interrupts.leave(interrupts.INTERRUPTED)  # everything is stopped


def _checked(config: Config) -> VersionRecord:
    """The live version's record, once all that can be checked before the start has been.

    Raises: ConfigError, IndexBusy, IndexUnavailable, NoLiveVersion, FingerprintMismatch.
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.serving.listening import check_port
    from mrag_pipeline.serving.ray.replicas import check_replicas
    from mrag_pipeline.serving.security.keys import check_exposure, read_keys
    from mrag_pipeline.wiring import models

    check_exposure(config.serve, read_keys(config.serve))
    check_replicas(config)
    if not config.workers.address:  # on a cluster, Ray Serve may be listening already
        check_port(config.serve.host, config.serve.port)
    with closing(wiring.index(config)) as opened:
        record = live_record(opened)
    if not config.workers.address and models.weights_hash(config) != record.encoder.weights_hash:
        raise _another_encoder(config, record)
    return record


def _run_here(config: Config, record: VersionRecord, stopping: Stopping, json: bool) -> None:
    from mrag_pipeline.serving.listening import local_url, wait_ready
    from mrag_pipeline.serving.one_process import running
    from mrag_pipeline.wiring import at_work

    url = local_url(config.serve.host, config.serve.port)
    with running(config) as serving:
        reason = wait_ready(config, lambda: stopping.is_running() and serving.is_alive())
        _check(serving)
        if reason:
            raise NotReady(reason, "a service that answers from the live version")
        with at_work.announced_service(config, url):  # `mrag search` asks it then
            stopping.expect()
            _say_ready(url, config.index, record, json)
            stopping.wait(lambda: _check(serving))


def _check(serving: threading.Thread) -> None:
    if not serving.is_alive():
        raise NotReady("the service has ended", "a service that answers until it is stopped")


def _run_on_ray(config: Config, record: VersionRecord, stopping: Stopping, json: bool) -> None:
    from mrag_pipeline.serving.listening import wait_ready
    from mrag_pipeline.serving.ray import launcher, log_streams
    from mrag_pipeline.wiring import at_work

    with launcher.environment() as folder, log_streams.copied(folder) as streams:
        from mrag_pipeline.runtime import cluster

        config = streams.configured(config)
        shared = bool(config.workers.address)
        orphans.guard()
        earlier_processes = launcher.family()
        processes: list[psutil.Process] = []
        # A half-started service has no requests to end, and its processes do not end by themselves.
        is_orderly = shared
        try:
            with launcher.imported():
                if shared:
                    cluster.connect_ray(config.workers.address)
                else:
                    # Ray's resource units, not cores: all parts also fit on one core.
                    cluster.start_local(num_cpus=max(5, os.cpu_count() or 1))
            stopping.listen()  # again: Ray has replaced the handlers
            url = launcher.start(config)
            # A cluster's proxies run on its nodes, which may not be reachable from here.
            reason = "" if shared else wait_ready(config, stopping.is_running)
            if "another encoder" in reason:
                raise _another_encoder(config, record)
            if reason:
                raise NotReady(reason, "a service that answers from the live version")
            processes = _started_since(earlier_processes)  # before one of them may be lost
            with at_work.announced_service(config, url):  # `mrag search` asks it then
                is_orderly = True
                stopping.expect()
                _say_ready(url, config.index, record, json)
                streams.show_requests()
                stopping.wait(cluster.check_alive)
        except RayBroken:
            is_orderly = False
            raise
        finally:
            processes = list({*processes, *_started_since(earlier_processes)})
            begun_s = config.serve.timeout_s
            orderly = (lambda: launcher.stop(shared, begun_s),) if is_orderly else ()
            seconds = launcher.END_S if is_orderly else LOST_END_S
            _end(*orderly, cluster.disconnect_ray, lambda: launcher.end(processes, seconds))


def _started_since(earlier: list[psutil.Process]) -> list[psutil.Process]:
    from mrag_pipeline.serving.ray import launcher

    return [process for process in launcher.family() if process not in earlier]


def _end(*steps: object) -> None:
    """Runs every step, even if an earlier one fails."""
    for step in steps:
        try:
            step()  # type: ignore[operator]
        except (KeyboardInterrupt, Exception) as error:  # the last step kills what is left
            if os.environ.get("MRAG_DEBUG"):
                err.print(f"while stopping: {error!r}", style="dim")


def _say_ready(url: str, index: str, record: VersionRecord, json: bool) -> None:
    if json:
        ready = {
            "event": "ready",
            "url": url,
            "index": index,
            "version": record.version,
            "pid": os.getpid(),
        }
        sys.stdout.write(json_text.dumps(ready) + "\n")
        sys.stdout.flush()
        return
    out.print(
        f"Serving {record.version} of {index}: {record.num_documents:,} documents, "
        f"{len(record.encoder.heads)} heads",
    )
    out.print(line(("bold", url), f"   the API: {url}/docs   Ctrl-C stops it"))


class Stopping:
    """Ctrl-C and SIGTERM: interrupt a start; stop a running service in order."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._waiting = False
        self.listen()

    def listen(self) -> None:
        """Handles both signals from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def is_running(self) -> bool:
        """True until a signal arrives."""
        return not self._event.is_set()

    def expect(self) -> None:
        """From now on the first signal is how the service is stopped, and interrupts nothing."""
        self._waiting = True

    def wait(self, check: Callable[[], None]) -> None:
        """Blocks until a signal arrives, or a check, made every second, raises."""
        self.expect()
        while not self._event.wait(CHECK_S):
            check()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        first = not self._event.is_set()
        self._event.set()
        # A second signal interrupts the orderly stop; what is left is killed.
        if not (first and self._waiting):
            raise KeyboardInterrupt


def _another_encoder(config: Config, record: VersionRecord) -> FingerprintMismatch:
    return FingerprintMismatch(
        f"the encoder {config.encoder.model} did not build the live version {record.version}",
        record.encoder.described(),
        "set [encoder] to the one that built it, or build a new version with `mrag ingest`",
    )
