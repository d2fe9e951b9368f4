"""What filling an index costs: `python benchmarks/ingest.py [--environments FOLDER]`.

Short documents, or those of the demo (Python's documentation, a file each), are ingested by the
scripts of benchmarks/peers/: sentence-transformers and pymilvus with one vector, LlamaIndex's
ingestion pipeline into Milvus, and mrag with a collection for each head: as it comes, in one
process without Ray, and with an encoder in int8. All into a Milvus Lite file of their own, in new
processes, in turn.

Each runs by this interpreter, or by those of `compare.py --setup` in FOLDER. Of all processes of a
pipeline: wall seconds, CPU seconds (which other work on the machine changes least) and the peak of
memory. Prints the figures and writes figures/ingest.json: {name: {value, low, high, unit}}; what is
not measured again keeps its figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from compare import PEERS, SCRIPTS
from figure import figure
from torture import corpus
from torture.pipeline import Ended, Pipeline

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.settings.corpus import CorpusSpec
from tests.support.project_folder import a_text

FIGURES = Path(__file__).parent / "figures" / "ingest.json"
DEMO = "demo"
MANY = 10_000
TIMEOUT_S = 3_600.0
NAMES = {
    "plain": "script, one vector",
    "llamaindex": "LlamaIndex, one vector",
    "mrag": "mrag, all heads",
    "mrag-one-process": "mrag, all heads, one process",
    "mrag-int8": "mrag, all heads, one process, int8",
}
ONE_PROCESS = "-s workers.pool=serial"
SETTINGS = {
    "mrag-one-process": ONE_PROCESS,
    "mrag-int8": f"{ONE_PROCESS} -s encoder.dtype=int8",
}


def texts(size: str) -> dict[str, bytes]:
    """So many short documents, or those of the demo, by file name."""
    if size == DEMO:
        reader = open_corpus(CorpusSpec("pydoc:"))
        read = reader.read(tuple(reader.slices(1_000_000)))
        given = [document.text for document in read if isinstance(document, Document)]
    else:
        given = [a_text(number) for number in range(int(size))]
    return {f"d{number}.txt": text.encode() for number, text in enumerate(given)}


def command_of(name: str, environments: Path | None) -> str:
    """How a pipeline is started, by this interpreter or by that of its environment."""
    peer = "mrag" if name in SETTINGS else name
    python = environments.resolve() / peer / "bin/python" if environments else sys.executable
    return f"env 'COMPARE_SETTINGS={SETTINGS.get(name, '')}' {python} {PEERS / SCRIPTS[peer]}"


def ingested(command: str, documents: dict[str, bytes], folder: Path) -> Ended:
    """One ingest of these documents, by a pipeline that has none yet.

    Raises: SystemExit, with what it said, if it fails.
    """
    pipeline = Pipeline(command, folder, corpus.model())
    pipeline.give(documents)
    ended = pipeline.ingest(timeout_s=TIMEOUT_S)
    if ended.code:
        raise SystemExit(
            f"{command} ended by {ended.code}:\n{(folder / 'log').read_text()[-2000:]}"
        )
    return ended


def measured(command: str, documents: dict[str, bytes], rounds: int) -> list[Ended]:
    """So many ingests, each in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
        return [ingested(command, documents, Path(folder) / str(n)) for n in range(rounds)]


def main() -> None:
    """Measures, prints and keeps the figures."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--documents", nargs="+", default=["100", "6000", "50000"], help=f"a number, or {DEMO}"
    )
    parser.add_argument("--rounds", type=int, help="default 3; 1 of 10,000 documents and more")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    options = parser.parse_args()
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for size in options.documents:
        documents = texts(size)
        rounds = options.rounds or (3 if len(documents) < MANY else 1)
        for name in options.only:
            command = command_of(name, options.environments)
            ends = measured(command, documents, rounds)
            corpus_name = "the demo's corpus" if size == DEMO else f"{size} documents"
            title = f"{corpus_name}, {NAMES[name]}"
            figures |= {
                f"{title}, wall": figure([ended.seconds for ended in ends], "s", 1),
                f"{title}, CPU": figure([ended.cpu_s for ended in ends], "s", 1),
                f"{title}, memory": figure([ended.peak_mb for ended in ends], "MB", 0),
            }
            for key in (f"{title}, {what}" for what in ("wall", "CPU", "memory")):
                one = figures[key]
                print(f"{key:52} {one['value']:8} {one['unit']} [{one['low']}, {one['high']}]")
            FIGURES.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
