"""The standard library's documentation as a corpus."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import CorpusNotFound, FingerprintMismatch
from mrag_pipeline.settings.corpus import CorpusSpec


def read(uri: str) -> list[Document]:
    reader = open_corpus(CorpusSpec(uri))
    items = list(reader.read(list(reader.slices(10**9))))
    documents = [item for item in items if isinstance(item, Document)]
    assert documents == items
    return documents


@pytest.fixture(scope="module")
def library() -> dict[str, Document]:
    return {document.id: document for document in read("pydoc:")}


def test_the_whole_library_is_read(library: dict[str, Document]) -> None:
    """About 300 modules: some thousand documents, none twice, none empty."""
    documents = read("pydoc:")
    assert len(documents) == len(library) > 4_000
    assert len({document.text for document in documents}) == len(documents)
    assert all(document.title == document.id and document.text.strip() for document in documents)


@pytest.mark.parametrize(
    "name",
    [
        "gzip",
        "gzip.open",
        "csv.reader",
        "csv.Sniffer",
        "json.loads",
        "json.JSONDecoder",
        "urllib.request.urlopen",
        "sqlite3.connect",
        "sqlite3.Connection.execute",
        "concurrent.futures.ThreadPoolExecutor",
        "xml.etree.ElementTree.parse",
        "os.path.join",
        "os.listdir",
        "builtins.print",
        "builtins.str.split",
        "random.randint",
        "threading.Lock",
        "collections.deque",
        "asyncio.Queue",
        "unittest.TestCase",
    ],
)
def test_names_are_under_their_public_module(library: dict[str, Document], name: str) -> None:
    """The public module that exports a name is its home, wherever it is implemented."""
    assert name in library


@pytest.mark.parametrize(
    "name",
    ["_csv.reader", "posix.listdir", "posixpath.join", "json.decoder.JSONDecoder", "this",
     "concurrent.futures.thread.ThreadPoolExecutor", "unittest.case.TestCase"],
)  # fmt: skip
def test_a_name_has_one_home(library: dict[str, Document], name: str) -> None:
    """Private modules and submodules of packages are not a second home."""
    assert name not in library


def test_a_document_is_signature_and_docstring() -> None:
    """With the kind and module as metadata."""
    document = {page.id: page for page in read("pydoc:gzip")}["gzip.open"]
    signature, docstring = document.text.split("\n\n", 1)
    assert signature == (
        "gzip.open(filename, mode='rb', compresslevel=9, encoding=None, errors=None, newline=None)"
    )
    assert docstring.startswith("Open a gzip-compressed file in binary or text mode.")
    assert document.metadata == {"module": "gzip", "kind": "function"}
    assert document.source == "pydoc:gzip.open"


def test_a_filter_takes_modules_with_their_submodules() -> None:
    """Slices are ordered by module; each module is one slice."""
    slices = list(open_corpus(CorpusSpec("pydoc:urllib, gzip")).slices(10**9))
    assert [piece.path for piece in slices] == [
        "gzip",
        "urllib.error",
        "urllib.parse",
        "urllib.request",
        "urllib.response",
        "urllib.robotparser",
    ]


@pytest.mark.parametrize("name", ["gzipp", "numpy", "_csv"])
def test_a_module_outside_the_public_library_is_refused(name: str) -> None:
    """Nothing but the standard library is imported."""
    with pytest.raises(CorpusNotFound, match="no such public module") as caught:
        list(open_corpus(CorpusSpec(f"pydoc:{name}")).slices(10**9))
    assert name != "gzipp" or "gzip" in caught.value.fix


def test_a_plan_made_by_another_python_is_refused() -> None:
    """Workers must run the Python that planned."""
    reader = open_corpus(CorpusSpec("pydoc:gzip"))
    with pytest.raises(FingerprintMismatch, match="documentation of Python"):
        list(reader.read([Slice("gzip", "modules", 0, 1, 1, "2.7.18-linux")]))


_DIGEST = """
import hashlib, sys
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.settings.corpus import CorpusSpec
reader = open_corpus(CorpusSpec("pydoc:"))
texts = repr([(one.id, one.text) for one in reader.read(list(reader.slices(1)))])
assert "hidden-in-the-environment" not in texts
assert sys.prefix not in texts
sys.exit(int(hashlib.sha256(texts.encode()).hexdigest()[:2], 16) % 200 + 1)
"""


def test_every_process_reads_the_same_texts_and_prints_nothing() -> None:
    """Texts hold no address, environment or path of the process; there is no warning."""
    codes = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-W", "default", "-c", _DIGEST],
            env=os.environ | {"PYTHONHASHSEED": seed, "SECRET": "hidden-in-the-environment"},
            capture_output=True,
            check=False,
            text=True,
        )
        assert (done.stdout, done.stderr) == ("", "")
        codes.append(done.returncode)
    assert codes[0] == codes[1] != 0
