"""The paper's data sets: their files, and where those are published.

Source: github.com/spcl/MRAG, folder `datasets` (BSD 3-clause), each file pinned by the commit
that added it. We know the sha256 only of the files we have seen; the others are pinned by their
commit, and by the hash of their first download (see `download.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrag_pipeline.errors import ConfigError

Form = Literal["articles", "topics"]

_REPOSITORY = "https://raw.githubusercontent.com/spcl/MRAG"
_CHEM = _LEGAL_V2 = "5d1319c6be138e219d352b5f380f1526e3519527"
_QUERIES = _WIKIPEDIA_V2 = "6606f0d3c078f5e9f1581fb4ec6a8861c123c5d6"
_LEGAL_V1 = "e7311a3b52653cb7dd9928867103ea69c6da6cc2"
_WIKIPEDIA = "812a17c7d2e8d95e17920381bf14ae9c7428dd64"


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file of the authors' repository."""

    name: str
    commit: str
    sha256: str = ""  # empty if unknown

    @property
    def url(self) -> str:
        """An address whose content cannot change."""
        return f"{_REPOSITORY}/{self.commit}/datasets/{self.name}"


@dataclass(frozen=True, slots=True)
class PaperSet:
    """Documents and queries of one data set."""

    name: str
    form: Form
    documents: PublishedFile
    queries: PublishedFile


_LEGAL_QUERIES = PublishedFile(
    "legal_queries.tar.bz2",
    _QUERIES,
    "e23ac1fd13ce3f87c10692a32990158f29b539cde86b66f20d27bc37be2efee8",
)
_CHEM_QUERIES = PublishedFile("chem_queries.tar.bz2", _QUERIES)

PAPER_SETS: dict[str, PaperSet] = {
    paper_set.name: paper_set
    for paper_set in (
        PaperSet(
            "wikipedia-v1",
            "articles",
            PublishedFile(
                "wikipedia_articles_v1.json.bz2",
                _WIKIPEDIA,
                "5fd857c1c7d8dc267d8d1ec18a4adb84fe80a8090d504a0facdb6e94f1fc3dd0",
            ),
            PublishedFile(
                "wikipedia_queries_v1.json.bz2",
                _WIKIPEDIA,
                "8532bbf7a8596e318fba5cfccc2741845454e4856c862ef136f06b1bb0849409",
            ),
        ),
        PaperSet(
            "wikipedia-v2",
            "articles",
            PublishedFile("wikipedia_articles_v2.json.bz2", _WIKIPEDIA_V2),
            PublishedFile("wikipedia_queries_v2.json.bz2", _WIKIPEDIA),
        ),
        PaperSet(
            "legal-v1",
            "topics",
            PublishedFile(
                "legal_documents_v1.tar.bz2",
                _LEGAL_V1,
                "6d1798f92190d151e85598686c1345498c04da6b1cdbb003a8a5802c0342bac5",
            ),
            _LEGAL_QUERIES,
        ),
        PaperSet(
            "legal-v2",
            "topics",
            PublishedFile("legal_documents_v2.tar.bz2", _LEGAL_V2),
            _LEGAL_QUERIES,
        ),
        PaperSet(
            "chem-v1",
            "topics",
            PublishedFile("chem_documents_v1.tar.bz2", _CHEM),
            _CHEM_QUERIES,
        ),
        PaperSet(
            "chem-v2",
            "topics",
            PublishedFile("chem_documents_v2.tar.bz2", _CHEM),
            _CHEM_QUERIES,
        ),
    )
}


def find_paper_set(name: str) -> PaperSet:
    """The data set of that name.

    Raises: ConfigError.
    """
    paper_set = PAPER_SETS.get(name)
    if paper_set is None:
        raise ConfigError(
            f"no data set {name!r}",
            f"one of {', '.join(PAPER_SETS)}, or a folder that holds a set of the same form",
            "for your own labelled queries use `mrag evaluate --queries FILE`",
        )
    return paper_set
