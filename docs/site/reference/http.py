"""The HTTP API: its routes and schemas, from the OpenAPI document that the service serves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast

from docs.site.reference.markdown import code, table
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.unguarded import NoObserver, OpenGuard
from mrag_pipeline.settings.serve import ServeSpec

INTRO = """\
# HTTP API by schema: routes, bodies, answers

A running service serves this as OpenAPI at `/openapi.json` and as a page at `/docs`; the document of the
default settings is [here](openapi.json). [HTTP API by example](../api.md) shows each endpoint with curl. Bounds and defaults
below are those of the default settings.
"""


def page() -> str:
    """The page: routes first, then every schema that they name."""
    document = openapi()
    parts = [INTRO, "## Routes\n"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(_route(method, path, operation))
    parts.append("## Schemas\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(_schema(name, schema))
    return "\n".join(parts)


@cache
def openapi() -> dict[str, Any]:
    """The document of a service with the default settings."""
    # Nothing is asked of the backend: the routes are only described.
    app = create_api(cast(Any, None), ServeSpec(), OpenGuard(), NoObserver())
    return app.openapi()


def _route(method: str, path: str, operation: Mapping[str, Any]) -> str:
    text = [f"### {method.upper()} {path}\n", f"{operation.get('summary', '')}.\n"]
    if description := operation.get("description"):
        text.append(f"{description}\n")
    rows = [
        (code(one["name"]), one["in"], _type(one["schema"]), one.get("description", ""))
        for one in operation.get("parameters", ())
    ]
    if rows:
        text.append(table(("parameter", "in", "type", ""), rows))
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        text.append(f"Body: {_type(content.get('schema', {}))} as `{media}`\n")
        for example in content.get("examples", {}).values():
            text.append(f"```json\n{json.dumps(example['value'], indent=1)}\n```\n")
    answers = [
        (status, response["description"], ", ".join(_answers(response)))
        for status, response in sorted(operation["responses"].items())
    ]
    return "\n".join([*text, table(("status", "", "content"), answers)])


def _answers(response: Mapping[str, Any]) -> Iterator[str]:
    for media, content in response.get("content", {}).items():
        yield f"{_type(content.get('schema', {}))} (`{media}`)"


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = [
        (
            code(field) + (" (required)" if field in needed else ""),
            _type(value),
            "" if value.get("default") is None else code(json.dumps(value["default"])),
            value.get("description", ""),
        )
        for field, value in schema.get("properties", {}).items()
    ]
    text = [f"### {name}\n", f"{schema.get('description', '')}\n"]
    return "\n".join([*text, table(("field", "type", "default", ""), rows) if rows else ""])


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in words, with links to those that it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            kinds = [_type(one) for one in schema[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return " or ".join(code(json.dumps(value)) for value in schema["enum"])
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}{_bounds(schema)}"
    return f"{schema.get('type', 'any value')}{_bounds(schema)}"


_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "{} characters at least",
    "maxLength": "{} characters at most",
    "minItems": "{} entries at least",
    "maxItems": "{} entries at most",
}


def _bounds(schema: Mapping[str, Any]) -> str:
    words = [text.format(schema[name]) for name, text in _BOUNDS.items() if name in schema]
    return f" ({', '.join(words)})" if words else ""
