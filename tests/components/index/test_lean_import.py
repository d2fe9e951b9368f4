"""pymilvus without pandas and scipy, until the process itself imports them."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from mrag_pipeline.index.milvus.lean_import import import_pymilvus
from mrag_pipeline.quick_imports import own_process
own_process()
import_pymilvus()
import mrag_pipeline.index.milvus.store
from pymilvus.client.utils import SciPyHelper
from pymilvus.orm.schema import is_list_like, is_valid_insert_data
from pymilvus import DataType, MilvusClient
schema = MilvusClient.create_schema()
schema.add_field("id", DataType.INT64, is_primary=True)
schema.add_field("text", DataType.VARCHAR, max_length=9, default_value="none")
schema.add_field("share", DataType.FLOAT, default_value=0.5)
print(*(field.default_value.WhichOneof("data") for field in schema.fields[1:]))
print(SciPyHelper.is_scipy_sparse([1]), is_valid_insert_data(3))
print(sorted({"pandas", "scipy"} & set(sys.modules)))
import pandas
from scipy.sparse import csr_matrix
print(is_valid_insert_data(pandas.DataFrame({"a": [1]})), is_list_like([1]), is_list_like(1))
print(SciPyHelper.is_scipy_sparse(csr_matrix([[1, 0]])))
"""


def test_a_users_program_gets_the_plain_import() -> None:
    """Another of its threads may import pandas meanwhile; its garbage is not frozen."""
    code = (
        "import gc, sys\n"
        "from mrag_pipeline.index.milvus.lean_import import import_pymilvus\n"
        "import_pymilvus()\n"
        "print('pandas' in sys.modules, gc.get_freeze_count())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["True", "0"]


def test_pymilvus_imports_neither_and_knows_their_objects_later() -> None:
    """In a process of its own, since this one may have imported them."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines() == [
        "string_data float_data",
        "False False",
        "[]",
        "True True False",
        "True",
    ]
