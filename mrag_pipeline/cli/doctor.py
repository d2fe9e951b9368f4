"""`mrag doctor`: whether each part this config needs works here, and what to do if not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import typer
from rich.table import Table

from mrag_pipeline.cli.options import Address, AsJson, ConfigFile, Index, Settings, settings_of
from mrag_pipeline.cli.terminal import out, print_json, size
from mrag_pipeline.config import Config
from mrag_pipeline.errors import MragError, PlanRefused

LOW_DISK_BYTES = 1_000_000_000


def doctor(
    address: Address = None,
    config: ConfigFile = None,
    index: Index = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Check Python, model, Milvus, Ray, Prefect and disk; say what to do. Exit code 1 if any fails.

    Example: mrag doctor
    """
    resolved = Config.load(config, settings_of(settings, index, address=address))
    checks: dict[str, Callable[[Config], str]] = {
        "python": _python,
        "disk": _disk,
        "model": _model,
        "milvus": _milvus,
        "ray": _ray,
        "prefect": _prefect,
    }
    results: list[dict[str, Any]] = []
    for name, check in checks.items():
        try:
            results.append({"check": name, "ok": True, "found": check(resolved)})
        except MragError as error:
            results.append({"check": name, "ok": False, "found": str(error)})
        except Exception as error:  # a part may fail in any way; that is what is being asked
            results.append(
                {"check": name, "ok": False, "found": f"{type(error).__name__}: {error}"}
            )
    if json:
        print_json(results)
    else:
        table = Table("check", "", "found")
        for result in results:
            mark = "[green]ok" if result["ok"] else "[red]fails"
            table.add_row(result["check"], mark, result["found"])
        out.print(table)
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


def _python(_config: Config) -> str:
    return f"{sys.version.split()[0]} at {sys.executable}"


def _disk(config: Config) -> str:
    from mrag_pipeline import wiring

    free = wiring.staging(config, "v000000000000").free_bytes()
    if free is not None and free < LOW_DISK_BYTES:
        raise PlanRefused(
            f"{size(free)} free for staging in {config.staging.uri}",
            f"at least {size(LOW_DISK_BYTES)}",
            "free some space or point staging.uri elsewhere",
        )
    home = shutil.disk_usage(".").free
    return f"{size(free)} free for staging, {size(home)} here"


def _model(config: Config) -> str:
    from mrag_pipeline import wiring

    encoder = wiring.encoder(config)
    encoder.encode(["Does the model answer?"], "query")
    card = encoder.card
    return f"{card.spec.model}: {card.family}, {len(card.heads)} heads of {card.head_dim}"


def _milvus(config: Config) -> str:
    from mrag_pipeline import wiring

    with closing(wiring.index(config)) as index:
        return f"{index.describe()}; live version: {index.live() or 'none yet'}"


def _ray(config: Config) -> str:
    from mrag_pipeline.runtime.cluster import describe_ray

    return describe_ray(config.workers.address)


def _prefect(_config: Config) -> str:
    from mrag_pipeline.flows.prefect_server import describe

    return describe()
