"""The seams: what the stages need, without naming a library that provides it.

Every port has a contract suite in `tests/contracts/` that its fake and the real thing pass.
Arrow tables may cross a port; nothing else of a library may.
"""

from mrag_pipeline.ports.corpus import (
    ChangesReader,
    CorpusReader,
    ListedSlice,
    ListingReader,
    Unchanged,
    UnreadFile,
)
from mrag_pipeline.ports.encoder import Encoder, Segmenter
from mrag_pipeline.ports.index.capabilities import NO_LIMIT, HasCapabilities, IndexCapabilities
from mrag_pipeline.ports.index.collection_spec import CollectionKind, CollectionSpec
from mrag_pipeline.ports.index.collections import Collections
from mrag_pipeline.ports.index.combinations import (
    AuditedVersion,
    BrowsedIndex,
    ComparableVersions,
    QueryIndex,
    ReadableVersion,
    ServedIndex,
    VectorIndex,
    VersionBuilds,
    VersionRows,
)
from mrag_pipeline.ports.index.ranges import RangedLoads
from mrag_pipeline.ports.index.rows import ChunkLookup, ChunkRow, Mark, RowChanges, Rows
from mrag_pipeline.ports.index.searches import (
    AnySearchRequest,
    Ranking,
    Searches,
    SearchRequest,
    TextSearchRequest,
)
from mrag_pipeline.ports.index.versions import Versions
from mrag_pipeline.ports.read_cache import DOCUMENT, FilesRead, ReadCache, SliceRead
from mrag_pipeline.ports.rerank import Reranker, RerankRequest
from mrag_pipeline.ports.staged_tables import StagedTable, StagedTables, as_table
from mrag_pipeline.ports.staging import (
    BulkFile,
    BulkFiles,
    DeltaStaging,
    DocumentRow,
    Export,
    ShardOutput,
    Staging,
)
from mrag_pipeline.ports.work import OpenPool, Progress, Work, WorkerPool

__all__ = [
    "DOCUMENT",
    "NO_LIMIT",
    "AnySearchRequest",
    "AuditedVersion",
    "BrowsedIndex",
    "BulkFile",
    "BulkFiles",
    "ChangesReader",
    "ChunkLookup",
    "ChunkRow",
    "CollectionKind",
    "CollectionSpec",
    "Collections",
    "ComparableVersions",
    "CorpusReader",
    "DeltaStaging",
    "DocumentRow",
    "Encoder",
    "Export",
    "FilesRead",
    "HasCapabilities",
    "IndexCapabilities",
    "ListedSlice",
    "ListingReader",
    "Mark",
    "OpenPool",
    "Progress",
    "QueryIndex",
    "RangedLoads",
    "Ranking",
    "ReadCache",
    "ReadableVersion",
    "RerankRequest",
    "Reranker",
    "RowChanges",
    "Rows",
    "SearchRequest",
    "Searches",
    "Segmenter",
    "ServedIndex",
    "ShardOutput",
    "SliceRead",
    "StagedTable",
    "StagedTables",
    "Staging",
    "TextSearchRequest",
    "Unchanged",
    "UnreadFile",
    "VectorIndex",
    "VersionBuilds",
    "VersionRows",
    "Versions",
    "Work",
    "WorkerPool",
    "as_table",
]
