"""The expected answers of `soak.py`, and the verdict on an answer.

An answer is wrong if it names a version that was not live during the request, or if its documents
are not those of its version. An embedding in a batch differs in the seventh digit from one computed
alone, so an answer in which only near-equal votes change places is counted separately, as `order`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import callers
from callers import Response
from served import BenchIndex, Questions

from mrag_pipeline import wiring
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.query.retriever import Retriever

K = 10
SAME_SHARE = 0.8  # of documents in common, where near-equal votes changed places


@dataclass(frozen=True)
class Question:
    """One request, and the documents of its answer by version."""

    body: bytes
    documents: dict[str, frozenset[tuple[str, ...]]]  # in the orders that are right


def expected(
    bench: BenchIndex, index: VectorIndex, records: Sequence[VersionRecord], questions: Questions
) -> list[Question]:
    """Every question with its answers from each version, asked alone."""
    config = bench.config()
    encoder = wiring.encoder(config, threads=1)
    segmenter = wiring.segmenter(config, encoder)
    kinds = [("mrag", query) for query in questions.short] + [
        ("aspect", query) for query in questions.long
    ]
    answers: list[dict[str, set[tuple[str, ...]]]] = [{} for _ in kinds]
    for record in records:
        retriever = Retriever(encoder, segmenter, index, record)
        for orders_by_version, (strategy, query) in zip(answers, kinds, strict=True):
            answer = retriever.retrieve(query, K, strategy)
            orders_by_version.setdefault(record.version, set()).add(tuple(answer.documents()))
    return [
        Question(
            callers.search_body(query, strategy, K),
            {version: frozenset(orders) for version, orders in by_version.items()},
        )
        for (strategy, query), by_version in zip(kinds, answers, strict=True)
    ]


def verdict(question: Question, response: Response, allowed: set[str]) -> str:
    """right, order or wrong for an answer; else the cause of its failure."""
    if response.status == 0:
        return response.body.decode()
    if not response.ok:
        try:
            return f"{response.status} {json.loads(response.body)['title']}"
        except (ValueError, LookupError, TypeError):
            return f"{response.status}"
    answer = json.loads(response.body)
    documents = tuple(hit["document_id"] for hit in answer["hits"])
    if answer["version"] not in allowed:
        return "wrong"
    right = question.documents[answer["version"]]
    if documents in right:
        return "right"
    common = max(len({*documents} & {*order}) for order in right)
    return "order" if common >= SAME_SHARE * K else "wrong"
