"""Which names an index may have."""

from __future__ import annotations

import re

from mrag_pipeline.errors import ConfigError

INDEX_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9]{0,63}(_[a-zA-Z0-9]+){0,7}")


def check_index_name(name: str) -> str:
    """The name, if collections can be named after it.

    Raises: ConfigError.
    """
    if not INDEX_NAME.fullmatch(name) or len(name) > 100:
        raise ConfigError(
            f"index name {name!r}",
            "letters, digits and single underscores, a letter first, at most 100 characters",
            "change `index` in the config file",
        )
    return name
