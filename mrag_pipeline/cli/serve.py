"""`mrag serve`: the query service on this machine, from one command to Ctrl-C."""

from __future__ import annotations

import json as json_text
import os
import signal
import sys
import threading
from contextlib import closing
from types import FrameType
from typing import Annotated

import typer

from mrag_pipeline.cli import orphans
from mrag_pipeline.cli.options import AsJson, ConfigFile, Index, Settings, settings_of
from mrag_pipeline.cli.terminal import err, out
from mrag_pipeline.config import Config, merged
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import FingerprintMismatch, NotReady
from mrag_pipeline.stages.versions.lookup import live_record

INTERRUPTED = 130


def serve(
    config: ConfigFile = None,
    host: Annotated[
        str | None, typer.Option(help="Where to listen; another than loopback needs API keys.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="8000 unless set.")] = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Serve the live version over HTTP, with a page to search it, until Ctrl-C.

    It follows the live version: `mrag activate` and `mrag sync` need no restart on a server.
    Milvus Lite has one owner; `milvus-lite server` lets an ingest and the service share it
    (docs/operations.md).

    Examples:
        mrag serve
        mrag serve -c mrag.toml --port 8080
        MRAG_API_KEYS="$(mrag keys new me --entry)" mrag serve --host 0.0.0.0
        mrag serve --json   # one line of JSON when it is ready
    """
    stopping = Stopping()
    over = settings_of(settings, index)
    if host is not None:
        over = merged(over, {"serve": {"host": host}})
    if port is not None:
        over = merged(over, {"serve": {"port": port}})
    resolved = Config.load(config, over)
    record = _checked(resolved)
    try:
        _run(resolved, record, stopping, json)
    except KeyboardInterrupt:
        # All is ended; what Ray still holds of a start that was cut short breaks at exit (seen:
        # a segmentation fault), so nothing of this process is taken apart.
        sys.stderr.write("mrag: interrupted while it started\n")
        sys.stderr.flush()
        os._exit(INTERRUPTED)


def _checked(config: Config) -> VersionRecord:
    """The live version, and that it can be served from here: known before anything is started.

    Raises: ConfigError, IndexBusy, IndexUnavailable, NoLiveVersion, FingerprintMismatch.
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.serving.ray.launcher import check_port
    from mrag_pipeline.serving.ray.replicas import check_replicas
    from mrag_pipeline.serving.security.keys import check_exposure, read_keys

    check_exposure(config.serve, read_keys(config.serve))
    check_replicas(config)
    if not config.workers.address:  # a cluster's Serve may listen already
        check_port(config.serve.host, config.serve.port)
    with closing(wiring.index(config)) as opened:
        record = live_record(opened)
    if not config.workers.address and wiring.weights_hash(config) != record.encoder.weights_hash:
        raise _another_encoder(config, record)
    return record


def _run(config: Config, record: VersionRecord, stopping: Stopping, json: bool) -> None:
    from mrag_pipeline.serving.ray import launcher

    with launcher.environment():
        from mrag_pipeline.runtime import cluster

        shared = bool(config.workers.address)
        orphans.guard()
        others = launcher.family()
        try:
            with launcher.imported():
                if shared:
                    cluster.connect_ray(config.workers.address)
                else:
                    # Of Ray's tokens, not of cores: three parts fit on one core too.
                    cluster.start_local(num_cpus=max(4, os.cpu_count() or 1))
            stopping.listen()  # Ray has put its own handlers in their place
            url = launcher.start(config)
            # A cluster's proxies are where its nodes are, and those may not be reached from here.
            reason = "" if shared else launcher.wait_ready(config, stopping.awaited)
            if "another encoder" in reason:
                raise _another_encoder(config, record)
            if reason:
                raise NotReady(reason, "a live version that is answered from")
            _say_ready(url, config.index, record, json)
            stopping.wait()
        finally:
            processes = [one for one in launcher.family() if one not in others]
            _end(
                lambda: launcher.stop(shared),
                cluster.disconnect_ray,
                lambda: launcher.end(processes),
            )


def _end(*steps: object) -> None:
    """Every step, whatever becomes of the one before it."""
    for step in steps:
        try:
            step()  # type: ignore[operator]
        except (KeyboardInterrupt, Exception) as error:  # what is left is ended by number
            if os.environ.get("MRAG_DEBUG"):
                err.print(f"[dim]while stopping: {error!r}")


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
        highlight=False,
    )
    out.print(f"[bold]{url}[/]   the API: {url}/docs   Ctrl-C ends it")


class Stopping:
    """Ctrl-C and SIGTERM: what is being started is given up, what runs is ended in order."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._running = False
        self.listen()

    def listen(self) -> None:
        """Takes both signals from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def awaited(self) -> bool:
        """Whether nobody has asked to stop yet."""
        return not self._event.is_set()

    def wait(self) -> None:
        """Until one of them comes."""
        self._running = True
        self._event.wait()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        first = not self._event.is_set()
        self._event.set()
        # A second one cuts the ending short: what is left is killed.
        if not (first and self._running):
            raise KeyboardInterrupt


def _another_encoder(config: Config, record: VersionRecord) -> FingerprintMismatch:
    return FingerprintMismatch(
        f"the encoder {config.encoder.model} did not build the live version {record.version}",
        f"{record.encoder.spec.model} with weights {record.encoder.weights_hash[:12]}",
        "set [encoder] to the one that built it, or build a new version with `mrag ingest`",
    )
