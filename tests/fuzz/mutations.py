"""A seed of each kind of file, and random changes of bytes: flipped, cut, repeated, recoded."""

from __future__ import annotations

import json
import random

ROWS = [{"id": f"d{i}", "title": f"T{i}", "text": f"text {i} é ☃", "n": i} for i in range(12)]
_LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
_CSV = "id,title,text\n" + "".join(f'{i},T{i},"a ""text"", {i}\nof lines"\n' for i in range(12))

SEEDS: dict[str, list[str]] = {
    ".jsonl": [_LINES],
    ".json": [json.dumps(ROWS, indent=1), json.dumps({"data": ROWS}), _LINES],
    ".csv": [_CSV, "sep=;\n" + _CSV.replace(",", ";"), "# note\n" + _CSV],
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
           b"`", b"*", b"_", b"|", b"---\n", b"\xef\xbb\xbf", b"<div>", b"NaN", b"#"]  # fmt: skip


def mutated(chance: random.Random, suffix: str) -> bytes:
    """A seed of the suffix in some encoding, changed at random some times."""
    text = chance.choice(SEEDS[suffix])
    data = bytearray(text.encode(chance.choice(ENCODINGS), "replace"))
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
