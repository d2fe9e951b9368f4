"""The command line: every command's help, arguments and options, from the commands themselves."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from typing import Any

import typer

from docs.site.reference.markdown import code, plain, table
from mrag_pipeline.cli import EPILOG, add_commands, app

INTRO = """\
# Command line: every command of mrag

```console
$ mrag --help
$ mrag search --help
```

`--json` prints JSON for machines; results go to standard output, progress and warnings to standard error. This page is
made from the commands themselves; [errors and exit codes](errors.md) explains the codes.
"""
# Rich's markup is escaped in help texts (cli/command_group.py).
_ESCAPED = re.compile(r"\\(?=\[)")
_EXAMPLES = re.compile(r"^Examples?:\s*(.*)\Z", re.MULTILINE | re.DOTALL)


def page() -> str:
    """The page, a section for each command."""
    parts = [INTRO, " ".join(EPILOG.split()) + "\n"]
    for name, command in sorted(commands()):
        parts += [f"## mrag {name}\n", _text(command.help), _usage(name, command)]
        rows = [_row(parameter) for parameter in command.params if not parameter.hidden]
        if rows:
            parts.append(table(("", "type", "default", ""), rows))
    return "\n".join(parts)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its name, those of groups with their group's."""
    if not app.registered_commands:
        add_commands(app)
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        if below is None:
            yield name, command
        else:
            yield from ((f"{name} {one}", inner) for one, inner in below.items())


def _text(help_text: str) -> str:
    """A help text with its examples as a block."""
    text = _ESCAPED.sub("", help_text or "")
    examples = _EXAMPLES.search(text)
    if examples is None:
        return text + "\n"
    lines = [line.strip() for line in examples[1].splitlines() if line.strip()]
    shown = "\n".join(f"$ {line}" for line in lines)
    return f"{text[: examples.start()].strip()}\n\n```console\n{shown}\n```\n"


def _usage(name: str, command: Any) -> str:
    words = [
        parameter.metavar or (parameter.name or "").upper()
        if parameter.required
        else f"[{parameter.metavar or (parameter.name or '').upper()}]"
        for parameter in command.params
        if parameter.param_type_name == "argument"
    ]
    return f"Usage: `{' '.join(['mrag', name, '[OPTIONS]', *words])}`\n"


def _row(parameter: Any) -> tuple[str, str, str, str]:
    is_argument = parameter.param_type_name == "argument"
    names = [parameter.metavar or (parameter.name or "").upper()] if is_argument else parameter.opts
    names = [*names, *getattr(parameter, "secondary_opts", ())]
    is_flag = getattr(parameter, "is_flag", False)
    kind = "" if is_flag or is_argument else parameter.metavar or _type(parameter)
    default = parameter.default
    shown = "" if callable(default) or default in (None, False, "", ()) else code(str(default))
    text = _ESCAPED.sub("", getattr(parameter, "help", "") or "")
    return ", ".join(map(code, names)), code(kind), shown, plain(text)


def _type(option: Any) -> str:
    """The type of an option that does not name its value: `int`, `path`."""
    annotation = option.type_descriptor.annotation
    inner = typing.get_args(annotation)
    return str((inner[0] if inner else annotation).__name__).lower()
