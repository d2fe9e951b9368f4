"""How many collections the database of a Milvus server has room for: what it allows, what is wise.

All collections of the database count, also those of other indexes and programs. Other databases of
the same server do not: not every user may list them.
"""

from __future__ import annotations

from collections.abc import Set

from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.settings.milvus import MilvusSpec

_NEAR = 0.8  # the share of the limit from which a plan warns


def check_room(existing: Set[str], wanted: Set[str], spec: MilvusSpec) -> tuple[str, ...]:
    """Refuses a version whose collections would be too many; one that is there already never is.

    Args:
        existing: the names of all collections of the database.
        wanted: the names of the version's collections.
    Returns: a warning if the version comes near the limit; else nothing.
    Raises: PlanRefused.
    """
    num_coming = len(wanted - existing)
    total = len(existing) + num_coming
    if not num_coming:
        return ()
    found = f"{len(existing)} collections are there, and {num_coming} would come"
    if total > spec.max_collections:
        raise PlanRefused(
            found,
            f"{spec.max_collections:,} at most (milvus.max_collections)",
            "drop old versions (`mrag retire --keep 0`), or raise the limit here and on the server",
        )
    if total > spec.advised_collections:
        raise PlanRefused(
            found,
            f"{spec.advised_collections:,} at most (milvus.advised_collections): with many "
            "hundreds a server loads slowly",
            "drop old versions (`mrag retire --keep 0`), use another server (milvus.uri), fewer "
            "encoder.layers or a model with fewer heads, or raise milvus.advised_collections if "
            "yours is fast enough with more",
        )
    limit, name = min(
        (spec.advised_collections, "milvus.advised_collections"),
        (spec.max_collections, "milvus.max_collections"),
    )
    if total < _NEAR * limit:
        return ()
    return (
        f"the server's database will have {total:,} of {limit:,} collections ({name}): "
        "drop old versions before it refuses one (`mrag retire`)",
    )
