"""The queries of a paper's data set, with the documents that count for each aspect.

Two layouts: a list of {topics, text, fusion}, or an object of lists by number of aspects,
{"3": [{related, text}, ...]}.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from mrag_pipeline.corpus.labelled.archive_files import archive_files, json_value
from mrag_pipeline.corpus.labelled.set_documents import SetDocuments
from mrag_pipeline.domain.labelled_queries import Aspect, Flaw, LabelledQuery, LabelledSet, flaw
from mrag_pipeline.errors import BrokenFile

_NUMBERED = re.compile(r"^\s*\d+[.)]\s*")  # "2. Pencak silat origins", as the LLM listed them


@dataclass(frozen=True, slots=True)
class RawQuery:
    """A query as it is written in its file."""

    names: tuple[str, ...]  # titles or topics
    text: str
    sub_queries: tuple[str, ...]
    group: int  # number of aspects by its file; the number of names if the file has none


@dataclass(slots=True)
class RawQueries:
    """The queries of one file, and what is wrong with them."""

    records: list[RawQuery] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)


def read_queries(path: Path) -> RawQueries:
    """The queries of a file, or of the one file with query texts in an archive or folder.

    The authors' archives also hold files that list topics without texts; these are skipped.
    Raises: BrokenFile if no file, or more than one, has queries.
    """
    entries_by_file = {}
    for file in archive_files(path):
        if not file.name.endswith(".json"):
            continue
        entries = _entries(json_value(file))
        if entries and any(isinstance(entry.get("text"), str) for _, entry in entries):
            entries_by_file[file.origin] = entries
    if len(entries_by_file) != 1:
        file_names = ", ".join(entries_by_file) or "none"
        raise BrokenFile(
            f"{path}: {len(entries_by_file)} files of queries with texts: {file_names}",
            "one: a list of {topics, text}, or lists of {related, text} by number of aspects",
        )
    [entries] = entries_by_file.values()
    result = RawQueries()
    incomplete, misplaced, repeated = [], [], []
    for number, (group, entry) in enumerate(entries, start=1):
        query = _raw(group, entry)
        if query is None:
            incomplete.append(f"query {number}")
            continue
        names = tuple(dict.fromkeys(query.names))
        if len(names) < len(query.names):
            repeated.append(f"query {number}")
        if query.group != len(query.names):
            misplaced.append(f"query {number}: {len(query.names)} under {query.group}")
        result.records.append(RawQuery(names, query.text, query.sub_queries, len(names)))
    result.flaws += flaw("queries without text or topics: skipped", incomplete)
    result.flaws += flaw("queries that name a topic twice: counted once", repeated)
    result.flaws += flaw(
        "queries listed under a wrong number of topics: their own number counts",
        misplaced,
    )
    return result


def label_queries(
    name: str, raw: RawQueries, documents: SetDocuments, relevance: str
) -> LabelledSet:
    """Joins the queries with the documents they name; names without a document are reported."""
    queries = []
    unknown: list[str] = []
    lost, reduced = [], []
    for number, record in enumerate(raw.records, start=1):
        missing = [title for title in record.names if title not in documents.ids_of]
        unknown += missing
        if len(missing) == len(record.names):
            lost.append(f"query {number}: {record.text[:60].strip()!r}")
            continue
        if missing:
            reduced.append(f"query {number}")
        aspects = tuple(
            Aspect(frozenset(documents.ids_of[title]), title, documents.category_of[title])
            for title in record.names
            if title in documents.ids_of
        )
        queries.append(LabelledQuery(record.text, aspects, record.group, record.sub_queries))
    kind = "topics" if documents.by_topic else "titles"
    flaws = [
        *documents.flaws,
        *raw.flaws,
        *flaw(
            f"{kind} that queries name and no document has, {len(unknown)} times in all: "
            "these aspects are not counted",
            sorted(set(unknown)),
        ),
        *flaw("queries with fewer aspects to find than they name, for that reason", reduced),
        *flaw("queries skipped: none of their aspects has a document", lost),
    ]
    return LabelledSet(name, tuple(queries), relevance, documents.categories(), tuple(flaws))


def _entries(value: object) -> list[tuple[int | None, dict[str, object]]]:
    if isinstance(value, list):
        return [(None, entry) for entry in value if isinstance(entry, dict)]
    entries: list[tuple[int | None, dict[str, object]]] = []
    for group, members in value.items() if isinstance(value, dict) else ():
        if isinstance(members, list):
            number = int(group) if str(group).isdigit() else None
            entries += [(number, entry) for entry in members if isinstance(entry, dict)]
    return entries


def _raw(group: int | None, entry: dict[str, object]) -> RawQuery | None:
    names, text = entry.get("topics", entry.get("related")), entry.get("text")
    if not isinstance(text, str) or not text.strip() or not isinstance(names, list) or not names:
        return None
    plain_names = tuple(str(name).strip() for name in names)
    fusion = entry.get("fusion")
    lines = fusion if isinstance(fusion, list) else []
    sub_queries = (_NUMBERED.sub("", line).strip() for line in lines if isinstance(line, str))
    num_aspects = group or len(plain_names)
    return RawQuery(plain_names, text, tuple(filter(None, sub_queries)), num_aspects)
