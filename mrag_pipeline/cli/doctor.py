"""`mrag doctor`: checks on this machine every part that the config needs."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import typer
from rich.table import Table

from mrag_pipeline import environment, extras
from mrag_pipeline.cli.options import Address, SharedOptions, shared_options
from mrag_pipeline.cli.terminal import line, out, print_json, size
from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import NO_VERSION
from mrag_pipeline.errors import ConfigError, MragError, PlanRefused
from mrag_pipeline.ports import RerankRequest

LOW_DISK_BYTES = 1_000_000_000


@shared_options()
def doctor(shared: SharedOptions, address: Address = None) -> None:
    """Check this machine: environment, disk, models, Milvus, Ray, Prefect; show how to fix it.

    The exit code is 1 if any check fails.

    Examples:
        mrag doctor
        mrag doctor --address ray://head:10001
    """
    config = shared.override("workers", "address", address).load()
    checks: dict[str, Callable[[Config], str]] = {
        "python": _python,
        "environment": _environment,
        "folders": _folders,
        "disk": _disk,
        "model": _model,
        "milvus": _milvus,
        "ray": _ray,
        "prefect": _prefect,
    }
    if config.rerank.is_configured:
        checks["reranker"] = _reranker
    results: list[dict[str, Any]] = []
    for name, check in checks.items():
        try:
            results.append({"check": name, "ok": True, "found": check(config)})
        except MragError as error:
            results.append({"check": name, "ok": False, "found": str(error)})
        except Exception as error:  # a check reports whatever goes wrong
            results.append(
                {"check": name, "ok": False, "found": f"{type(error).__name__}: {error}"}
            )
    if shared.json:
        print_json(results)
    else:
        table = Table("check", "", "found")
        for result in results:
            mark = line(("green", "ok") if result["ok"] else ("red", "fails"))
            table.add_row(result["check"], mark, result["found"])
        out.print(table)
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


def _python(_config: Config) -> str:
    return f"{sys.version.split()[0]} at {sys.executable}"


def _environment(_config: Config) -> str:
    usual = [f"home {environment.home()}", f"sockets in {environment.sockets_folder()}"]
    return "; ".join([*usual, *environment.remarks()])


def _folders(config: Config) -> str:
    from mrag_pipeline.wiring import at_work

    folders = at_work.local_folders(config)
    allowed = {name: environment.is_writable(folder) for name, folder in folders.items()}
    if not allowed.get("staging", True):
        raise ConfigError(
            f"the staging folder {folders['staging']} cannot be written",
            "a folder that this user can write, for ingest and sync; searching needs none",
            "correct its permissions, or point staging.uri elsewhere",
        )
    return "; ".join(
        f"{name} in {folder}" + ("" if allowed[name] else ": read-only, it can be searched only")
        for name, folder in folders.items()
    )


def _disk(config: Config) -> str:
    from mrag_pipeline import wiring

    free = wiring.staging(config, NO_VERSION).free_bytes()
    if free is not None and free < LOW_DISK_BYTES:
        raise PlanRefused(
            f"{size(free)} are free for staging in {config.staging.uri}",
            f"at least {size(LOW_DISK_BYTES)}",
            "free some space, or set staging.uri to a folder on another disk",
        )
    free_here = shutil.disk_usage(".").free
    return f"free space: {size(free)} for staging, {size(free_here)} in the working folder"


def _model(config: Config) -> str:
    from mrag_pipeline import wiring

    encoder = wiring.encoder(config)
    encoder.encode(["A text to check that the model embeds."], "query")
    card = encoder.card
    return f"{card.spec.model}: {card.family}, {len(card.heads)} heads of {card.head_dim}"


def _reranker(config: Config) -> str:
    from mrag_pipeline.wiring import answering

    request = RerankRequest("how bees make honey", ("Bees make honey.", "A sword of steel."))
    with closing(answering.reranker(config)) as reranker:
        began = time.perf_counter()
        [scores] = reranker.scores([request], config.rerank.timeout_s)
        took_ms = 1000 * (time.perf_counter() - began)
    return (
        f"{reranker.name}: two passages in {took_ms:.0f} ms; an answer scores {scores[0]:.3g}, "
        f"another text {scores[1]:.3g}"
    )


def _milvus(config: Config) -> str:
    from mrag_pipeline import wiring

    with closing(wiring.index(config)) as index:
        return f"{index.describe()}; live version: {index.live() or 'none yet'}"


def _ray(config: Config) -> str:
    if not extras.has("ray"):
        if config.workers.address or config.workers.pool == "ray":
            raise extras.not_installed("ray", "workers.address or workers.pool")
        return "not installed: shards are embedded in the command's process"
    from mrag_pipeline.runtime.cluster import describe_ray

    return describe_ray(config.workers.address)


def _prefect(_config: Config) -> str:
    if not extras.has("prefect"):
        return "not installed: runs report to the terminal alone"
    from mrag_pipeline.flows.prefect_server import describe

    return describe()
