"""Text, Markdown, reStructuredText and HTML: each file is one document.

BeautifulSoup extracts the text of HTML; markdown-it and docutils first turn Markdown and
reStructuredText into HTML. Nothing is fetched, included or run: docutils' file insertion and raw
directives are off.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import bs4
from bs4.dammit import EncodingDetector
from docutils.core import publish_parts
from docutils.utils import SystemMessage
from markdown_it import MarkdownIt

from mrag_pipeline.corpus.field_mapping import FieldMapping
from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.formats.sphinx_markup import accept_sphinx_markup
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice

_NOT_SHOWN = {"script", "style", "template", "noscript", "svg", "head"}
_BLOCKS = [
    "address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "figure", "footer",
    "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p",
    "pre", "section", "table", "tr", "ul",
]  # fmt: skip
_BEFORE = dict.fromkeys(_BLOCKS, "\n\n") | dict.fromkeys(["br", "li", "tr", "dd", "dt"], "\n")
_AFTER = dict.fromkeys(_BLOCKS, "\n") | dict.fromkeys(["td", "th"], "\t")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+)$", re.MULTILINE)
_RST_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,  # report nothing
    "halt_level": 5,
    "_disable_config": True,
    "embed_stylesheet": False,
    "line_length_limit": 10_000_000,
    "doctitle_xform": True,
    "smart_quotes": False,
    "syntax_highlight": "none",
}


class TextFiles:
    """One record for each file: its path, title and text."""

    name = "text"
    fixed_fields = True
    mapping = FieldMapping("id", "title", "text", ())

    def __init__(self, max_document_bytes: int) -> None:
        self._limit = max_document_bytes

    def whole(self, file: SourceFile) -> Slice:
        """The file."""
        return Slice(file.path, "file", 0, 1, file.num_bytes, file.stamp)

    def cut(self, tree: FileTree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:  # noqa: ARG002
        """The whole file: a document is not cut."""
        yield self.whole(file)

    def records(self, tree: FileTree, piece: Slice) -> Iterator[Record | DeadLetter]:
        """The file's one record."""
        file = tree.find(piece.path)
        with tree.stream(file) as stream:
            data = stream.read(self._limit + 1)
        if len(data) > self._limit:
            num_bytes = max(file.num_bytes, len(data))
            reason = f"the file has {num_bytes:,} bytes, expected at most {self._limit:,}"
            yield rejected(file.path, reason, data)
            return
        try:
            title, text = _extracted(data, file.suffix)
        except UnicodeDecodeError as error:
            yield rejected(file.path, f"not UTF-8: {error.reason} at byte {error.start}", data)
        except Exception as error:
            # Parsers of any input: whatever one of them raises, only this document is set aside.
            kind = type(error).__name__
            yield rejected(file.path, f"no text could be extracted: {kind}: {error}", data)
        else:
            title = title or PurePosixPath(file.path).stem
            yield Record({"id": file.path, "title": title, "text": text}, file.path)


def open_text(request: FileRequest) -> TextFiles:
    """Plain text or markup, by the file's suffix."""
    return TextFiles(request.spec.max_document_bytes)


def _extracted(data: bytes, suffix: str) -> tuple[str, str]:
    """A file's title, which may be empty, and its text."""
    if suffix in (".html", ".htm"):
        return _of_html(_decoded_html(data))
    text = data.decode("utf-8-sig").replace("\r\n", "\n")
    if suffix in (".md", ".markdown"):
        return _of_markdown(text)
    if suffix == ".rst":
        return _of_rst(text)
    return "", text


def _decoded_html(data: bytes) -> str:
    declared = EncodingDetector.find_declared_encoding(data, is_html=True)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if not declared or declared.lower() in ("utf-8", "utf8"):
            raise
        return data.decode(declared)


def _of_markdown(text: str) -> tuple[str, str]:
    front_matter = _FRONT_MATTER.match(text)
    named = _FRONT_TITLE.search(front_matter[0]) if front_matter else None
    html = (
        MarkdownIt("commonmark", {"html": True})
        .enable("table")
        .render(text[front_matter.end() :] if front_matter else text)
    )
    title, plain = _of_html(html)
    return (named[1].strip().strip("\"'") if named else title), plain


def _of_rst(text: str) -> tuple[str, str]:
    accept_sphinx_markup(text)
    try:
        parts = publish_parts(text, writer="html5", settings_overrides=_RST_SETTINGS)
    except SystemMessage:  # docutils gave up; the source itself is readable
        return "", text
    return _of_html(parts["html_body"])


def _of_html(html: str) -> tuple[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of texts that look like a URL or a file name
        soup = bs4.BeautifulSoup(html, "html.parser")
    named = soup.title.get_text(" ", strip=True) if soup.title else ""
    heading = soup.find(["h1", "h2", "h3"])
    title = named or (heading.get_text(" ", strip=True) if heading else "")
    return title, _laid_out(soup)


def _laid_out(soup: bs4.BeautifulSoup) -> str:
    """The text with each block on its own line and spaces as a browser shows them."""
    text = re.sub(r"[ \t]*\n[ \t]*", "\n", "".join(_shown(soup)))
    text = re.sub(r"[ \t]+", " ", re.sub(r"\n{3,}", "\n\n", text))
    return text.translate(_UNKEEP).strip()


# Stand for the spaces of preformatted text while the other spaces are folded.
_KEEP = str.maketrans({"\n": "\x01", " ": "\x02", "\t": "\x03"})
_UNKEEP = str.maketrans({"\x01": "\n", "\x02": " ", "\x03": "\t"})


def _shown(soup: bs4.BeautifulSoup) -> Iterator[str]:
    # With a stack: pages can nest deeper than Python's calls, and bs4's edits are quadratic.
    stack: list[object] = [soup]
    num_pre = 0
    while stack:
        item = stack.pop()
        if isinstance(item, _End):
            num_pre -= item.name == "pre"
            yield _AFTER.get(item.name, "")
        elif isinstance(item, bs4.Tag):
            if item.name in _NOT_SHOWN:
                continue
            num_pre += item.name == "pre"
            yield _BEFORE.get(item.name, "")
            stack += [_End(item.name), *reversed(item.contents)]
        elif not isinstance(item, bs4.element.PreformattedString):  # comments, declarations
            text = str(item)
            yield text.translate(_KEEP) if num_pre else re.sub(r"[ \t\r\n\f]+", " ", text)


@dataclass(frozen=True, slots=True)
class _End:
    name: str
