"""A version's own questions: made from a sample of its documents."""

from __future__ import annotations

from mrag_pipeline.domain.labelled_queries import LabelledSet
from mrag_pipeline.domain.made_questions import made_questions
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import EmptyCorpus
from mrag_pipeline.ports import Progress, ReadableVersion
from mrag_pipeline.stages.evaluate.document_sample import read_documents, sample_documents


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
