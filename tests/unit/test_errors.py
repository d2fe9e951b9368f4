"""The errors: their drawn tree, and the hints that they give."""

from __future__ import annotations

import ast
import dataclasses
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from mrag_pipeline import cli, errors
from mrag_pipeline.config import Config
from mrag_pipeline.errors import MragError

PACKAGE = Path(errors.__file__).parent
HOLE = "\0"  # what an f-string fills in
SECTIONS = {
    name: {f.name for f in dataclasses.fields(field.annotation)}
    for name, field in Config.model_fields.items()
    if dataclasses.is_dataclass(field.annotation)
}
_KEY = re.compile(rf"(?<![\w./{HOLE}])({'|'.join(SECTIONS)})\.([a-z_0-9]+)(?![\w{HOLE}(/])")
_SECTION = re.compile(r"(?<!\w)\[([a-z_]+)\]")
_COMMAND = re.compile(r"`mrag ((?:[a-z]+ ?)+)")


def drawn(root: type[MragError]) -> list[str]:
    """The tree of the classes of errors.py, each with the first line of its docstring."""
    lines = [root.__name__]

    def draw(parent: type[MragError], indent: str) -> None:
        # Not the subclasses of other modules: which of them are loaded depends on the other tests.
        children = [c for c in parent.__subclasses__() if c.__module__ == errors.__name__]
        for child in children:
            last = child is children[-1]
            name = f"{indent}{'`' if last else '|'}-- {child.__name__}"
            meaning = (child.__doc__ or "").splitlines()[0].rstrip(".")
            lines.append(f"{name:<38}{meaning}")
            draw(child, indent + ("    " if last else "|   "))

    draw(root, "")
    return lines


def all_errors() -> list[type[MragError]]:
    """Every class of the tree."""
    return [one for one in vars(errors).values() if isinstance(one, type)]


def test_the_drawn_tree_is_the_classes() -> None:
    """Paste what this prints into the docstring of errors.py when it fails."""
    tree = "\n".join(f"    {line}" for line in drawn(MragError))
    assert tree in (errors.__doc__ or ""), tree


@pytest.mark.parametrize("error", all_errors())
def test_an_error_survives_pickling(error: type[MragError]) -> None:
    """Ray and Prefect send errors between processes."""
    sent = pickle.loads(pickle.dumps(error("found", "expected", "fix")))
    assert type(sent) is error
    assert str(sent) == "found\nexpected: expected\nto fix: fix"


def texts_of(node: ast.AST) -> Iterator[str]:
    """Every text in an expression; what an f-string fills in is a HOLE."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(
            str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values
        )
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts_of(child)


def hints_of(source: str) -> Iterator[tuple[int, str]]:
    """The line and each text of every error that the source makes."""
    names = {error.__name__ for error in all_errors()}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
                for text in texts_of(argument):
                    yield node.lineno, text


def wrong_keys(text: str) -> list[str]:
    """The `section.key` and `[section]` of a text that the config does not have."""
    keys = [f"{m[1]}.{m[2]}" for m in _KEY.finditer(text) if m[2] not in SECTIONS[m[1]]]
    return keys + [f"[{m[1]}]" for m in _SECTION.finditer(text) if m[1] not in SECTIONS]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("check `encoder.device` and nvidia-smi", ["encoder.device"]),
        ("set workers.device = 'cpu', or workers.devise", ["workers.devise"]),
        ("lower ingest.min_recall", []),
        ("set [encoder] to the one that built it, not [encodr]", ["[encodr]"]),
        ("mrag ingest s3://corpus/x.jsonl; see deploy/serve.yaml", []),
    ],
)
def test_a_key_that_is_none_is_seen(text: str, wrong: list[str]) -> None:
    """The checker sees what no config has, and nothing else."""
    assert wrong_keys(text) == wrong


def test_every_config_key_in_an_error_exists() -> None:
    """A hint that names a wrong key costs the reader more than none."""
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}: {key}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, text in hints_of(path.read_text("utf-8"))
        for key in wrong_keys(text)
    ]
    assert wrong == []


def commands() -> set[str]:
    """All commands, sub-commands with their group: `keys new`."""
    app = typer.Typer()
    cli.add_commands(app)
    group = typer.main.get_command(app)
    names: set[str] = set()
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        names.add(name)
        names |= {f"{name} {below}" for below in getattr(command, "commands", {})}
    return names


def test_every_command_that_a_text_names_exists() -> None:
    """In backticks, in any text of the package: errors, help, docstrings."""
    known = commands()
    groups = {name.split()[0] for name in known if " " in name}
    wrong = []
    for path in sorted([*PACKAGE.rglob("*.py"), PACKAGE / "template.toml"]):
        for match in _COMMAND.finditer(path.read_text("utf-8")):
            words = match[1].split()
            length = 2 if words[0] in groups and len(words) > 1 else 1
            if " ".join(words[:length]) not in known:
                wrong.append(f"{path.relative_to(PACKAGE)}: mrag {match[1]}")
    assert wrong == []
