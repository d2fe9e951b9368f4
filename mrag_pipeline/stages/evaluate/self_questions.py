"""A version's own questions: made from a sample of its documents."""

from __future__ import annotations

from mrag_pipeline.domain.labelled_queries import LabelledSet
from mrag_pipeline.domain.made_questions import made_questions
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import EmptyCorpus
from mrag_pipeline.ports import Progress, ReadableVersion
from mrag_pipeline.stages.evaluate.document_sample import read_documents, sample_documents

_GATE_SEED = 0
_LEAST_COMMON_SHARE = 0.95  # of the documents: in a larger corpus every question is harder
_LEAST_QUESTIONS = 20  # fewer tell nothing apart


def self_questions(
    index: ReadableVersion,
    record: VersionRecord,
    num_questions: int,
    seed: int,
    progress: Progress,
) -> LabelledSet:
    """About so many questions of the version; the same seed and documents give the same ones.

    Raises: EmptyCorpus if no question can be made of its documents.
    """
    progress.note(f"making {num_questions} questions from the documents of {record.version}")
    documents = read_documents(index, record, sample_documents(index, record, seed))
    labelled = made_questions(documents, num_questions, seed)
    if not labelled.queries:
        raise EmptyCorpus(
            f"no question can be made from the {record.num_documents:,} documents of "
            f"{record.version}",
            "at least three documents with some sentences of prose that are not alike",
            "write labelled queries and give them with --queries",
        )
    return labelled


def common_questions(
    index: ReadableVersion,
    live: VersionRecord,
    new: VersionRecord,
    num_questions: int,
    progress: Progress,
) -> LabelledSet | None:
    """Questions whose answers are the same documents, word for word, in both versions.

    Returns: None, and a note, if too few can be made, or if the versions hold so different
    documents that their success says more about the corpus than about the versions.
    """
    samples = [sample_documents(index, record, _GATE_SEED) for record in (live, new)]
    ours, theirs = ({document.id: document for document in sample} for sample in samples)
    common = ours.keys() & theirs.keys()
    share = len(common) / max(1, len(ours.keys() | theirs.keys()))
    if share < _LEAST_COMMON_SHARE:
        progress.note(
            f"no questions are made for the gate: {share:.0%} of the documents are in both "
            f"versions, {_LEAST_COMMON_SHARE:.0%} are needed; gate.queries names labelled ones"
        )
        return None
    unchanged = [
        document
        for document in samples[0]
        if document.id in common and theirs[document.id].fingerprint == document.fingerprint
    ]
    made = made_questions(read_documents(index, live, unchanged), num_questions, _GATE_SEED)
    if len(made.queries) < _LEAST_QUESTIONS:
        progress.note(
            f"{len(made.queries)} questions can be made for the gate, {_LEAST_QUESTIONS} are "
            "needed: only the number of documents is compared"
        )
        return None
    return made
