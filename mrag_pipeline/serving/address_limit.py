"""How many connections one address may hold; a proxy or an Ingress in front is one address."""

from __future__ import annotations

import os

from mrag_pipeline.errors import ConfigError

VARIABLE = "MRAG_CONNECTIONS_PER_ADDRESS"
CONNECTIONS = 1_000  # unless the variable says otherwise


def connections_per_address() -> int | None:
    """The number in the environment, CONNECTIONS if there is none; None for 0, no limit.

    Raises: ConfigError if it is not a whole number from 0.
    """
    given = os.environ.get(VARIABLE) or str(CONNECTIONS)
    if not (given.isascii() and given.isdigit()):
        raise ConfigError(
            f"{VARIABLE} is {given!r}",
            "a whole number, or 0 for no limit",
            f"export {VARIABLE}={CONNECTIONS}",
        )
    return int(given) or None
