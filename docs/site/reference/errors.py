"""Errors, exit codes and HTTP problems: one tree, from the classes themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from docs.site.reference.markdown import code, table
from mrag_pipeline import errors
from mrag_pipeline.cli import EPILOG
from mrag_pipeline.errors import MragError, TransientError
from mrag_pipeline.serving.http.problem_table import CLIENT_LEFT, INTERNAL, TABLE, kind_of, type_of

INTRO = """\
# Errors and exit codes

Every error says what was found, what was expected and what to do. Its type says whether trying again can help. On the
command line it ends the command with an exit code; the service sends it as a problem
([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)); the Python client raises it as `ServiceRefused`, or `ServiceBusy` where trying
again may help. `MRAG_DEBUG=1` shows where an error came from.
"""
_CODE = re.compile(r"(\d+) ([^;]+)")


def page() -> str:
    """The page."""
    return "\n".join(
        [
            INTRO,
            "## Exit codes\n",
            table(("code", "errors", "meaning"), _codes()),
            "## Errors\n",
            table(("error", "is a", "exit code", "HTTP", "try again", "meaning"), _errors()),
            "## Problems of the HTTP API\n",
            table(("status", "title", "type", "when"), _problems()),
        ]
    )


def kinds() -> list[type[MragError]]:
    """Every error class, in the order of the source; the roots first."""
    found = (kind for _, kind in inspect.getmembers(errors, inspect.isclass))
    ours = [kind for kind in found if issubclass(kind, MragError)]
    return sorted(ours, key=lambda kind: inspect.getsourcelines(kind)[1])


def _codes() -> Iterator[tuple[str, str, str]]:
    """The codes of `mrag --help`, each with the errors that end so."""
    names: dict[int, list[str]] = {}
    for kind in kinds():
        if kind.exit_code != MragError.exit_code:
            names.setdefault(kind.exit_code, []).append(code(kind.__name__))
    for number, meaning in _CODE.findall(EPILOG.partition(":")[2].replace("\n", " ").rstrip(". ")):
        yield number, ", ".join(names.pop(int(number), ())), meaning
    if names:
        raise ValueError(f"`mrag --help` does not explain the exit codes {sorted(names)}")


def _errors() -> Iterator[tuple[str, ...]]:
    for kind in kinds():
        _, problem = kind_of(kind)
        yield (
            code(kind.__name__),
            code(kind.__bases__[0].__name__),
            str(kind.exit_code),
            "" if problem is INTERNAL else str(problem.status),
            "yes" if issubclass(kind, TransientError) else "no",
            _first_line(kind),
        )


def _problems() -> Iterator[tuple[str, ...]]:
    rows = [(row, type_of(kind)) for kind, row in TABLE.items() if row.status != CLIENT_LEFT]
    for row, name in sorted(
        [*rows, (INTERNAL, kind_of(Exception)[0])], key=lambda one: one[0].status
    ):
        yield str(row.status), row.title, code(name), row.when


def _first_line(kind: type) -> str:
    return inspect.getdoc(kind).splitlines()[0]  # type: ignore[union-attr]
