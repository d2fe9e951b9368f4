"""The receipts of a plan of which every shard has to be staged."""

from __future__ import annotations

from collections.abc import Iterator

from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import Staging


def every_receipt(manifest: Manifest, staging: Staging) -> Iterator[Receipt]:
    """The receipt of each shard of the plan, in order.

    Raises: StagingError if a shard is not staged.
    """
    shards = [shard.index for shard in manifest.shards]
    for shard, receipt in zip(shards, staging.receipts(shards, manifest.fingerprint), strict=True):
        if receipt is None:
            raise not_staged(shard, staging)
        yield receipt


def not_staged(shard: int, staging: Staging) -> StagingError:
    """A shard of the plan has no receipt."""
    return StagingError(
        f"shard {shard} is not staged in {staging.describe()}",
        "a receipt for every shard of the plan",
        "run the same command again: it embeds what is missing",
    )
