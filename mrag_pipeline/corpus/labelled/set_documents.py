"""The documents of a labelled set, under the names by which its queries call them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.labelled_queries import Flaw, flaw
from mrag_pipeline.errors import BrokenFile

MAX_ID_CHARS = 120  # an id holds at most 512 bytes


@dataclass(slots=True)
class Shelf:
    """Documents, and which of them a query means by a name."""

    by_topic: bool  # names are topics of several documents, else titles of one
    documents: list[Document] = field(default_factory=list)
    named: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # to ids
    category_of: dict[str, str] = field(default_factory=dict)  # of a name
    flaws: list[Flaw] = field(default_factory=list)

    def categories(self) -> dict[str, str]:
        """The category of each document, by id."""
        return {one.id: str(one.metadata.get("category", "")) for one in self.documents}


def from_articles(value: object) -> Shelf:
    """The shelf of a list of {title, text, label or category}; ids are the titles.

    A title's second document gets the id `title (2)`; for a query that names it, either counts.
    Raises: BrokenFile if it is not such a list.
    """
    shelf = Shelf(by_topic=False)
    broken, repeated = [], []
    taken: set[str] = set()
    for number, record in enumerate(_records(value, "the articles"), start=1):
        title, text = _title_and_text(record)
        if not title or not text:
            broken.append(title or f"record {number}")
            continue
        ids = shelf.named[title]
        if ids:
            repeated.append(title)
        category = str(record.get("label") or record.get("category") or "")
        document = Document(_free(title, taken), text, title, {"category": category})
        shelf.documents.append(document)
        ids.append(document.id)
        shelf.category_of.setdefault(title, category)
    shelf.flaws += flaw("articles without title or text: left out", broken)
    shelf.flaws += flaw(
        "articles whose title another has: all kept, any of them counts for the title", repeated
    )
    _tell_same_texts(shelf)
    return shelf


def from_topics(files: Sequence[tuple[str, object]]) -> Shelf:
    """The shelf of topic files, `.../category/category_topic.json`.

    Ids are `category/topic/03`, by the document's place in its file.
    Raises: BrokenFile if a file is no list of {title, text}.
    """
    shelf = Shelf(by_topic=True)
    broken, repeated, odd, empty = [], [], [], []
    taken: set[str] = set()
    for name, value in files:
        path = PurePosixPath(name)
        category, stem = path.parent.name, path.stem
        topic = stem.removeprefix(f"{category}_")
        if topic == stem:
            odd.append(name)
        if topic in shelf.named:
            repeated.append(topic)
        shelf.category_of.setdefault(topic, category)
        before = len(shelf.named[topic])
        for number, record in enumerate(_records(value, name), start=1):
            title, text = _title_and_text(record)
            if not text:
                broken.append(f"{topic} {number}")
                continue
            place = f"{category[:MAX_ID_CHARS]}/{topic[:MAX_ID_CHARS]}/{number:02d}"
            metadata = {"category": category, "topic": topic}
            document = Document(_free(place, taken), text, title, metadata)
            shelf.documents.append(document)
            shelf.named[topic].append(document.id)
        if len(shelf.named[topic]) == before:
            empty.append(topic)
            if not shelf.named[topic]:
                del shelf.named[topic]
    shelf.flaws += flaw("documents without text: left out", broken)
    shelf.flaws += flaw("topic files without a document", empty)
    shelf.flaws += flaw(
        "topic files whose topic another file has: the documents of all count, under the first "
        "one's category",
        repeated,
    )
    shelf.flaws += flaw(
        "topic files not named category_topic: the whole name is taken for the topic", odd
    )
    titles = [(str(one.metadata["topic"]), one.title) for one in shelf.documents if one.title]
    shelf.flaws += flaw(
        "documents with the title of another of the same topic: all kept",
        _repeats([f"{topic}: {title}" for topic, title in titles]),
    )
    _tell_same_texts(shelf)
    return shelf


def _tell_same_texts(shelf: Shelf) -> None:
    first: dict[str, str] = {}
    same = []
    for one in shelf.documents:
        if one.text in first:
            same.append(f"{one.id} = {first[one.text]}")
        first.setdefault(one.text, one.id)
    shelf.flaws += flaw("documents whose text another has: all kept, they crowd each other", same)


def _records(value: object, place: str) -> list[dict[str, object]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BrokenFile(
            f"{place}: not a list of objects", "a JSON list of {title, text}", "get the file again"
        )
    return value


def _title_and_text(record: dict[str, object]) -> tuple[str, str]:
    title, text = record.get("title"), record.get("text")
    return (
        title.strip() if isinstance(title, str) else "",
        text if isinstance(text, str) and text.strip() else "",
    )


def _free(wanted: str, taken: set[str]) -> str:
    """The wanted id, numbered if it is taken; the caller's from now on."""
    number, chosen = 1, wanted
    while chosen in taken:
        number += 1
        chosen = f"{wanted} ({number})"
    taken.add(chosen)
    return chosen


def _repeats(names: Sequence[str]) -> list[str]:
    """The names that came before, once for each time they come again."""
    left = Counter(names)
    left.subtract(left.keys())
    return list(left.elements())
