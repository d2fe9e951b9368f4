"""The figures that the paper's authors published, to compare ours with. Theirs, not ours.

Source: the authors' repository, github.com/spcl/MRAG, `paper/results.tar.bz2` (arXiv 2406.05085):
other and far larger embedding models (7 billion parameters), whole documents without titles. The
full tables are read from `paper_results.json` of the data-set folder where it is there; else the
summary below is used: the mean over the ten numbers of aspects at k = n.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FILE = "paper_results.json"

# The authors' names of strategies, and ours.
OURS = {
    "standard-rag": "standard",
    "split-rag": "split",
    "split-rag-strategy-weighted": "split, weighted",
    "mrag": "mrag",
    "mrag-unweighted": "mrag-unweighted",
    "mrag-strategy-decay": "mrag-unweighted",
    "mrag-strategy-distance": "mrag-distance",
    "fusion-rag": "fusion",
    "fusion-mrag": "fusion-mrag",
}


@dataclass(frozen=True, slots=True)
class PaperFigures:
    """What the authors report for one data set and one model."""

    data_set: str
    model: str
    success_ratio: Mapping[str, float]  # by our name of the strategy; mean at k = n
    category_success_ratio: Mapping[str, float]
    by_aspects: Mapping[str, Mapping[int, float]] = field(default_factory=dict)  # at k = n


_SFR = "SFR-Embedding-Mistral (7B)"
_E5 = "E5-mistral-7b-instruct (7B)"

# fmt: off
SUMMARY = (
    PaperFigures(
        "wikipedia-v1", _SFR,
        {"standard": .431, "split": .463, "split, weighted": .462, "mrag": .513,
         "mrag-unweighted": .449, "mrag-distance": .262, "fusion": .578, "fusion-mrag": .605},
        {"standard": .501, "split": .587, "split, weighted": .594, "mrag": .658,
         "mrag-unweighted": .609, "mrag-distance": .434, "fusion": .616, "fusion-mrag": .677},
    ),
    PaperFigures(
        "wikipedia-v1", _E5,
        {"standard": .392, "split": .424, "split, weighted": .419, "mrag": .513,
         "fusion": .361, "fusion-mrag": .325},
        {"standard": .484, "split": .563, "split, weighted": .567, "mrag": .659,
         "fusion": .474, "fusion-mrag": .507},
    ),
    PaperFigures(
        "legal-v1", _SFR,
        {"standard": .409, "split": .421, "split, weighted": .422, "mrag": .427,
         "mrag-unweighted": .398},
        {"standard": .492, "split": .536, "split, weighted": .541, "mrag": .573,
         "mrag-unweighted": .554},
    ),
    PaperFigures(
        "chem-v1", _SFR,
        {"standard": .328, "split": .351, "split, weighted": .351, "mrag": .368,
         "mrag-unweighted": .327},
        {"standard": .422, "split": .486, "split, weighted": .492, "mrag": .529,
         "mrag-unweighted": .486},
    ),
)
# fmt: on


def published(data_set: str, folder: Path | None = None) -> tuple[PaperFigures, ...]:
    """What the authors report for a data set; empty if they report nothing.

    Args:
        folder: where `paper_results.json` may be.
    """
    summary = [figures for figures in SUMMARY if figures.data_set == data_set]
    path = folder / FILE if folder else None
    if path is None or not path.is_file():
        return tuple(summary)
    tables = json.loads(path.read_text("utf-8"))
    return tuple(_with_aspects(figures, tables) for figures in summary)


def _with_aspects(
    figures: PaperFigures,
    tables: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]],
) -> PaperFigures:
    table = tables.get(f"{figures.data_set}/{figures.model.split(' ')[0]}", {})
    by_aspects = {
        OURS[name]: {
            int(num_aspects): by_k["@n"]
            for num_aspects, by_k in measures.get("success_ratio", {}).items()
        }
        for name, measures in table.items()
        if name in OURS
    }
    return PaperFigures(
        figures.data_set,
        figures.model,
        figures.success_ratio,
        figures.category_success_ratio,
        by_aspects,
    )
