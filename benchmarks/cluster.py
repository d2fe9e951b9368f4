"""How much a second actor and further nodes speed up the embed phase; about 8 minutes.

    python benchmarks/cluster.py            all tables
    python benchmarks/cluster.py --quick    one short round of each, to check that it runs

(With PYTHONPATH=. where the package is not installed.)
1. The embed phase with the real pool, staging and MiniLM, on 1 and 2 actors of one thread, in turn.
   Beside it, 1 and 2 plain processes that compute only MiniLM's matrix products: a core that the
   host shares with other machines is not a whole core, and the products show how much of it we get.
2. The same on 1, 2 and 3 simulated nodes of one CPU each (`ray.cluster_utils`). All nodes share
   this machine's cores, so MiniLM shows how many cores there are. An encoder that waits instead of
   computing, as a CPU waits for its GPU, shows the overhead of pool, staging and driver per node.
3. One node ten times slower than the others, with and without handing its last shards to others.
4. One gzip file read in 64 shards by two workers: each shard from the start of the file, and in the
   order in which the pool hands them out.

The rate of a run is its source bytes per second from the moment when every actor has loaded its
model and finished a shard until the last receipt; a shard begun before that counts in part.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
import torch
from cluster_run import planned, run, write_corpus
from figure import spread

from mrag_pipeline.config import Config
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.dispatch import ItemQueue
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.planning import Shard, cut
from mrag_pipeline.runtime.cluster import start_local
from mrag_pipeline.settings.corpus import CorpusSpec


# ------------------------------------------------------------------ the machine
def products(turn: Barrier, seconds: float, rates: Any) -> None:
    """Computes MiniLM's matrix products on one thread as fast as possible; puts the FLOP/s."""
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
    """GFLOP/s of that many processes together."""
    context = multiprocessing.get_context("spawn")
    turn, rates = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=products, args=(turn, seconds, rates)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    total = float(sum(rates.get() for _ in workers))
    for worker in workers:
        worker.join()
    return total / 1e9


def ratios(values: list[float], base: list[float]) -> list[float]:
    return [value / divisor for value, divisor in zip(values, base, strict=True)]


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
    for name, samples in rows.items():
        ones, twos = samples[1], samples[2]
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
            rates_by_nodes: dict[int, list[float]] = {1: [], 2: [], 3: []}
            for _ in range(rounds):
                for count, rates in rates_by_nodes.items():
                    done = run(config, manifest, count, wait)
                    assert done.nodes == count, "the actors are not spread over the nodes"
                    rates.append(done.rate)
            for count, rates in rates_by_nodes.items():
                up = ratios(rates, rates_by_nodes[1])
                share = [ratio / min(count, of) for ratio in up]
                about = f"{name}, on {min(count, of)} of {cores} cores" if not wait else name
                print(
                    f"{about:30} {count:6} {statistics.median(rates):8.1f}   {spread(up):20} "
                    f"{spread(share)}",
                    flush=True,
                )
        print(f"\n3. one of three nodes ten times slower, {len(manifest.shards)} shards")
        for factor in (0.0, 3.0):
            whole = [
                run(config, manifest, 3, wait_s, 10 * wait_s, factor).seconds for _ in range(rounds)
            ]
            print(f"workers.late_factor = {factor:g}: {spread(whole, '.1f')} s, start included")
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
    queue, readers = ItemQueue(shards), [open_corpus(spec), open_corpus(spec)]
    last: list[Shard | None] = [None, None]
    began, again = time.process_time(), 0
    while len(queue):
        for worker in range(min(2, len(queue))):
            shard = queue.take(last[worker])
            last[worker] = shard
            again += sum(1 for _ in readers[worker].read(shard.slices))
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
    parser.add_argument("--quick", action="store_true", help="one round of a small corpus")
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
