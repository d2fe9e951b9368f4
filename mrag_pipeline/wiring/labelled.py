"""Where labelled queries come from: a file, TREC topics, a data set."""

from __future__ import annotations

from pathlib import Path

from mrag_pipeline.domain.labelled_queries import LabelledSet


def labelled_queries(path: Path, qrels: Path | None = None) -> LabelledSet:
    """The user's own labelled queries: JSON Lines, or TREC topics with their judgements.

    Raises: CorpusNotFound; BrokenFile, naming the line; EmptyCorpus without a relevant document.
    """
    if qrels is not None:
        from mrag_pipeline.corpus.labelled.trec import read_trec

        return read_trec(path, qrels)
    from mrag_pipeline.corpus.labelled.query_file import read_labelled

    return read_labelled(path)


def write_labelled_queries(labelled: LabelledSet, path: Path) -> None:
    """Writes labelled queries as JSON Lines that `labelled_queries` reads.

    Raises: ConfigError.
    """
    from mrag_pipeline.corpus.labelled.query_file import write_labelled

    write_labelled(labelled, path)


def labelled_data_set(name: str) -> tuple[LabelledSet, dict[str, object]]:
    """A data set by name or folder: its queries, and the `[corpus]` settings of its documents.

    A BEIR folder's documents are ingested where they lie; others are written as JSON Lines beside
    the cache.
    Raises: ConfigError if there is none of that name; CorpusNotFound, FingerprintMismatch,
    BrokenFile.
    """
    from mrag_pipeline.corpus.labelled.beir import CORPUS, is_beir, read_beir
    from mrag_pipeline.corpus.labelled.data_set import open_data_set
    from mrag_pipeline.corpus.labelled.download import cache_folder

    fields = {"format": "jsonl", "title_field": "title", "text_field": "text", "include": []}
    if is_beir(Path(name)):
        corpus = Path(name).resolve() / CORPUS
        return read_beir(Path(name)), {"uri": str(corpus), "id_field": "_id", **fields}
    data_set = open_data_set(name)
    written = data_set.write_documents(cache_folder() / "corpora")
    labelled = data_set.labelled
    return labelled, {"uri": str(written), "id_field": "id", "metadata_fields": ["*"], **fields}


def data_set_folder() -> Path | None:
    """The folder of data sets in MRAG_DATASETS; None if it is not set."""
    from mrag_pipeline.corpus.labelled import download

    return download.data_set_folder()
