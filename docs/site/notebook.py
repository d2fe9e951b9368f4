"""A notebook as a page of the site: its cells, what they printed, and their pictures.

python -m docs.site.notebook      # executes docs/*.ipynb anew, each in an empty folder
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = Path(__file__).resolve().parents[1]

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def page(notebook: Path) -> tuple[str, dict[str, bytes]]:
    """The page in Markdown, and its pictures by their path on the site.

    Raises: ValueError for a cell of code that was never executed.
    """
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for number, cell in enumerate(json.loads(notebook.read_text("utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        if cell["execution_count"] is None:
            raise ValueError(f"{notebook.name}: cell {number} was not executed")
        parts.append(_fenced("python", source))
        if printed := "".join(map(_text, cell["outputs"])).strip("\n"):
            parts.append(_fenced("text", printed))
        for output in cell["outputs"]:
            if png := output.get("data", {}).get("image/png"):
                name = f"images/{notebook.stem}-{number}.png"
                pictures[name] = base64.b64decode("".join(png))
                parts.append(f"![{_title(parts)}]({name})")
    parts.append(f"[This page as a notebook]({notebook.name}){{: download}}")
    return "\n\n".join(parts) + "\n", pictures


def _text(output: dict[str, Any]) -> str:
    if output["output_type"] != "stream" or output["name"] != "stdout":
        return ""
    return _ANSI.sub("", "".join(output["text"]))


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _title(parts: list[str]) -> str:
    """What the paragraph before a picture asks: its first sentence, for who cannot see it."""
    prose = next(part for part in reversed(parts) if not part.startswith(("```", "![")))
    sentence = re.split(r"(?<=[.?])\s", prose.rsplit("\n\n", 1)[-1])[0]
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(sentence.split())).replace("]", "")


def executed(notebook: Path, folder: Path) -> Any:
    """The notebook with what its cells print and draw now, executed in that folder.

    `mrag` and the package are those of this interpreter and this copy of the project.

    Raises: nbclient.exceptions.CellExecutionError if a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    cells = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(FOLDER.parent), "PATH": path}
    client = NotebookClient(cells, timeout=900, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    for cell in cells.cells:
        cell.metadata.pop("execution", None)  # when it ran: new each time
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_kept(output)]
    return cells


def _is_kept(output: dict[str, Any]) -> bool:
    """What was printed, and pictures; not bars and logs."""
    printed = output["output_type"] == "stream" and output["name"] == "stdout"
    return printed or "image/png" in output.get("data", {})


def main() -> None:
    """Writes each notebook as it is now."""
    import nbformat

    for notebook in sorted(FOLDER.glob("*.ipynb")):
        with TemporaryDirectory() as folder:
            nbformat.write(executed(notebook, Path(folder)), notebook)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
