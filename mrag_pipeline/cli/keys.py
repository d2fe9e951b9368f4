"""`mrag keys`: API keys of the query service."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import print_json
from mrag_pipeline.errors import ConfigError

keys = typer.Typer(help="API keys of the query service.")


@keys.callback()
def _group() -> None:
    pass


@keys.command()
@shared_options("config", "settings", "json")
def new(
    shared: SharedOptions,
    name: Annotated[str, typer.Argument(help="Name of the caller, shown in logs and metrics.")],
    tenant: Annotated[
        str | None,
        typer.Option(help="Limit the key to this tenant's documents; needs serve.tenant_field."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            help="When the key expires: a time (2027-01-31T00:00:00Z), a date, or days (90d)."
        ),
    ] = None,
    entry: Annotated[
        bool,
        typer.Option(
            "--entry",
            help="Print only the entry on standard output; the secret goes to standard error.",
        ),
    ] = False,
) -> None:
    """Create a key; print its secret (shown once, not stored) and its environment entry.

    Examples:
        mrag keys new frontend --expires 90d
        mrag keys new acme-portal --tenant acme --json
        export MRAG_API_KEYS="$(mrag keys new me --entry)"
    """
    from mrag_pipeline.serving.security.keys import new_key

    variable = shared.load().serve.keys_env
    secret, key = new_key(name, tenant, _expiry(expires))
    if shared.json:
        print_json({"secret": secret, "entry": key.entry(), "variable": variable})
        return
    # Not by the console, which would wrap long lines.
    _explain("The secret, for the caller; it is not stored and will not be shown again:")
    (sys.stderr if entry else sys.stdout).write(f"{secret}\n")
    sys.stdout.flush()
    _explain(f"The entry for the service's {variable}; separate several with `;` or newlines.")
    _explain("It holds only a hash:")
    sys.stdout.write(f"{key.entry()}\n")


def _explain(text: str) -> None:
    """Writes a line for people to standard error, in order with standard output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _expiry(text: str | None) -> datetime | None:
    """When a key expires; None if never.

    Raises: ConfigError if the text is not a time, or the time is past.
    """
    if text is None:
        return None
    now = datetime.now(UTC)
    error = ConfigError(
        f"--expires {text}", "a future time such as 2027-01-31, or days such as 90d"
    )
    try:
        if text.endswith("d"):
            when = now.replace(microsecond=0) + timedelta(days=int(text.removesuffix("d")))
        else:
            when = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise error from None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    if when <= now:
        raise error
    return when
