"""Opens a labelled data set by name or folder: its documents as a corpus, its queries, its flaws.

Sets have one of two forms, both as the paper's authors publish them:

- articles: a JSON list of {title, text, label}; queries name titles.
- topics: one JSON file for each topic, `category/category_topic.json`, a list of {title, text};
  queries name topics, and any document of the topic counts.

Flaws of a set are counted and reported, never silently repaired.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mrag_pipeline.corpus.labelled.archive_files import ArchiveFile, archive_files, json_value
from mrag_pipeline.corpus.labelled.download import cache_folder, data_set_folder, fetch
from mrag_pipeline.corpus.labelled.paper_sets import PAPER_SETS, find_paper_set
from mrag_pipeline.corpus.labelled.set_documents import SetDocuments, from_articles, from_topics
from mrag_pipeline.corpus.labelled.set_queries import label_queries, read_queries
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.labelled_queries import LabelledSet
from mrag_pipeline.errors import BrokenFile, ConfigError, EmptyCorpus

_ARTICLES = "an aspect is found when the article with its title is fetched"
_TOPICS = (
    "an aspect is found when any document of its topic (all documents of the topic's file) "
    "is fetched"
)


@dataclass(frozen=True, slots=True)
class DataSet:
    """Documents and labelled queries that belong together."""

    documents: tuple[Document, ...]
    labelled: LabelledSet

    def write_documents(self, folder: Path) -> Path:
        """Writes the documents as JSON Lines into the folder and returns the file's path.

        A file that already holds exactly these documents is not touched: an unchanged corpus keeps
        its time, and so its index version.
        """
        path = folder / f"{self.labelled.name}.jsonl"
        records = (json.dumps(_record(document), sort_keys=True) for document in self.documents)
        lines = "".join(f"{record}\n" for record in records)
        if not path.is_file() or path.read_text("utf-8") != lines:
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".part")
            partial.write_text(lines, "utf-8")
            os.replace(partial, path)
        return path


def open_data_set(name: str) -> DataSet:
    """The data set of that name, or in that folder.

    Raises: ConfigError if the name is unknown; CorpusNotFound, FingerprintMismatch,
    BrokenFile.
    """
    if name not in PAPER_SETS and Path(name).is_dir():
        return from_folder(Path(name))
    paper_set = find_paper_set(name)
    folder, cache = data_set_folder(), cache_folder()
    documents = fetch(paper_set.documents, folder, cache)
    queries = fetch(paper_set.queries, folder, cache)
    return read_data_set(name, documents, queries)


def from_folder(folder: Path) -> DataSet:
    """The set in a folder of documents and queries with names like the paper's.

    The entry whose name contains `queries` (a file, an archive or a folder) holds the queries, the
    one whose name contains `articles` or `documents` the documents; there must be one of each. The
    set is named after the folder.
    Raises: ConfigError, BrokenFile, EmptyCorpus.
    """
    parts = []
    for kind, words in (("queries", ("queries",)), ("documents", ("articles", "documents"))):
        matching = [
            path
            for path in sorted(folder.iterdir())
            if not path.name.startswith(".") and any(word in path.name for word in words)
        ]
        if len(matching) != 1:
            names = ", ".join(path.name for path in matching) or "none"
            raise ConfigError(
                f"{folder} holds {len(matching)} entries with {kind}: {names}",
                f"exactly one whose name contains {' or '.join(words)}",
                "keep each data set in a separate folder",
            )
        parts.append(matching[0])
    queries, documents = parts
    return read_data_set(folder.resolve().name, documents, queries)


def read_data_set(name: str, documents: Path, queries: Path) -> DataSet:
    """The set in two files, archives or folders.

    Raises: BrokenFile, EmptyCorpus.
    """
    read = _read_documents(documents)
    if not read.documents:
        raise EmptyCorpus(f"no document with text in {documents}")
    raw = read_queries(queries)
    labelled = label_queries(name, raw, read, _TOPICS if read.by_topic else _ARTICLES)
    if not labelled.queries:
        raise EmptyCorpus(
            f"none of {len(raw.records)} queries in {queries} names a document of {documents}",
            "queries and documents of the same set",
            "check that both files have the same version",
        )
    return DataSet(tuple(read.documents), labelled)


def _read_documents(path: Path) -> SetDocuments:
    files: Iterator[ArchiveFile] = (
        file for file in archive_files(path) if file.name.endswith(".json")
    )
    first = next(files, None)
    if first is None:
        raise BrokenFile(f"{path} holds no JSON file", "documents as JSON")
    second = next(files, None)
    # A single file is a list of articles; several are topics, each in the folder of its category.
    if second is None and len(Path(first.name).parts) == 1:
        return from_articles(json_value(first))
    topic_files = [first, *([second] if second else []), *files]
    return from_topics([(file.name, json_value(file)) for file in topic_files])


def _record(document: Document) -> dict[str, object]:
    return {
        "id": document.id,
        "title": document.title,
        "text": document.text,
        **document.metadata,
    }
