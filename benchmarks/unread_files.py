"""What a second comparison of an unchanged corpus costs: `python benchmarks/unread_files.py`.

    python benchmarks/unread_files.py [--files 1000] [--documents 100] [--write]

Writes JSON Lines files of a thousand characters a document, and compares them with a version that
is equal, in this process: the first time, when every file is read; again, when none is; and after
one file has changed. Counts the seconds and the bytes that this process reads from files, with the
cache of staging and its own temporary files among them. The index is made up: its rows cost as much
each time, and are measured apart. `--write` adds to `benchmarks/figures/unread_files.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from figure import figure, keep

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import Document, document_fingerprint
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.ports import Mark
from mrag_pipeline.ports.index.rows import ID_END
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.settings.sync import SyncSpec
from mrag_pipeline.stages.sync.compare import SyncComparison, SyncScope, compare
from mrag_pipeline.staging.read_cache_files import ReadCacheFolder
from tests.support.fake_delta_staging import FakeDeltaStaging
from tests.support.index_rows import a_record

FIGURES = Path(__file__).parent / "figures" / "unread_files.json"
BLOCK = 4_096
TEXT = "the harbour and its lights, seen from the hill behind the town at night; " * 14


@dataclass(frozen=True)
class KnownIndex:
    """The marks of these documents, one chunk each, whose ids are spread as hashes are."""

    documents: Sequence[tuple[str, str]]  # id, fingerprint

    def count(self, _collection: str) -> int:
        """How many there are."""
        return len(self.documents)

    def marks(self, _collection: str, start: int, stop: int) -> Iterator[Sequence[Mark]]:
        """Those of a range of ids, in blocks."""
        step = ID_END // len(self.documents)
        numbers = range(-(-start // step), min(-(-stop // step), len(self.documents)))
        for first in range(0, len(numbers), BLOCK):
            block = numbers[first : first + BLOCK]
            yield [Mark(number * step, *self.documents[number]) for number in block]

    def look_up(
        self, _collection: str, ids: Sequence[int], _likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, Any]]:
        """By their ids."""
        step = ID_END // len(self.documents)
        return {one: self.documents[one // step][0] for one in ids}, {}

    def marks_of(self, _collection: str, document_ids: Sequence[str]) -> list[Mark]:
        """By their ids."""
        step, wanted = ID_END // len(self.documents), set(document_ids)
        held = enumerate(self.documents)
        return [Mark(number * step, *one) for number, one in held if one[0] in wanted]


@dataclass(frozen=True)
class Measured:
    """One comparison."""

    compared: SyncComparison
    seconds: float
    cpu_s: float
    read_mb: float


def write_files(folder: Path, num_files: int, num_documents: int) -> None:
    """So many files of so many documents each."""
    for file in range(num_files):
        path = folder / f"{file % 100:02d}" / f"{file:06d}.jsonl"
        path.parent.mkdir(exist_ok=True)
        rows = ({"id": f"{file}-{n}", "text": f"{file} {n} {TEXT}"} for n in range(num_documents))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def measured(corpus: Path, staging: Path, index: Any) -> Measured:
    """Compares once, as a sync does."""
    spec = CorpusSpec(str(corpus), format="jsonl")
    cache = ReadCacheFolder(StagingSpec(uri=str(staging)), "docs", {})
    began, cpu, read = time.monotonic(), _cpu_s(), _read_bytes()
    compared = compare(
        a_record(), open_corpus(spec, {}), index, FakeDeltaStaging(), SyncSpec(), IngestSpec(),
        SyncScope(), LogProgress(lambda _: None), cache=cache,
    )  # fmt: skip
    seconds, cpu = time.monotonic() - began, _cpu_s() - cpu
    return Measured(compared, seconds, cpu, (_read_bytes() - read) / 1e6)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _read_bytes() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"])


def main() -> None:
    """Compares, checks what was found, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--documents", type=int, default=100, help="in each file")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="unread-") as scratch:
        corpus, staging = Path(scratch, "corpus"), Path(scratch, "staging")
        corpus.mkdir()
        write_files(corpus, options.files, options.documents)
        num_bytes = sum(path.stat().st_size for path in corpus.rglob("*.jsonl"))
        time.sleep(2.5)  # a file that has just changed is not kept
        reader = open_corpus(CorpusSpec(str(corpus), format="jsonl"), {})
        found = (one for piece in reader.slices(1 << 24) for one in reader.read([piece]))
        index: Any = KnownIndex(
            [(one.id, document_fingerprint(one)) for one in found if isinstance(one, Document)]
        )
        rounds = {}
        for name in ("first", "unchanged", "one file changed"):
            if name == "one file changed":
                file = corpus / "00" / "000000.jsonl"
                file.write_text(file.read_text().replace("town", "village"))
            rounds[name] = one = measured(corpus, staging, index)
            print(
                f"{name}: {one.compared.unread_files:,} of {one.compared.files:,} files not read, "
                f"{one.seconds:.2f} s, {one.cpu_s:.2f} s of CPU, {one.read_mb:.1f} MB read of a "
                f"corpus of {num_bytes / 1e6:.0f} MB",
                flush=True,
            )
            figures[f"{name}, time"] = figure([one.seconds], "s")
            figures[f"{name}, CPU"] = figure([one.cpu_s], "s")
            figures[f"{name}, read"] = figure([one.read_mb], "MB")
        began = time.monotonic()
        for block in index.marks("docs", 0, ID_END):
            assert block
        cache_bytes = sum(p.stat().st_size for p in staging.rglob("*") if p.is_file())
        print(
            f"the cache: {cache_bytes / 1e6:.1f} MB; made index: {time.monotonic() - began:.2f} s"
        )
        figures["corpus"] = figure([num_bytes / 1e6], "MB")
        figures["cache"] = figure([cache_bytes / 1e6], "MB")
    assert rounds["first"].compared.difference.is_empty
    assert rounds["unchanged"].compared.unread_files == options.files
    last = rounds["one file changed"].compared
    assert last.unread_files == options.files - 1
    assert last.difference.changed == options.documents
    if options.write:
        size = f"{options.files:,} files, {options.files * options.documents:,} documents"
        keep(FIGURES, {f"{size}: {name}": value for name, value in figures.items()})


if __name__ == "__main__":
    main()
