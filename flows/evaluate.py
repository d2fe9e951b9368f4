"""Turns labelled queries into success ratios: read them, build the index, search, report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config, merged
from mrag_pipeline.domain.evaluation import DEFAULT_KS, RIVALS, Evaluation
from mrag_pipeline.domain.labelled_queries import LabelledSet
from mrag_pipeline.flows import artifacts
from mrag_pipeline.flows.artifacts import flow_progress
from mrag_pipeline.flows.engine import flow, task
from mrag_pipeline.flows.ingest import ingest
from mrag_pipeline.flows.phase_times import PhaseTimes
from mrag_pipeline.flows.progress import current
from mrag_pipeline.report.folder import write_report
from mrag_pipeline.report.markdown import page
from mrag_pipeline.report.paper import PaperFigures, published
from mrag_pipeline.report.plots import can_draw
from mrag_pipeline.stages.evaluate.evaluate import evaluate as evaluate_stage
from mrag_pipeline.stages.evaluate.evaluate import strategies_for
from mrag_pipeline.stages.evaluate.finder import SharingFinder
from mrag_pipeline.stages.evaluate.rerank_meter import RerankMeter
from mrag_pipeline.stages.evaluate.self_questions import self_questions
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.wiring import answering
from mrag_pipeline.wiring.labelled import (
    data_set_folder,
    labelled_data_set,
    labelled_queries,
    write_labelled_queries,
)

BASELINES = (*RIVALS, "standard-windows", "hybrid-adaptive")  # of the paired differences


@dataclass(frozen=True, slots=True)
class Labels:
    """Labelled queries, and the corpus that they belong to if it comes with them."""

    labelled: LabelledSet
    # The `[corpus]` settings of its documents; None: what the live version holds.
    corpus: Mapping[str, object] | None
    paper: tuple[PaperFigures, ...] = ()


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """What was measured, and the files of the report."""

    evaluation: Evaluation
    paper: tuple[PaperFigures, ...]
    files: tuple[Path, ...]


@task
def label(data_set: str | None, queries_file: str | None, qrels_file: str | None) -> Labels:
    """Reads the labelled queries; writes a data set's documents beside its downloads."""
    if data_set is None:
        qrels = Path(qrels_file) if qrels_file else None
        return Labels(labelled_queries(Path(queries_file or ""), qrels), None)
    labelled, corpus = labelled_data_set(data_set)
    return Labels(labelled, corpus, published(labelled.name, data_set_folder()))


@task
def make_questions(config: Config, num_questions: int, seed: int, export: Path | None) -> Labels:
    """Makes questions from the live version's own documents; writes them if a file is named."""
    with closing(wiring.index(config)) as index:
        record = live_record(index)
        labelled = self_questions(index, record, num_questions, seed, flow_progress(config.index))
    if export is not None:
        write_labelled_queries(labelled, export)
    return Labels(replace(labelled, name=f"self-{config.index}"), None)


@task
def measure(
    config: Config, labels: Labels, strategies: Sequence[str], ks: Sequence[str]
) -> Evaluation:
    """Measures what each strategy finds in the live version."""
    progress = flow_progress(config.index)
    if not can_draw():
        progress.note("no plots: matplotlib is not installed (pip install 'mrag-pipeline[eval]')")
    encoder = wiring.encoder(config)
    segmenter = wiring.segmenter(config, encoder)
    with ExitStack() as opened:
        meter = None
        if config.rerank.is_configured:
            meter = RerankMeter(opened.enter_context(closing(answering.reranker(config))))
        index = opened.enter_context(closing(wiring.index(config)))
        record = live_record(index)
        return evaluate_stage(
            lambda: SharingFinder(
                encoder, segmenter, index, record, config.retrieve, meter, config.rerank
            ),
            labels.labelled,
            strategies,
            ks,
            BASELINES,
            record,
            index,
            progress,
            meter,
        )


@task
def report(
    evaluation: Evaluation, paper: Sequence[PaperFigures], command: str, out: Path
) -> tuple[Path, ...]:
    """Writes the evaluation into the folder, and its page to the Prefect UI."""
    text = page(evaluation, paper, command, plots=())
    artifacts.evaluation(evaluation.subject.index, text)
    return tuple(write_report(evaluation, paper, command, out))


@flow(name="mrag-evaluate")
def evaluate(
    data_set: str | None = None,
    queries_file: str | None = None,
    config_file: str | None = None,
    settings: dict[str, Any] | None = None,
    strategies: list[str] | None = None,
    ks: list[str] | None = None,
    out: str | None = None,
    live_only: bool = False,
    command: str = "",
    qrels_file: str | None = None,
    num_questions: int = 0,
    seed: int = 0,
    export: str | None = None,
) -> EvaluateResult:
    """Measures how much of each labelled query every strategy finds.

    Args:
        data_set: the name of one of the paper's, or a folder in the same form. Its index, named
            after it, is built first unless it is live and complete.
        queries_file: your own labelled queries for the live version, instead of a data set.
        qrels_file: their TREC judgements, if the queries are TREC topics.
        config_file, settings: as for `mrag-ingest`; `settings["index"]` names another index.
        strategies: names; all that apply to the queries if None.
        ks: documents fetched: "n" (as many as the query has aspects) or numbers.
        out: the report's folder; `.mrag/evaluate/NAME` if None.
        live_only: evaluates the live version; builds nothing.
        command: the command that the report names as its origin.
        num_questions: about so many questions are made from the live version's own documents,
            instead of a data set or file; 0: none.
        seed: chooses the documents that they are made from.
        export: a file to write them to, as labelled queries.
    """
    clock = PhaseTimes()
    if num_questions:
        config = Config.load(Path(config_file) if config_file else None, settings)
        export_file = Path(export) if export else None
        labels = clock.time(
            "questions", lambda: make_questions(config, num_questions, seed, export_file)
        )
    else:
        labels = label(data_set, queries_file, qrels_file)
    # A wrong name fails before anything is built.
    chosen = strategies_for(labels.labelled, strategies or ())
    settings = _settings(labels, settings or {})
    config = Config.load(Path(config_file) if config_file else None, settings)
    if labels.corpus is not None and not live_only and _may_build(config):
        clock.time("ingest", lambda: ingest(config_file, settings))
    evaluation = measure(config, labels, chosen, ks or DEFAULT_KS)
    evaluation = replace(evaluation, seconds={**clock.seconds, **evaluation.seconds})
    folder = Path(out) if out else Path(".mrag/evaluate") / labels.labelled.name
    files = report(evaluation, labels.paper, command, folder)
    return EvaluateResult(evaluation, labels.paper, files)


def _settings(labels: Labels, settings: dict[str, Any]) -> dict[str, Any]:
    """The user's settings, on top of those that name the data set's corpus and index."""
    if labels.corpus is None:
        return settings
    words = re.findall(r"[a-zA-Z0-9]+", labels.labelled.name)
    index = "_".join(words if words and words[0][0].isalpha() else ["set", *words])
    return merged({"index": index}, merged(settings, {"corpus": dict(labels.corpus)}))


def _may_build(config: Config) -> bool:
    """Whether the index is this corpus's: a live version of another corpus is never replaced."""
    with closing(wiring.index(config)) as index:
        live = index.live()
        record = index.record(live) if live else None
    if record is None or record.corpus == config.corpus.uri:
        return True
    current().note(
        f"index {config.index} was built from {record.corpus}: its live version is evaluated as "
        "it is; choose another --index to build one from this data set"
    )
    return False
