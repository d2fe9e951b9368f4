"""What the strategies find with an int8 encoder beside a float32 one.

    MRAG_DATASETS=... python benchmarks/int8_retrieval.py      keeps embeddings in .mrag/votes

Documents and questions are embedded twice, by MiniLM in float32 and in int8, and each encoder's
questions are asked of its own vectors, searched exactly; the product's own windows and votes. Means
over questions, and the paired difference with its 95% interval; of stories a fixed sample is asked.
Writes `figures/int8_retrieval.json`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from figure import keep
from recorded_queries import KeptEncoder
from vote_ideas import FOLDER, Found, found_by, mean
from vote_methods import Method
from vote_sets import K, config_of, embedded, labelled_queries, opened, values_of
from vote_tables import SETS
from vote_times import Figures

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.stages.evaluate.rank_measures import rank_measures
from mrag_pipeline.wiring.labelled import data_set_folder

FIGURES = Path(__file__).parent / "figures" / "int8_retrieval.json"
STRATEGIES = ("standard", "hybrid", "aspect", "adaptive")


def found_with(dtype: str, name: str) -> dict[str, Found]:
    """By strategy, what the set's questions find with that encoder on both sides."""
    plain = wiring.encoder(config_of(dtype), 1)
    segmenter = wiring.segmenter(config_of(dtype), plain)
    corpus = opened(name, KeptEncoder(plain, FOLDER / f"{dtype}.npz"), segmenter)
    queries = labelled_queries(name)[0]
    return {
        strategy: found_by(Method(corpus), embedded(queries, plain, segmenter, strategy), {})
        for strategy in STRATEGIES
    }


def figures_of(name: str, exact: dict[str, Found], rounded: dict[str, Found]) -> Figures:
    """The set's measures with both encoders, and their differences."""
    queries = labelled_queries(name)[0]
    is_ranked = SETS[name].startswith("nDCG")
    figures: Figures = {}
    for strategy in STRATEGIES:
        both = [values_of(name, queries, found[strategy]) for found in (exact, rounded)]
        measures = {SETS[name]: both}
        if is_ranked:
            measures["recall@10"] = [
                np.array(rank_measures(queries, found[strategy], K)["recall"])
                for found in (exact, rounded)
            ]
        for measure, (full, less) in measures.items():
            title = f"{name}, {strategy}, {measure}"
            figures[f"{title}, float32"] = mean(full, "mean")
            figures[f"{title}, int8"] = mean(less, "mean")
            figures[f"{title}, int8 - float32"] = mean(less - full, "difference")
    return figures


def main() -> None:
    """Measures, prints a table, and keeps the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", default=",".join(SETS))
    options = parser.parse_args()
    library_settings.settle()
    if data_set_folder() is None:
        # Not a failure: `make bench` goes on to the other benchmarks.
        print("skipped: MRAG_DATASETS is not set: the folder of labelled queries", file=sys.stderr)
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    print("| set | strategy | measure | float32 | int8 | difference |\n|---|---|---|---:|---:|---|")
    for name in options.sets.split(","):
        figures = figures_of(name, found_with("float32", name), found_with("int8", name))
        keep(FIGURES, figures)
        values = list(figures.items())
        for row in range(0, len(values), 3):
            (title, full), (_, less), (_, gap) = values[row : row + 3]
            label = " | ".join(title.split(", ")[:3])
            ends = f"[{gap['low']:+.3f}, {gap['high']:+.3f}]"
            print(
                f"| {label} | {full['value']:.3f} | {less['value']:.3f} |"
                f" {gap['value']:+.3f} {ends} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
