"""TREC topics: the classic tagged form, or a query a line.

<top>
<num> Number: 301
<title> International Organized Crime
<desc> Description: ...
</top>

301 <tab> international organized crime
"""

from __future__ import annotations

import re
from pathlib import Path

from mrag_pipeline.corpus.labelled.qrels import labelled_by_grades, read_grades
from mrag_pipeline.corpus.labelled.text_lines import text_of
from mrag_pipeline.domain.labelled_queries import LabelledSet
from mrag_pipeline.errors import BrokenFile

_TOPIC = re.compile(r"<top>(.*?)</top>", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"<num>\s*(?:Number:)?\s*([^\s<]+)", re.IGNORECASE)
# A field ends where the next tag begins, closed or not: old collections never close them.
_FIELD = r"<{name}>\s*(?:Topic:|Description:)?\s*([^<]*)"


def read_trec(topics: Path, qrels: Path) -> LabelledSet:
    """The topics with their graded documents, named after the topics' file.

    Raises: CorpusNotFound, BrokenFile; EmptyCorpus if no topic has a relevant document.
    """
    return labelled_by_grades(topics.stem, read_topics(topics), read_grades(qrels), qrels)


def read_topics(path: Path) -> dict[str, str]:
    """The queries by topic number: the title, or the description where there is no title.

    Raises: CorpusNotFound, BrokenFile.
    """
    text = text_of(path, "a file of TREC topics")
    topics = _tagged(text, path) if _TOPIC.search(text) else _by_lines(text, path)
    if not topics:
        raise BrokenFile(f"{path} holds no topic", "<top> ... </top>, or number and query by tab")
    return topics


def _tagged(text: str, path: Path) -> dict[str, str]:
    topics = {}
    for match in _TOPIC.finditer(text):
        number = _NUMBER.search(match[1])
        query = _field(match[1], "title") or _field(match[1], "desc")
        if number is None or not query:
            line = text.count("\n", 0, match.start()) + 1
            raise BrokenFile(f"{path}:{line}: a topic without a number or a title")
        topics[number[1]] = query
    return topics


def _by_lines(text: str, path: Path) -> dict[str, str]:
    topics = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        topic, tab, query = line.partition("\t")
        if not tab or not query.strip():
            raise BrokenFile(f"{path}:{number}: no query after a tab")
        topics[topic.strip()] = query.strip()
    return topics


def _field(topic: str, name: str) -> str:
    match = re.search(_FIELD.format(name=name), topic, re.IGNORECASE)
    return " ".join(match[1].split()) if match else ""
