"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; ./mrag.toml is read if it is there."),
]
Index = Annotated[str | None, typer.Option("--index", "-i", help="Name of the index.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Overrides one setting of the file."),
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait", min=0, metavar="SECONDS", help="Wait so long for another run on the index to end."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="RAY",
        help='A Ray cluster to embed on: HOST:PORT or "auto" on its nodes, ray://HOST:10001.',
    ),
]
Corpus = Annotated[
    str | None,
    typer.Argument(help="Path or URI: a file, a folder, a glob, s3://..., or pydoc: ."),
]
Version = Annotated[
    str | None, typer.Option("--version", help="A version's name; the live one if not given.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for machines.")]


def settings_of(
    settings: list[str] | None,
    index: str | None = None,
    corpus: str | None = None,
    address: str | None = None,
) -> dict[str, Any]:
    """What a command line says, nested like the config file.

    Raises: ConfigError.
    """
    from mrag_pipeline.config import merged, setting

    values: dict[str, Any] = {}
    for assignment in settings or []:
        values = merged(values, setting(assignment))
    if index is not None:
        values["index"] = index
    if corpus is not None:
        values = merged(values, {"corpus": {"uri": corpus}})
    if address is not None:
        values = merged(values, {"workers": {"address": address}})
    return values
