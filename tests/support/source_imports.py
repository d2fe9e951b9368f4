"""The imports of a Python source, read without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Import:
    """One import of a module: its full name, and where it stands."""

    name: str
    line: int
    typing_only: bool  # under `if TYPE_CHECKING`
    lazy: bool  # inside a function: runs when that is called


def imports_of(source: str, package: str) -> Iterator[Import]:
    """Every import of a source, those inside functions too; relative ones made absolute."""

    def visit(node: ast.AST, typing_only: bool, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, typing_only, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno, typing_only, lazy)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for statement in node.body:
                yield from visit(statement, True, lazy)
            for statement in node.orelse:
                yield from visit(statement, typing_only, lazy)
        elif not isinstance(node, ast.expr):  # no expression holds an import
            lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, typing_only, lazy)

    return visit(ast.parse(source), False, False)
