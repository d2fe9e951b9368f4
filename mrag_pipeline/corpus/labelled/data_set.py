"""A labelled data set by name or folder: its documents as a corpus, its queries, its flaws.

Two forms, both as the paper's authors publish them:

- articles: a JSON list of {title, text, label}; queries name titles.
- topics: one JSON file a topic, `category/category_topic.json`, a list of {title, text};
  queries name topics, and any document of the topic counts.

What is wrong with a set is counted and told, never mended in silence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mrag_pipeline.corpus.labelled.archive_files import Member, json_value, members
from mrag_pipeline.corpus.labelled.download import cache_folder, data_set_folder, fetch
from mrag_pipeline.corpus.labelled.paper_sets import PAPER_SETS, paper_set
from mrag_pipeline.corpus.labelled.set_documents import Shelf, from_articles, from_topics
from mrag_pipeline.corpus.labelled.set_queries import labelled, queries_in
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
        """The documents as JSON Lines in the folder; a file that holds just them stays as it is.

        So a corpus that has not changed keeps its time, and its index version.
        """
        path = folder / f"{self.labelled.name}.jsonl"
        lines = "".join(json.dumps(_record(one), sort_keys=True) + "\n" for one in self.documents)
        if not path.is_file() or path.read_text("utf-8") != lines:
            folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(lines, "utf-8")
            os.replace(part, path)
        return path


def open_data_set(name: str) -> DataSet:
    """The data set of that name, or in that folder.

    Raises: ConfigError if there is none of that name; CorpusNotFound, FingerprintMismatch,
    BrokenFile.
    """
    if name not in PAPER_SETS and Path(name).is_dir():
        return from_folder(Path(name))
    chosen = paper_set(name)
    folder, cache = data_set_folder(), cache_folder()
    documents = fetch(chosen.documents, folder, cache)
    queries = fetch(chosen.queries, folder, cache)
    return read_data_set(name, documents, queries)


def from_folder(folder: Path) -> DataSet:
    """The set whose documents and queries lie in a folder, named like the paper's.

    A name with `queries` in it holds the queries (a file, an archive or a folder), one with
    `articles` or `documents` the documents; there must be one of each. The set is named after
    the folder.
    Raises: ConfigError, BrokenFile, EmptyCorpus.
    """
    parts = []
    for kind, words in (("queries", ("queries",)), ("documents", ("articles", "documents"))):
        found = [
            path
            for path in sorted(folder.iterdir())
            if not path.name.startswith(".") and any(word in path.name for word in words)
        ]
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise ConfigError(
                f"{folder} holds {len(found)} entries with {kind}: {names}",
                f"one whose name contains {' or '.join(words)}",
                "keep each data set in a folder of its own",
            )
        parts.append(found[0])
    queries, documents = parts
    return read_data_set(folder.resolve().name, documents, queries)


def read_data_set(name: str, documents: Path, queries: Path) -> DataSet:
    """The set in two files, archives or folders.

    Raises: BrokenFile, EmptyCorpus.
    """
    shelf = _shelf(documents)
    if not shelf.documents:
        raise EmptyCorpus(f"no document with text in {documents}")
    found = queries_in(queries)
    labels = labelled(name, found, shelf, _TOPICS if shelf.by_topic else _ARTICLES)
    if not labels.queries:
        raise EmptyCorpus(
            f"none of {len(found.records)} queries in {queries} names a document of {documents}",
            "queries and documents of one set",
            "check that both files are of the same version",
        )
    return DataSet(tuple(shelf.documents), labels)


def _shelf(documents: Path) -> Shelf:
    read: Iterator[Member] = (one for one in members(documents) if one.name.endswith(".json"))
    first = next(read, None)
    if first is None:
        raise BrokenFile(f"{documents} holds no JSON file", "documents as JSON")
    second = next(read, None)
    # One file is a list of articles; several are topics, each in the folder of its category.
    if second is None and len(Path(first.name).parts) == 1:
        return from_articles(json_value(first))
    several = [first, *([second] if second else []), *read]
    return from_topics([(one.name, json_value(one)) for one in several])


def _record(document: Document) -> dict[str, object]:
    return {
        "id": document.id,
        "title": document.title,
        "text": document.text,
        **document.metadata,
    }
