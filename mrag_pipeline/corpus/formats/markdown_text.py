"""The title, the text and the front matter of a Markdown file.

CommonMark reads `Map<String, List<Integer>>` as a tag in a text, and a page would not show it. Here
a tag is one only if HTML has it and it is written as one; everything else is text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from mrag_pipeline.corpus.formats.front_matter import split_front_matter
from mrag_pipeline.corpus.formats.page_text import page_text

_ELEMENTS = frozenset(
    """a abbr acronym address area article aside audio b base bdi bdo big blink blockquote body br
    button canvas caption center cite code col colgroup data datalist dd del details dfn dialog dir
    div dl dt em embed fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6
    head header hgroup hr html i iframe img input ins kbd label legend li link main map mark marquee
    math menu meta meter nav nobr noframes noscript object ol optgroup option output p param
    picture pre progress q rp rt ruby s samp script search section select slot small source span
    strike strong style sub summary sup svg table tbody td template textarea tfoot th thead time
    title tr track tt u ul var video wbr""".split()  # noqa: SIM905
)
_NEVER_CLOSED = frozenset(
    """area base br col embed frame hr img input link meta param source track wbr
    p li dd dt tr td th option""".split()  # noqa: SIM905
)
_TAG = re.compile(r"<(/?)([a-zA-Z][\w.:-]*)([^<>]*)>")
_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def markdown_text(source: str) -> tuple[str, str, dict[str, object]]:
    """The title ("" if it has none), the text, and the other fields of the front matter."""
    front = split_front_matter(source)
    fields = dict(front.fields)
    named = fields.get("title")
    if isinstance(named, str | int | float) and str(named).strip():
        del fields["title"]
    else:
        named = ""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(front.text)
    for token in tokens:
        if token.type == "html_block":
            token.content = _TAG.sub(_tag_or_text, token.content)
        elif token.children:
            _mend_tags(token.children)
    heading, text = page_text(parser.renderer.render(tokens, parser.options, {}), whole=True)
    return " ".join(str(named).split()) or heading, text, fields


def _mend_tags(tokens: Sequence[Token]) -> None:
    """Turns what only looks like a tag into text."""
    closed: set[str] = set()
    # From the end, so that a tag knows whether it is closed below it.
    for position in range(len(tokens) - 1, -1, -1):
        token = tokens[position]
        tag = _TAG.fullmatch(token.content) if token.type == "html_inline" else None
        if tag is None:
            continue
        is_end, name, rest = tag[1], tag[2].lower(), tag[3].strip()
        before = tokens[position - 1].content if position else ""
        if _is_text(tag):
            token.type = "text"
        elif is_end:
            closed.add(name)
        elif name not in closed and name not in _NEVER_CLOSED and "=" not in rest:
            # `Vec<i>` and `a <b and c> d`: nothing closes it, and it stands where no tag would.
            is_glued = before[-1:].isalnum()
            if (is_glued or rest) and not rest.endswith("/"):
                token.type = "text"


def _tag_or_text(tag: re.Match[str]) -> str:
    return tag[0].translate(_ESCAPED) if _is_text(tag) else tag[0]


def _is_text(tag: re.Match[str]) -> bool:
    """Whether HTML has no such element; names with a hyphen are elements of the page's own."""
    name = tag[2].lower()
    return name not in _ELEMENTS and "-" not in name and "=" not in tag[3]
