"""The pages of the reference, each made from what it describes."""

from __future__ import annotations

from docs.site.reference import cli, configuration, errors, formats, http, metrics, python_api
from docs.site.reference.http import openapi

__all__ = ["openapi", "pages"]


def pages() -> dict[str, str]:
    """Markdown by its place below docs/."""
    return {
        "reference/configuration.md": configuration.page(),
        "reference/cli.md": cli.page(),
        "reference/http.md": http.page(),
        "reference/python.md": python_api.page(),
        "reference/metrics.md": metrics.page(),
        "reference/errors.md": errors.page(),
        "reference/formats.md": formats.page(),
    }
