"""Compares a loaded version with what was staged, before it becomes live.

Rankings of a sample are compared with exact search over the staged vectors; in a large corpus, over
some of its shards: whatever is nearer there than a ranking's last hit must be in the ranking. The
reading and comparing is done by items (`verify_items.py`), here or on workers; this process plans
them and judges what they found.

Memory: a sample's queries and hits of each collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from mrag_pipeline.domain.confidence import mean_above, shown_by_sample, size_to_show
from mrag_pipeline.domain.exact_search import Hits, merge
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.ports import CollectionSpec, OpenPool, Progress, Ranking, Staging
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest.verify_items import (
    Compared,
    LoadedIndex,
    Sampled,
    Verifier,
    among,
    compare_items,
    drawn_sample,
    no_hits,
    sample_items,
    sample_seed,
    sampled_whole,
)
from mrag_pipeline.stages.serial_pool import in_this_process
from mrag_pipeline.stages.version_collections import collections_of

CONFIDENCE = 0.99  # of what the sample's recall shows
SCORE_TOLERANCE = 1e-4  # two chunks so close in cosine may change places
MEND = "run `mrag repair --version {version}`, then the same command again"


@dataclass(frozen=True, slots=True)
class CollectionCheck:
    """What was found in one collection."""

    collection: str
    rows: int
    recall: float  # against exact search, on the sample
    queries: int = 0  # chunks of the sample whose ranking was compared
    recall_above: float = 0.0  # of all chunks, in every collection at once, at CONFIDENCE
    searched: float = 1.0  # share of the shards in which nearer chunks were looked for


@dataclass(frozen=True, slots=True)
class VerifiedRecall:
    """What the rankings of a sample show of a version: the lowest of all collections."""

    recall: float  # 1.0 if there are no checks
    recall_above: float
    queries: int
    confidence: float
    searched: float  # share of the shards in which nearer chunks were looked for

    @classmethod
    def of(cls, checks: Sequence[CollectionCheck]) -> VerifiedRecall:
        """The lowest figures of collections that have vectors."""
        compared = [check for check in checks if check.queries]
        return cls(
            lowest_recall(checks),
            min((check.recall_above for check in compared), default=0.0),
            min((check.queries for check in compared), default=0),
            CONFIDENCE,
            min((check.searched for check in compared), default=1.0),
        )

    def __str__(self) -> str:
        shown = shown_by_sample(self.recall_above, self.confidence, self.queries, self.searched)
        return f"{self.recall:.4f}; {shown}"


def lowest_recall(checks: Sequence[CollectionCheck]) -> float:
    """The lowest recall of any collection; 1.0 if there are no checks."""
    return min((check.recall for check in checks), default=1.0)


def verify(
    manifest: Manifest,
    staging: Staging,
    index: LoadedIndex,
    num_chunks: int,
    spec: IngestSpec,
    progress: Progress,
    open_pool: OpenPool = in_this_process,
    mend: str = MEND,
) -> list[CollectionCheck]:
    """Row counts, stored vectors and rankings of every collection are what was staged.

    Nothing is kept between runs: what an earlier one saw says nothing about the index now.

    Args:
        open_pool: where the items are done; the result is the same.
        mend: what to do about a row that is not as staged; `{version}` stands for the version.
    Raises: VerifyFailed, naming the collection and the figures.
    """
    collections = collections_of(manifest)
    shards = _with_chunks(manifest, staging)
    num_vectors = sum(collection.kind != "lexical" for collection in collections)
    # So that all collections' bounds hold at once.
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(1, num_vectors)
    size = spec.verify_sample
    if size and spec.verify_recall:
        size = max(size, size_to_show(spec.verify_recall, confidence))
    sample = drawn_sample(shards, size, sample_seed(manifest))
    samples = sample_items(manifest, sample, shards, num_chunks)
    compares = list(compare_items(manifest, sample, shards, spec))
    is_all = size >= sum(shards.values())
    num_searched = len(among(sample, shards, spec))
    _tell(progress, len(shards), num_searched)
    num_bytes = sum(item.num_bytes for item in samples) + sum(item.num_bytes for item in compares)
    progress.phase("verify", len(samples) + len(compares), "items")
    with closing(open_pool(Verifier(manifest, staging, index, spec), num_bytes)) as pool:
        parts: list[Sampled] = []
        # The largest first: a wide collection that begins last would be waited for.
        for part in pool.run(sorted(samples, key=lambda item: -item.num_bytes)):
            parts.append(part)
            progress.advance(1)
        parts.sort(key=lambda part: part.index)
        sampled = [
            sampled_whole(list(own)) for _, own in groupby(parts, lambda part: part.collection)
        ]
        for one in sampled:
            fix = mend.format(version=manifest.version)
            _judge(one, collections[one.collection], num_chunks, fix)
        queries = {one.collection: one.queries for one in sampled if one.queries is not None}
        exact = {number: no_hits(len(asked)) for number, asked in queries.items()}
        asked_for = [
            replace(item, queries=queries[item.collection])
            for item in compares
            if item.collection in queries
        ]
        answer: Compared
        for answer in pool.run(sorted(asked_for, key=lambda item: -item.num_bytes)):
            # The same in any order: equal scores are ordered by id.
            found = [exact[answer.collection], answer.hits]
            exact[answer.collection] = merge(found, spec.verify_k)
            progress.advance(1)
    checks = []
    for one in sampled:
        name = collections[one.collection].name
        if one.ranking is None:
            checks.append(CollectionCheck(name, one.rows, 1.0))
            continue
        recall, of_queries = _recall(one.ranking, exact[one.collection])
        above = recall if is_all else mean_above(of_queries, confidence)
        searched = num_searched / len(shards)
        checks.append(CollectionCheck(name, one.rows, recall, len(of_queries), above, searched))
        if recall < spec.min_recall:
            raise VerifyFailed(
                f"{name} finds {recall:.4f} of the exact top {spec.verify_k}",
                f"at least {spec.min_recall} (ingest.min_recall)",
                "use index type FLAT, raise its search effort, or lower ingest.min_recall",
            )
    progress.finish()
    return checks


def _judge(one: Sampled, collection: CollectionSpec, num_chunks: int, fix: str) -> None:
    if one.rows != num_chunks:
        raise VerifyFailed(
            f"{collection.name} holds {one.rows} rows",
            f"{num_chunks}, as the shards' receipts say",
            "run the same command again: the collection is dropped and loaded anew",
        )
    if one.wrong is None:
        return
    is_lexical = collection.kind == "lexical"
    raise VerifyFailed(
        f"chunk {one.wrong} is missing or has {'other words' if is_lexical else 'another vector'} "
        f"in {collection.name}",
        "the words of the staged title and text" if is_lexical else "the staged vector",
        fix,
    )


def _with_chunks(manifest: Manifest, staging: Staging) -> dict[int, int]:
    """The number of chunks of each shard that has some; all of them may be duplicates."""
    shards = (shard.index for shard in manifest.shards)
    receipts = staging.receipts(shards, manifest.fingerprint)
    return {
        receipt.shard: receipt.num_chunks
        for receipt in receipts
        if receipt is not None and receipt.num_chunks
    }


def _tell(progress: Progress, num_shards: int, num_searched: int) -> None:
    """Says what is not looked at, in a corpus that is too large for it."""
    if num_searched < num_shards:
        progress.note(
            f"verify searches {num_searched:,} of {num_shards:,} shards exactly; neighbours in "
            "the others are not looked for (ingest.verify_among)"
        )


def _recall(ranking: Ranking, exact: Hits) -> tuple[float, list[float]]:
    """Share of the nearest chunks that were found, among those that exact search looked at.

    Of all together, and of each query that has some.

    A chunk that is missing counts only if it is nearer than the ranking's last hit; one as near
    is as good.
    """
    num_wanted = num_found = 0
    of_queries: list[float] = []
    for row in range(len(exact.ids)):
        is_hit = exact.ids[row] >= 0
        is_found = is_hit & np.isin(exact.ids[row], ranking.ids[row])
        is_full = bool(np.all(ranking.ids[row] >= 0))
        floor = float(ranking.scores[row].min()) + SCORE_TOLERANCE if is_full else -np.inf
        wanted = int(np.sum(is_found | (is_hit & (exact.scores[row] > floor))))
        found = int(is_found.sum())
        num_wanted, num_found = num_wanted + wanted, num_found + found
        if wanted:
            of_queries.append(found / wanted)
    return (num_found / num_wanted if num_wanted else 1.0), of_queries
