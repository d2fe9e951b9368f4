"""The Python API: what is imported from the package and the client, from their docstrings."""

from __future__ import annotations

from mrag_pipeline import client

INTRO = """\
# Python API

`from mrag_pipeline import Index, Encoder` works in this process; `mrag_pipeline.client` asks a service over HTTP and loads no
model and no database. [Use it in Python](../python.md) and [call the service](../client.md) show both at work. What is not on
this page is not for others to import.
"""


def page() -> str:
    """The page: directives that mkdocstrings replaces by the docstrings."""
    parts = [INTRO, "## In this process\n"]
    parts += [_entry("mrag_pipeline.library.index.Index")]
    parts += [_entry("mrag_pipeline.library.encoder.Encoder")]
    parts += [_entry("mrag_pipeline.library.found.Found")]
    parts += ["## Client of a service\n"]
    parts += [_entry(f"mrag_pipeline.client.{name}") for name in client.__all__]
    return "\n".join(parts)


def _entry(name: str) -> str:
    return f"::: {name}\n"
