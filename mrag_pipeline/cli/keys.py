"""`mrag keys new`: API keys for the query service."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from mrag_pipeline.cli.options import AsJson, ConfigFile, Settings, settings_of
from mrag_pipeline.cli.terminal import print_json
from mrag_pipeline.errors import ConfigError

keys = typer.Typer(help="API keys of the query service.")


@keys.callback()
def _group() -> None:
    pass


@keys.command()
def new(
    name: Annotated[str, typer.Argument(help="Who will call: stands in logs and metrics.")],
    tenant: Annotated[
        str | None, typer.Option(help="Only this tenant's documents; needs serve.tenant_field.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="A time (2027-01-31T00:00:00Z), a date, or days: 90d.")
    ] = None,
    entry: Annotated[
        bool, typer.Option("--entry", help="Only the entry on standard output.")
    ] = False,
    config: ConfigFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Make a key: the secret, shown once and stored nowhere, and the entry for the environment.

    Examples:
        mrag keys new frontend --expires 90d
        mrag keys new acme-portal --tenant acme --json
        export MRAG_API_KEYS="$(mrag keys new me --entry)"
    """
    from mrag_pipeline.config import Config
    from mrag_pipeline.serving.security.keys import new_key

    variable = Config.load(config, settings_of(settings)).serve.keys_env
    secret, key = new_key(name, tenant, _expiry(expires))
    if json:
        print_json({"secret": secret, "entry": key.entry(), "variable": variable})
        return
    # Written as they are: the console would break long lines in two.
    _tell("The secret, for the caller; it is not stored and not shown again:")
    (sys.stderr if entry else sys.stdout).write(f"{secret}\n")
    sys.stdout.flush()
    _tell(f"The entry for the service's {variable}, which separates several by `;` or lines;")
    _tell("it holds only a hash:")
    sys.stdout.write(f"{key.entry()}\n")


def _tell(words: str) -> None:
    """For people, on standard error, in order with what goes to standard output."""
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


def _expiry(text: str | None) -> datetime | None:
    """When a key ends.

    Raises: ConfigError for what is no time, or one that is past.
    """
    if text is None:
        return None
    now = datetime.now(UTC)
    wrong = ConfigError(f"--expires {text}", "a time to come, such as 2027-01-31, or days: 90d")
    try:
        if text.endswith("d"):
            when = now.replace(microsecond=0) + timedelta(days=int(text.removesuffix("d")))
        else:
            when = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise wrong from None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    if when <= now:
        raise wrong
    return when
