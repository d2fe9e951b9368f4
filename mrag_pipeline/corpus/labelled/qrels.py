"""Relevance judgements (qrels) of BEIR and TREC, and the queries that they are about.

query-id <tab> corpus-id <tab> score              BEIR, with this header
query-id 0 document-id grade                      TREC, four columns by white space
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mrag_pipeline.corpus.labelled.text_lines import lines_of
from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery, LabelledSet, flaw
from mrag_pipeline.errors import BrokenFile, EmptyCorpus

Grades = Mapping[str, Mapping[str, int]]  # by query id, by document id; above 0 is relevant

RELEVANCE = "a document counts by its grade in the relevance judgements"


def read_grades(path: Path) -> Grades:
    """The judgements of a file of either form; the last one of a pair counts.

    Raises: CorpusNotFound; BrokenFile, naming the line.
    """
    grades: dict[str, dict[str, int]] = {}
    for number, line in enumerate(lines_of(path, "a file of judgements"), start=1):
        cells = line.split("\t") if line.count("\t") == 2 else line.split()
        if not cells or (number == 1 and cells[-1].strip().lower() in ("score", "relevance")):
            continue
        query, document = cells[0], cells[-2] if len(cells) in (3, 4) else ""
        try:
            grade = int(float(cells[-1]))
        except (ValueError, OverflowError):
            document = ""
        if not document:
            raise BrokenFile(
                f"{path}:{number}: {line[:80]!r} is not a judgement",
                "query id, document id and grade; or query id, 0, document id and grade",
                "correct the line",
            )
        grades.setdefault(query.strip(), {})[document.strip()] = grade
    return grades


def labelled_by_grades(
    name: str, queries: Mapping[str, str], grades: Grades, path: Path
) -> LabelledSet:
    """The queries that have a relevant document; each such document is an aspect of its query.

    Args:
        queries: texts by id.
        path: of the judgements, for errors.
    Raises: EmptyCorpus if no query has a relevant document.
    """
    labelled = []
    for query_id, text in queries.items():
        judged = grades.get(query_id, {})
        relevant = {document: grade for document, grade in judged.items() if grade > 0}
        if relevant:
            aspects = tuple(Aspect(frozenset([document]), document) for document in relevant)
            labelled.append(LabelledQuery(text, aspects, len(aspects), grades=relevant))
    if not labelled:
        raise EmptyCorpus(
            f"no query has a relevant document in {path}",
            "judgements of these queries",
            "check that both files are of the same set",
        )
    without = [query for query in queries if not any(g > 0 for g in grades.get(query, {}).values())]
    unknown = [query for query in grades if query not in queries]
    flaws = (
        *flaw("queries without a relevant document: left out", without),
        *flaw("judged queries that the queries file does not have: left out", unknown),
    )
    return LabelledSet(name, tuple(labelled), RELEVANCE, flaws=flaws, by_aspects=False)
