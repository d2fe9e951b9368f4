"""The seams: what the stages need, said without naming a library that does it.

Every port has a contract suite in `tests/contracts/` that its fake and the real thing pass.
Arrow tables may cross a port; nothing else of a library may.
"""

from mrag_pipeline.ports.corpus import CorpusReader
from mrag_pipeline.ports.encoder import Encoder, Segmenter
from mrag_pipeline.ports.index import (
    ChunkRow,
    CollectionKind,
    CollectionSpec,
    Mark,
    Ranking,
    SearchRequest,
    VectorIndex,
)
from mrag_pipeline.ports.staging import (
    BulkFile,
    BulkFiles,
    DeltaStaging,
    DocumentRow,
    Export,
    ShardOutput,
    Staging,
)
from mrag_pipeline.ports.work import Progress, WorkerPool

__all__ = [
    "BulkFile",
    "BulkFiles",
    "ChunkRow",
    "CollectionKind",
    "CollectionSpec",
    "CorpusReader",
    "DeltaStaging",
    "DocumentRow",
    "Encoder",
    "Export",
    "Mark",
    "Progress",
    "Ranking",
    "SearchRequest",
    "Segmenter",
    "ShardOutput",
    "Staging",
    "VectorIndex",
    "WorkerPool",
]
