"""A labelled set in the form of BEIR: a folder with corpus.jsonl, queries.jsonl and qrels.

    corpus.jsonl    {"_id": "d1", "title": "...", "text": "..."}
    queries.jsonl   {"_id": "q1", "text": "..."}
    qrels.tsv       query-id <tab> corpus-id <tab> score; or qrels/test.tsv (dev, train)

The corpus is not read here: it is ingested where it lies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mrag_pipeline.corpus.labelled.qrels import labelled_by_grades, read_grades
from mrag_pipeline.corpus.labelled.text_lines import lines_of
from mrag_pipeline.domain.labelled_queries import LabelledSet
from mrag_pipeline.errors import BrokenFile, ConfigError

CORPUS, QUERIES = "corpus.jsonl", "queries.jsonl"
_SPLITS = ("test", "dev", "train")  # of a folder `qrels`; the first that is there


def is_beir(folder: Path) -> bool:
    """Whether the folder has the files of a BEIR set."""
    return (folder / CORPUS).is_file() and (folder / QUERIES).is_file()


def read_beir(folder: Path) -> LabelledSet:
    """The folder's queries with their graded documents, named after the folder.

    Raises: ConfigError without judgements; BrokenFile, naming the line.
    """
    path = _qrels(folder)
    queries = dict(_queries(folder / QUERIES))
    return labelled_by_grades(folder.resolve().name, queries, read_grades(path), path)


def _qrels(folder: Path) -> Path:
    candidates = [folder / "qrels.tsv", *(folder / "qrels" / f"{split}.tsv" for split in _SPLITS)]
    for path in candidates:
        if path.is_file():
            return path
    raise ConfigError(
        f"{folder} holds {CORPUS} and {QUERIES}, and no judgements",
        "qrels.tsv, or qrels/test.tsv",
        "put the relevance judgements of the set there",
    )


def _queries(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines_of(path, "the queries of a BEIR set"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            query_id, text = str(values["_id"]), values["text"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BrokenFile(
                f"{path}:{number}: not a query ({type(error).__name__}: {error})",
                '{"_id": "...", "text": "..."}',
                "correct the line",
            ) from None
        if not isinstance(text, str) or not text.strip():
            raise BrokenFile(f"{path}:{number}: `text` is empty or not a string")
        yield query_id, text
