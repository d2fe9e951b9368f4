"""`mrag evaluate`: measures success ratios on labelled queries, strategies side by side."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrag_pipeline.cli.evaluation_tables import show
from mrag_pipeline.cli.flow_runs import run_flow
from mrag_pipeline.cli.options import SharedOptions, shared_options
from mrag_pipeline.cli.terminal import out, print_json
from mrag_pipeline.domain.evaluation import AT_N, DEFAULT_KS
from mrag_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from mrag_pipeline.flows.evaluate import EvaluateResult

MAX_K = 1_000
DEFAULT_QUESTIONS = 120
MAX_QUESTIONS = 10_000


@shared_options()
def evaluate(
    shared: SharedOptions,
    data_set: Annotated[
        str | None,
        typer.Argument(
            help="wikipedia-v1, wikipedia-v2, legal-v1, legal-v2, chem-v1, chem-v2, or a folder: "
            "BEIR's (corpus.jsonl, queries.jsonl, qrels), or documents and queries in the paper's "
            "form."
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            "-q",
            help="Your own labelled queries for the live version: JSONL, or TREC topics.",
        ),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option("--qrels", help="TREC or BEIR judgements of --queries, if those are topics."),
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option(
            "--strategies", help="Comma-separated strategies; all that apply if not given."
        ),
    ] = None,
    k: Annotated[
        str,
        typer.Option(
            "--k",
            help="Comma-separated numbers of documents to fetch; n: one per aspect of the query.",
        ),
    ] = ",".join(DEFAULT_KS),
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the report; .mrag/evaluate/NAME if not given."
        ),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Evaluate the live version as it is; build nothing.")
    ] = False,
    of_self: Annotated[
        bool,
        typer.Option("--self", help="Ask the live version questions made from its own documents."),
    ] = False,
    questions: Annotated[
        int,
        typer.Option(
            "--questions", min=1, max=MAX_QUESTIONS, help="With --self: how many are made."
        ),
    ] = DEFAULT_QUESTIONS,
    seed: Annotated[
        int, typer.Option("--seed", help="With --self: which documents they are made from.")
    ] = 0,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", help="With --self: write the questions here, for --queries (JSONL)."
        ),
    ] = None,
) -> None:
    """Measure what every strategy finds of labelled queries, beside ordinary RAG and BM25.

    With a reranker ([rerank]), what it buys and costs each strategy is measured too.

    A data set's index, named after it, is built first; a second run reuses it. Data sets are
    downloaded once, or read from the folder in MRAG_DATASETS. Each line of your own queries is
    {"text": "...", "relevant": ["id", ["one id", "or another"]], "sub_queries": ["..."]};
    sub_queries is optional.

    --self needs no queries: it makes short, sentence-like and long questions of 1 to 10 aspects
    from a sample of the live version's documents, without a language model. Look at them and
    correct them with --export; a name in "kind" groups them in the report.

    Examples:
        mrag evaluate wikipedia-v1
        mrag evaluate legal-v1 --strategies standard,mrag,aspect --k n,10 --out legal
        mrag evaluate wikipedia-v1 -s chunking.max_tokens=64 -i wikipedia_64
        mrag evaluate beir/scifact --k 10,100
        mrag evaluate --queries mine.jsonl --index docs
        mrag evaluate --queries topics.txt --qrels qrels.txt --index docs
        mrag evaluate --self --index docs
        mrag evaluate --self --questions 300 --export questions.jsonl
    """
    check_subject(data_set, queries, of_self, export)
    if qrels is not None and queries is None:
        raise ConfigError("--qrels without --queries", "the topics that it judges", "add --queries")
    ks = ks_of(k)
    shared.load()  # a wrong config fails before a server is started
    config_file, settings = shared.for_flow()

    def prepare() -> Callable[[], EvaluateResult]:
        from mrag_pipeline.flows.evaluate import evaluate as evaluate_flow

        return partial(
            evaluate_flow,
            data_set=data_set,
            queries_file=str(queries) if queries else None,
            qrels_file=str(qrels) if qrels else None,
            config_file=config_file,
            settings=settings,
            strategies=names_of(strategies),
            ks=list(ks),
            out=str(folder) if folder else None,
            live_only=live,
            command=shlex.join(["mrag", *sys.argv[1:]]),
            num_questions=questions if of_self else 0,
            seed=seed,
            export=str(export) if export else None,
        )

    result = run_flow(prepare, shared.json)
    if shared.json:
        print_json(result.evaluation.to_dict() | {"files": [str(path) for path in result.files]})
        return
    show(result.evaluation, result.paper)
    out.print(f"written: {', '.join(map(str, result.files))}", soft_wrap=True)


def check_subject(
    data_set: str | None, queries: Path | None, of_self: bool, export: Path | None
) -> None:
    """Refuses anything but one of a data set, --queries and --self.

    Raises: ConfigError.
    """
    given = {"a data set": data_set is not None, "--queries": queries is not None}
    given["--self"] = of_self
    named = [name for name, is_given in given.items() if is_given]
    if len(named) != 1:
        raise ConfigError(
            " and ".join(named) or "neither a data set nor --queries nor --self",
            "one of the three",
            "`mrag evaluate wikipedia-v1`, `mrag evaluate --queries FILE --index NAME` or "
            "`mrag evaluate --self`",
        )
    if export is not None and not of_self:
        raise ConfigError("--export without --self", "questions to write", "add --self")


def ks_of(text: str) -> tuple[str, ...]:
    """The numbers of documents in a text such as `n,10`.

    Raises: ConfigError.
    """
    ks = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for k in ks:
        if k != AT_N and not (k.isascii() and k.isdigit() and 0 < int(k) <= MAX_K):
            raise ConfigError(f"--k {text!r}", f"n, or numbers from 1 to {MAX_K}, such as n,10,20")
    return ks


def names_of(text: str | None) -> list[str] | None:
    """`standard, aspect` as a list; None stays None."""
    if text is None:
        return None
    return list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
