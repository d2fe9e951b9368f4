"""A seed of each kind of file, and random changes of bytes: flipped, cut, repeated, recoded.

Each record's text has a mark of its own, by which it is found again.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support import document_files

MARK = re.compile(r"mark\d{4}x")
ROWS = [
    {"id": f"d{i}", "title": f"T{i}", "text": f"mark{i:04}x {i} é ☃", "n": i} for i in range(12)
]
_LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
_CSV = "id,title,text\n" + "".join(
    f'{i},T{i},"a ""mark{i:04}x"", {i}\nof lines"\n' for i in range(12)
)
_PLAIN_CSV = "id,title,text\n" + "".join(f"{i},T{i},mark{i:04}x and more\n" for i in range(12))

TEXTS: dict[str, list[str]] = {
    ".jsonl": [_LINES, _LINES.replace("\n", "\r\n"), _LINES.replace("}\n", "},\n")],
    ".json": [
        json.dumps(ROWS, indent=1),
        json.dumps({"data": ROWS}),
        _LINES,
        json.dumps(ROWS, ensure_ascii=False),
        "".join(json.dumps(row, indent=2) for row in ROWS),
    ],
    ".csv": [
        _CSV,
        "sep=;\n" + _CSV.replace(",", ";"),
        "# note\n" + _CSV,
        _PLAIN_CSV,
        _PLAIN_CSV.replace("\n", "\r\n"),
        _PLAIN_CSV.replace("\n", "\r"),
    ],
    ".tsv": [_CSV.replace(",", "\t"), _PLAIN_CSV.replace(",", "\t")],
    ".txt": ["A text.\n\nOf paragraphs, é ☃.\n" * 5],
    ".md": [
        "---\ntitle: >-\n  A\n  title\ntags: [a, b]\n---\n# H\n\nA `List<T>` and <b>b</b>.\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n- x\n  - y\n\n> q\n",
        "+++\ntitle = 'x'\n+++\n*a* **b** _c_ ~~d~~ <Integer> <!-- c --> &amp;\n",
    ],
    ".rst": [
        "Head\n====\n\n:mod:`x` and ``code`` and *it* `link <http://x>`_.\n\n.. note:: n\n\n"
        "   body\n\n.. function:: f(x)\n\n   doc\n\n+--+--+\n|a |b |\n+--+--+\n",
    ],
    ".html": [
        "<!doctype html><html><head><meta charset=utf-8><title>T</title></head><body><nav><a>m</a>"
        "</nav><main><h1>H</h1><p>te<b>x</b>t<table><tr><td>1<td>2</table><pre> a\n b</pre></main>",
        "<p>one<p>two<ul><li>a<li>b</ul><script>x</script><!-- c --><svg><title>t</title></svg>",
    ],
}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "cp932"]
_MARKUP = [b"<", b">", b"&", b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b"\x00", b"\xff", b"\n",
           b"`", b"*", b"_", b"|", b"---\n", b"\xef\xbb\xbf", b"<div>", b"NaN", b"#",
           b"\r", b",", b";", b"\t", b":", b"\x1e"]  # fmt: skip


def _compressed(chance: random.Random) -> bytes:
    return gzip.compress(_encoded(chance, ".jsonl"), mtime=0)


def _parquet(chance: random.Random) -> bytes:
    nested = {"tags": [["a", "b"], []] * 6, "m": [{"k": 1}, None] * 6}
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    written = io.BytesIO()
    compression = chance.choice(["none", "snappy", "zstd"])
    pq.write_table(
        pa.table({**columns, **nested}), written, row_group_size=5, compression=compression
    )
    return written.getvalue()


def _arrow(chance: random.Random) -> bytes:
    table = pq.read_table(io.BytesIO(_parquet(chance)))
    written = io.BytesIO()
    write = chance.choice([pa.ipc.new_file, pa.ipc.new_stream])
    options = pa.ipc.IpcWriteOptions(compression=chance.choice([None, "zstd", "lz4"]))
    with write(written, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=5)
    return written.getvalue()


def _encoded(chance: random.Random, suffix: str) -> bytes:
    return chance.choice(TEXTS[suffix]).encode(chance.choice(ENCODINGS), "replace")


def _archive(made: Callable[[], bytes]) -> Callable[[random.Random], bytes]:
    """Half of them with one file within changed: a change of the archive is found at once."""

    def changed(chance: random.Random) -> bytes:
        if chance.random() < 0.5:
            return made()
        with zipfile.ZipFile(io.BytesIO(made())) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        name = chance.choice(sorted(files))
        files[name] = _changed(chance, files[name])
        return document_files.zipped(files)

    return changed


@cache
def _pdf() -> bytes:
    return document_files.pdf(["First.", document_files.MARKED], {"1 Start": 0, "1.1 Limits": 1})


# Files of parts, by what makes them.
DOCUMENTS: dict[str, Callable[[random.Random], bytes]] = {
    ".pdf": lambda chance: _pdf(),
    ".docx": _archive(cache(document_files.word)),
    ".pptx": _archive(cache(document_files.presentation)),
    ".xlsx": _archive(cache(document_files.workbook)),
    ".epub": _archive(cache(document_files.book)),
    ".eml": lambda chance: document_files.message(),
    ".mbox": lambda chance: document_files.mailbox(),
    ".ipynb": lambda chance: document_files.notebook(),
}
_PACKED = {".jsonl.gz": _compressed, ".parquet": _parquet, ".arrow": _arrow, **DOCUMENTS}
SUFFIXES = (*TEXTS, *_PACKED)


def mutated(chance: random.Random, suffix: str) -> bytes:
    """A seed of the suffix in some encoding, changed at random some times."""
    packed = _PACKED.get(suffix)
    return _changed(chance, packed(chance) if packed else _encoded(chance, suffix))


def _changed(chance: random.Random, seed: bytes) -> bytes:
    data = bytearray(seed)
    for _ in range(chance.choice([0, 1, 1, 2, 4, 8, 30])):
        position = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0 and position < len(data):
            data[position] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[position : position + chance.choice([1, 2, 10, 200])]
        elif kind == 2:
            data[position:position] = data[position : position + chance.randrange(1, 60)] * (
                chance.choice([1, 2, 50, 400])
            )
        elif kind == 3:
            data[position:position] = chance.choice(_MARKUP) * chance.choice([1, 1, 2, 300])
        elif kind == 4:
            data[position:] = b""
        else:
            data[position:position] = chance.randbytes(chance.randrange(1, 9))
        if not data:
            break
    return bytes(data[:400_000])
