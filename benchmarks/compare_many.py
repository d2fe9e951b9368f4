"""A sync's comparison of very many documents: memory at its peak, CPU and wall time.

    python benchmarks/compare_many.py [--documents 10000000] [--write]

Corpus and index are made up as they are read: documents of some words, one chunk each, of which one
in 100,000 has changed, is new or is gone; the product's own comparison does the rest. Corpus and
index are not measured by themselves. `--write` keeps the figures in figures/scale.json.
"""

from __future__ import annotations

import argparse
import re
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from figure import SCALE, figure, keep
from peak_memory import peak_mb

from mrag_pipeline.domain.documents import Document, document_fingerprint
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.ports import Mark
from mrag_pipeline.ports.index.rows import ID_END
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.sync import SyncSpec
from mrag_pipeline.stages.sync.compare import SyncScope, compare
from tests.support.fake_delta_staging import FakeDeltaStaging
from tests.support.index_rows import a_record

BLOCK, RARE, SLICE_DOCUMENTS = 4_096, 100_000, 160_000
AIM_MB = 600


def document(number: int, is_changed: bool = False) -> Document:
    """One of the corpus."""
    text = f"the harbour of number {number} and its lights{', changed' if is_changed else ''}"
    return Document(f"corpus/part-{number % 97:02d}/file-{number:09d}.txt", text, source="made")


@dataclass(frozen=True)
class MadeIndex:
    """The marks of so many documents, one chunk each, whose ids are spread as hashes are."""

    documents: int

    def count(self, _collection: str) -> int:
        """How many there are."""
        return self.documents

    def marks(self, _collection: str, start: int, stop: int) -> Iterator[Sequence[Mark]]:
        """Those of a range of ids, in blocks."""
        step = self._step
        numbers = range(-(-start // step), min(-(-stop // step), self.documents))
        for first in range(0, len(numbers), BLOCK):
            made = ((number, document(number)) for number in numbers[first : first + BLOCK])
            yield [Mark(number * step, one.id, document_fingerprint(one)) for number, one in made]

    def look_up(
        self, _collection: str, ids: Sequence[int], _likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, Any]]:
        """By their ids."""
        return {chunk_id: document(chunk_id // self._step).id for chunk_id in ids}, {}

    def marks_of(self, _collection: str, document_ids: Sequence[str]) -> list[Mark]:
        """By their ids, which hold their numbers."""
        numbers = [int(re.findall(r"\d+", document_id)[-1]) for document_id in document_ids]
        return [Mark(number * self._step, document(number).id, "") for number in numbers]

    @property
    def _step(self) -> int:
        return ID_END // self.documents


@dataclass(frozen=True)
class MadeCorpus:
    """The same documents; of each RARE one is changed, one is gone and one is new."""

    documents: int

    def slices(self, _max_bytes: int) -> Iterator[Slice]:
        """Of 100 bytes a document, about."""
        for start in range(0, self.documents, SLICE_DOCUMENTS):
            stop = min(start + SLICE_DOCUMENTS, self.documents)
            yield Slice(f"made-{start}", "records", start, stop, 100 * (stop - start), "")

    def read(self, slices: Sequence[Slice]) -> Iterator[Document]:
        """Made as they are asked for."""
        for number in (number for piece in slices for number in range(piece.start, piece.stop)):
            if number % RARE == 1:
                continue  # gone
            yield document(number, is_changed=number % RARE == 2)
            if number % RARE == 3:
                yield document(self.documents + number)


def main() -> None:
    """Compares, checks what was found, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    number = options.documents
    began, staging = time.monotonic(), FakeDeltaStaging()
    index: Any = MadeIndex(number)
    corpus: Any = MadeCorpus(number)
    found = compare(
        a_record(), corpus, index, staging, SyncSpec(), IngestSpec(), SyncScope(),
        LogProgress(lambda _: None),
    ).difference  # fmt: skip
    rare = -(-number // RARE)
    assert (found.added, found.changed, found.removed) == (rare, rare, rare), found
    usage = resource.getrusage(resource.RUSAGE_SELF)
    most_mb = peak_mb()
    cpu_s = usage.ru_utime + usage.ru_stime
    print(
        f"{number:,} documents compared: {most_mb:.0f} MB at most (aim {AIM_MB}), {cpu_s:.0f} s of "
        f"CPU, {time.monotonic() - began:.0f} s; making them is about half of it",
        flush=True,
    )
    if options.write:
        name = f"compare, {number:,} documents"
        keep(SCALE, {name: figure([most_mb], "MB"), f"{name}, CPU": figure([cpu_s], "s")})


if __name__ == "__main__":
    main()
