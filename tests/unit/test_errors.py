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
from mrag_pipeline.client.problems import (
    AnswerUnreadable,
    ServiceBusy,
    ServiceProblem,
    ServiceRefused,
    ServiceUnreachable,
)
from mrag_pipeline.config import Config
from mrag_pipeline.errors import MragError, Overloaded, TooManyRequests
from mrag_pipeline.filesystems.failures import StoreError
from mrag_pipeline.serving.http.problem_table import (
    ClientLeft,
    NotJson,
    TooLarge,
    WrongMediaType,
)

PACKAGE = Path(errors.__file__).parent
HOLE = "\0"  # stands for a placeholder of an f-string
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
    return [value for value in vars(errors).values() if isinstance(value, type)]


def test_the_drawn_tree_is_the_classes() -> None:
    """Paste what this prints into the docstring of errors.py when it fails."""
    tree = "\n".join(f"    {line}" for line in drawn(MragError))
    assert tree in (errors.__doc__ or ""), tree


FACTS = ("found", "expected", "fix")
RAISED: list[Exception] = [
    *(error(*FACTS) for error in all_errors()),
    Overloaded(*FACTS, retry_after_s=7.5),
    TooManyRequests(*FACTS, retry_after_s=7.5),
    *(error(*FACTS) for error in (NotJson, TooLarge, WrongMediaType, ClientLeft)),
    *(
        error(503, "Busy", "found", "expected", "fix", "request-1", 7.5)
        for error in (ServiceProblem, ServiceRefused, ServiceBusy)
    ),
    *(error(*FACTS) for error in (ServiceUnreachable, AnswerUnreadable)),
    StoreError("SlowDown", "Reduce your rate"),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: Exception) -> None:
    """Ray and Prefect send errors between processes: the type, the text and every attribute."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_an_error_says_what_was_found_expected_and_how_to_fix_it() -> None:
    """One line for each fact; a fact that is empty has none."""
    assert str(MragError(*FACTS)) == "found\nexpected: expected\nto fix: fix"
    assert str(MragError("found")) == "found"


def test_every_error_class_with_a_constructor_of_its_own_is_pickled_above() -> None:
    """Those without one inherit a constructor that is."""
    bases: dict[str, set[str]] = {}
    with_constructor: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {base.id for base in node.bases if isinstance(base, ast.Name)}
                if any(getattr(member, "name", "") == "__init__" for member in node.body):
                    with_constructor.add(node.name)
    known = {"MragError", "Exception", "OSError", "RuntimeError", "ValueError"}
    while derived := {name for name, parents in bases.items() if parents & known} - known:
        known |= derived
    assert known & with_constructor - {type(error).__name__ for error in RAISED} == set()


def texts_of(node: ast.AST) -> Iterator[str]:
    """Every text in an expression, with HOLE for each placeholder of an f-string."""
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
def test_a_key_that_does_not_exist_is_noticed(text: str, wrong: list[str]) -> None:
    """The checker reports keys and sections that no config has, and no others."""
    assert wrong_keys(text) == wrong


def test_every_config_key_in_an_error_exists() -> None:
    """A hint that names a wrong key is worse than no hint."""
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
