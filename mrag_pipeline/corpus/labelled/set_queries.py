"""The queries of a paper's data set, each aspect tied to the documents that count for it.

Two layouts: a list of {topics, text, fusion}, or an object of lists by number of aspects,
{"3": [{related, text}, ...]}.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from mrag_pipeline.corpus.labelled.archive_files import json_value, members
from mrag_pipeline.corpus.labelled.set_documents import Shelf
from mrag_pipeline.domain.labelled_queries import Aspect, Flaw, LabelledQuery, LabelledSet, flaw
from mrag_pipeline.errors import BrokenFile

_NUMBERED = re.compile(r"^\s*\d+[.)]\s*")  # "2. Pencak silat origins", as the LLM listed them


@dataclass(frozen=True, slots=True)
class RawQuery:
    """A query as its file has it."""

    names: tuple[str, ...]  # titles or topics
    text: str
    sub_queries: tuple[str, ...]
    group: int  # number of aspects its file puts it under; of its names if the file says nothing


@dataclass(slots=True)
class RawQueries:
    """The queries of one file."""

    records: list[RawQuery] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)


def queries_in(path: Path) -> RawQueries:
    """The queries of a file, or of the one file of an archive or folder that holds texts.

    The authors' archives also hold files that list topics without texts; they are passed over.
    Raises: BrokenFile if no file, or more than one, has queries.
    """
    read = {}
    for member in members(path):
        if not member.name.endswith(".json"):
            continue
        entries = _entries(json_value(member))
        if entries and any(isinstance(one.get("text"), str) for _, one in entries):
            read[member.place] = entries
    if len(read) != 1:
        found = ", ".join(read) or "none"
        raise BrokenFile(
            f"{path}: {len(read)} files of queries with texts: {found}",
            "one: a list of {topics, text}, or lists of {related, text} by number of aspects",
        )
    [entries] = read.values()
    result = RawQueries()
    broken, misplaced, repeated = [], [], []
    for number, (group, entry) in enumerate(entries, start=1):
        query = _raw(group, entry)
        if query is None:
            broken.append(f"query {number}")
            continue
        names = tuple(dict.fromkeys(query.names))
        if len(names) < len(query.names):
            repeated.append(f"query {number}")
        if query.group != len(query.names):
            misplaced.append(f"query {number}: {len(query.names)} under {query.group}")
        result.records.append(RawQuery(names, query.text, query.sub_queries, len(names)))
    result.flaws += flaw("queries without text or topics: left out", broken)
    result.flaws += flaw("queries that name a topic twice: counted once", repeated)
    result.flaws += flaw(
        "queries with another number of topics than their place says: their own number counts",
        misplaced,
    )
    return result


def labelled(name: str, raw: RawQueries, shelf: Shelf, relevance: str) -> LabelledSet:
    """The queries over the shelf's documents; names that no document has are only told."""
    queries = []
    unknown: list[str] = []
    lost, touched = [], []
    for number, one in enumerate(raw.records, start=1):
        missing = [title for title in one.names if title not in shelf.named]
        unknown += missing
        if len(missing) == len(one.names):
            lost.append(f"query {number}: {one.text[:60].strip()!r}")
            continue
        if missing:
            touched.append(f"query {number}")
        aspects = tuple(
            Aspect(frozenset(shelf.named[title]), title, shelf.category_of[title])
            for title in one.names
            if title in shelf.named
        )
        queries.append(LabelledQuery(one.text, aspects, one.group, one.sub_queries))
    what = "topics" if shelf.by_topic else "titles"
    told = sorted(set(unknown))
    flaws = [
        *shelf.flaws,
        *raw.flaws,
        *flaw(
            f"{what} that queries name and no document has, {len(unknown)} times in all: "
            "these aspects are not counted",
            told,
        ),
        *flaw("queries with fewer aspects to find than they name, for that reason", touched),
        *flaw("queries left out: none of their aspects has a document", lost),
    ]
    return LabelledSet(name, tuple(queries), relevance, shelf.categories(), tuple(flaws))


def _entries(value: object) -> list[tuple[int | None, dict[str, object]]]:
    if isinstance(value, list):
        return [(None, one) for one in value if isinstance(one, dict)]
    entries: list[tuple[int | None, dict[str, object]]] = []
    for group, listed in value.items() if isinstance(value, dict) else ():
        if isinstance(listed, list):
            number = int(group) if str(group).isdigit() else None
            entries += [(number, one) for one in listed if isinstance(one, dict)]
    return entries


def _raw(group: int | None, entry: dict[str, object]) -> RawQuery | None:
    names, text = entry.get("topics", entry.get("related")), entry.get("text")
    if not isinstance(text, str) or not text.strip() or not isinstance(names, list) or not names:
        return None
    plain = tuple(str(name).strip() for name in names)
    fusion = entry.get("fusion")
    listed = fusion if isinstance(fusion, list) else []
    subs = (_NUMBERED.sub("", one).strip() for one in listed if isinstance(one, str))
    return RawQuery(plain, text, tuple(one for one in subs if one), group or len(plain))
