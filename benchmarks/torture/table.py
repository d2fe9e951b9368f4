"""The outcomes of the pipelines as one Markdown table, and what each pipeline is."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from torture.points import Row

_VERSIONS = """
import importlib.metadata, sys
for name in sys.argv[1:]:
    try:
        print(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        pass
"""
_NAMED = ("mrag-pipeline", "llama-index-core", "haystack-ai", "txtai", "pymilvus", "milvus-lite")
_NAMED_MODELS = ("sentence-transformers", "transformers", "torch")


def table(rows: Mapping[str, Sequence[Row]]) -> str:
    """A line for each point, a column for each pipeline."""
    columns = {name: {row.point: row.outcome for row in own} for name, own in rows.items()}
    points = dict.fromkeys(point for own in columns.values() for point in own)
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for point in points:
        cells = " | ".join(column.get(point, "-") for column in columns.values())
        lines.append(f"| {point} | {cells} |")
    return "\n".join(lines)


def described(command: str) -> list[Row]:
    """Versions and size of the environment of a Python command, and the length of its script.

    Empty where the command is not an interpreter of a virtual environment and a script.
    """
    interpreter, *rest = map(Path, shlex.split(command))
    environment = interpreter.parent.parent
    if not rest or not (environment / "pyvenv.cfg").exists():
        return []
    asked = [str(interpreter), "-c", _VERSIONS, *_NAMED, *_NAMED_MODELS]
    versions = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    files = (path for path in environment.rglob("*") if path.suffix != ".pyc")
    size_mb = sum(path.stat().st_size for path in files if path.is_file()) / 1e6
    lines = [line for line in rest[0].read_text().splitlines() if line.strip()]
    return [
        Row("versions", ", ".join(versions), {}),
        Row("installed", f"{size_mb:,.0f} MB", {"installed MB": size_mb}),
        Row("lines of its script", str(len(lines)), {"lines": len(lines)}),
    ]
