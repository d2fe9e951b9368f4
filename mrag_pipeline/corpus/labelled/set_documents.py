"""The documents of a labelled set, and the names by which its queries refer to them."""

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
class SetDocuments:
    """Documents, and the ids that a name in a query stands for."""

    by_topic: bool  # names are topics of several documents, otherwise titles
    documents: list[Document] = field(default_factory=list)
    ids_of: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # by name
    category_of: dict[str, str] = field(default_factory=dict)  # by name
    flaws: list[Flaw] = field(default_factory=list)

    def categories(self) -> dict[str, str]:
        """The category of each document, by id."""
        return {
            document.id: str(document.metadata.get("category", "")) for document in self.documents
        }


def from_articles(value: object) -> SetDocuments:
    """The documents of a list of {title, text, label or category}; ids are the titles.

    The second document of a title gets the id `title (2)`; for a query that names the title, either
    counts.
    Raises: BrokenFile if the value is not such a list.
    """
    result = SetDocuments(by_topic=False)
    incomplete, repeated = [], []
    taken: set[str] = set()
    for number, record in enumerate(_records(value, "the articles"), start=1):
        title, text = _title_and_text(record)
        if not title or not text:
            incomplete.append(title or f"record {number}")
            continue
        ids = result.ids_of[title]
        if ids:
            repeated.append(title)
        category = str(record.get("label") or record.get("category") or "")
        document = Document(_free(title, taken), text, title, {"category": category})
        result.documents.append(document)
        ids.append(document.id)
        result.category_of.setdefault(title, category)
    result.flaws += flaw("articles without title or text: skipped", incomplete)
    result.flaws += flaw(
        "articles that share a title with another: all kept, any of them counts for the title",
        repeated,
    )
    _report_same_texts(result)
    return result


def from_topics(files: Sequence[tuple[str, object]]) -> SetDocuments:
    """The documents of topic files, `.../category/category_topic.json`.

    Ids are `category/topic/03`: the document's number in its file.
    Raises: BrokenFile if a file is not a list of {title, text}.
    """
    result = SetDocuments(by_topic=True)
    incomplete, repeated, misnamed, empty = [], [], [], []
    taken: set[str] = set()
    for name, value in files:
        path = PurePosixPath(name)
        category, stem = path.parent.name, path.stem
        topic = stem.removeprefix(f"{category}_")
        if topic == stem:
            misnamed.append(name)
        if topic in result.ids_of:
            repeated.append(topic)
        result.category_of.setdefault(topic, category)
        before = len(result.ids_of[topic])
        for number, record in enumerate(_records(value, name), start=1):
            title, text = _title_and_text(record)
            if not text:
                incomplete.append(f"{topic} {number}")
                continue
            document_id = f"{category[:MAX_ID_CHARS]}/{topic[:MAX_ID_CHARS]}/{number:02d}"
            metadata = {"category": category, "topic": topic}
            document = Document(_free(document_id, taken), text, title, metadata)
            result.documents.append(document)
            result.ids_of[topic].append(document.id)
        if len(result.ids_of[topic]) == before:
            empty.append(topic)
            if not result.ids_of[topic]:
                del result.ids_of[topic]
    result.flaws += flaw("documents without text: skipped", incomplete)
    result.flaws += flaw("topic files without a document", empty)
    result.flaws += flaw(
        "topic files that share a topic with another: the documents of all count, under the "
        "category of the first",
        repeated,
    )
    result.flaws += flaw(
        "topic files not named category_topic: the whole name is used as the topic", misnamed
    )
    titles = [
        f"{document.metadata['topic']}: {document.title}"
        for document in result.documents
        if document.title
    ]
    result.flaws += flaw(
        "documents that share a title with another of the same topic: all kept", _repeats(titles)
    )
    _report_same_texts(result)
    return result


def _report_same_texts(result: SetDocuments) -> None:
    first: dict[str, str] = {}  # id by text
    same = []
    for document in result.documents:
        if document.text in first:
            same.append(f"{document.id} = {first[document.text]}")
        first.setdefault(document.text, document.id)
    result.flaws += flaw(
        "documents that share their text with another: all kept, they compete in rankings", same
    )


def _records(value: object, origin: str) -> list[dict[str, object]]:
    if not isinstance(value, list) or not all(isinstance(record, dict) for record in value):
        raise BrokenFile(
            f"{origin}: not a list of objects",
            "a JSON list of {title, text}",
            "download the file again",
        )
    return value


def _title_and_text(record: dict[str, object]) -> tuple[str, str]:
    title, text = record.get("title"), record.get("text")
    return (
        title.strip() if isinstance(title, str) else "",
        text if isinstance(text, str) and text.strip() else "",
    )


def _free(wanted: str, taken: set[str]) -> str:
    """The wanted id, numbered if it is taken; the result is added to `taken`."""
    number, free = 1, wanted
    while free in taken:
        number += 1
        free = f"{wanted} ({number})"
    taken.add(free)
    return free


def _repeats(names: Sequence[str]) -> list[str]:
    """The repeated names, once for each occurrence after the first."""
    repeats = Counter(names)
    repeats.subtract(repeats.keys())
    return list(repeats.elements())
