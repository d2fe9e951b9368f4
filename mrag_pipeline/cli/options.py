"""The options that several commands share, each defined once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mrag_pipeline.config import Config

Corpus = Annotated[
    str | None,
    typer.Argument(
        help="Path or URI of the corpus: a file, a folder, a glob, s3://bucket/prefix, "
        "https://host/file, hf://datasets/user/name, or `pydoc:`."
    ),
]
Version = Annotated[
    str | None,
    typer.Option("--version", help="Name of a version; the live version if not given."),
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait",
        min=0,
        metavar="SECONDS",
        help="How long to wait for another run on this index to end.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="RAY",
        help='Ray cluster to embed on: HOST:PORT, ray://HOST:10001, or "auto" on one of its nodes.',
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; ./mrag.toml if it exists."),
]
Index = Annotated[str | None, typer.Option("--index", "-i", help="Name of the index.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Override one setting of the config file, such as workers.count=4; repeatable.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

_SHARED: Mapping[str, tuple[Any, Any]] = {  # annotation and default, in the order of `--help`
    "config": (ConfigFile, None),
    "index": (Index, None),
    "settings": (Settings, None),
    "json": (AsJson, False),
}


@dataclass(frozen=True, slots=True)
class SharedOptions:
    """What --config, --index, --set and --json say."""

    config_file: Path | None
    settings: Mapping[str, Any]  # nested like the config file, whose values they override
    json: bool

    def override(self, section: str, key: str, value: object) -> SharedOptions:
        """These options with one more setting; unchanged if the value is None (not given)."""
        from mrag_pipeline.config import merged

        if value is None:
            return self
        return replace(self, settings=merged(self.settings, {section: {key: value}}))

    def load(self) -> Config:
        """The resolved config.

        Raises: ConfigError.
        """
        from mrag_pipeline.config import Config

        return Config.load(self.config_file, self.settings)

    def for_flow(self) -> tuple[str | None, dict[str, Any]]:
        """A flow's first two parameters: the config file's absolute path, and the settings."""
        path = str(self.config_file.absolute()) if self.config_file else None
        return path, dict(self.settings)


def shared_options(
    *names: str,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the shared options to a command, whose first parameter then receives them.

    Args:
        names: which of config, index, settings and json; all if none are named.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: Any) -> None:
            given = {name: values.pop(name, None) for name in _SHARED}
            settings = nested_settings(given["settings"], given["index"])
            command(SharedOptions(given["config"], settings, bool(given["json"])), **values)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        shared = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
            for name, (annotation, default) in _SHARED.items()
            if not names or name in names
        ]
        parameters = [*own, *shared]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def nested_settings(assignments: list[str] | None, index: str | None) -> dict[str, Any]:
    """The settings of --set and --index, nested like the config file.

    Raises: ConfigError.
    """
    from mrag_pipeline.config import merged, setting

    settings: dict[str, Any] = {}
    for assignment in assignments or []:
        settings = merged(settings, setting(assignment))
    if index is not None:
        settings["index"] = index
    return settings
