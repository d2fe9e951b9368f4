"""The title and the text of an HTML page, as a browser shows them, without its menus.

Lexbor (selectolax) parses by the HTML standard: omitted end tags, misplaced elements and broken
markup become what browsers make of them. One walk over the tree, linear in the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode

_NOT_SHOWN = frozenset(
    """script style template noscript noembed svg head iframe canvas audio video select datalist
    rp annotation annotation-xml""".split()  # noqa: SIM905
)
_PARAGRAPHS = frozenset(
    """address article aside blockquote body center dir dl details dialog div fieldset figcaption
    figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr legend main menu nav ol p pre search
    section summary table tbody tfoot thead ul caption listing plaintext xmp""".split()  # noqa: SIM905
)
_BREAKS = dict.fromkeys(_PARAGRAPHS, 2) | dict.fromkeys(("li", "tr", "dd", "dt"), 1)
_CELLS = frozenset(("td", "th"))
_KEPT_AS_TYPED = frozenset(("pre", "textarea", "listing", "plaintext", "xmp"))
_HEADINGS = frozenset(("h1", "h2", "h3"))
_SECTIONS = frozenset(("article", "main", "section"))  # their headers and footers are content
_MENU_ROLES = frozenset(("navigation", "menu", "menubar", "search", "contentinfo"))
_MENU_NAME = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navigation|menu|menubar|submenu|sidebar|breadcrumbs?|footer|"
    r"pagination|pager|toolbar|skip|skiplinks?)(?:$|[\s_-])",
    re.IGNORECASE,
)
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\r\n\f]+")
_NOSCRIPT = re.compile(r"<noscript[\s>]", re.IGNORECASE)
_NOSCRIPT_END = re.compile(r"</noscript\s*>", re.IGNORECASE)
_MENU_LINKS = 3  # at least; and of their part's characters at least:
_MENU_SHARE = 0.8


def page_text(html: str, whole: bool = False) -> tuple[str, str]:
    """A page's title, which may be empty, and its text, each block on lines of its own.

    Left out is what a browser does not show, and what is no part of the text: `nav`, the page's
    own footer, and parts named or made as menus. If there is one `main`, it alone is the text. A
    page that would be left without any text keeps all.

    Args:
        whole: leave out nothing but what is not shown; for HTML that was made from other markup.
    """
    parsed = LexborHTMLParser(_without_noscript(html))
    page = _Walk(whole).of(parsed.root)
    text = page.main or page.text
    if not text and page.has_left_out:
        text = _Walk(whole=True).of(parsed.root).text
    return page.title, text


def _without_noscript(html: str) -> str:
    """The page without what browsers skip as they run scripts; the parser runs none."""
    kept, position = [], 0
    for start in _NOSCRIPT.finditer(html):
        end = _NOSCRIPT_END.search(html, start.end()) if start.start() >= position else None
        if end is None:
            if start.start() >= position:
                break
            continue
        kept.append(html[position : start.start()])
        position = end.end()
    return "".join([*kept, html[position:]]) if kept else html


@dataclass(slots=True)
class _Open:
    """An element that the walk is inside of."""

    tag: str
    num_parts: int = 0  # of the layout when it began, as are the next three
    num_chars: int = 0
    num_link_chars: int = 0
    num_links: int = 0
    is_menu: bool = False  # left out once the walk leaves it
    may_be_menu: bool = False  # then too, if it is mostly links


@dataclass(slots=True)
class _Page:
    title: str = ""
    text: str = ""
    main: str = ""
    has_left_out: bool = False


@dataclass(slots=True)
class _Layout:
    """Text laid out as it comes: spaces folded, blocks apart."""

    parts: list[str] = field(default_factory=list)
    num_chars: int = 0
    _breaks: int = 0  # line ends due before the next text
    _has_space: bool = False  # a space is due before the next text

    def end_line(self, breaks: int) -> None:
        self._breaks, self._has_space = max(self._breaks, breaks), False

    def break_line(self) -> None:
        self._breaks, self._has_space = min(2, self._breaks + 1), False

    def space(self) -> None:
        self._has_space = True

    def folded(self, text: str) -> None:
        words = _SPACES.sub(" ", text)
        if words.startswith(" "):
            self._has_space, words = True, words[1:]
        if words:
            ends_in_space = words.endswith(" ")
            self._add(words.rstrip(" ") if ends_in_space else words)
            self._has_space = ends_in_space

    def typed(self, text: str) -> None:
        if text:
            self._add(text)

    def _add(self, text: str) -> None:
        if self.parts and self._breaks:
            self.parts[-1] = self.parts[-1].rstrip(" \t\n")
            self.parts.append("\n" * self._breaks)
        elif self.parts and self._has_space:
            self.parts.append(" ")
        self._breaks, self._has_space = 0, False
        self.parts.append(text)
        self.num_chars += len(text)


class _Walk:
    """One walk over a tree, without recursion: pages nest deeper than Python's calls."""

    def __init__(self, whole: bool) -> None:
        self._whole = whole
        self._layout = _Layout()
        self._opened: list[_Open] = []
        self._page = _Page()
        self._heading = self._main_heading = ""
        self._mains: list[str] = []
        self._num_typed = self._num_sections = 0
        self._num_links = self._num_link_chars = self._num_in_link = 0

    def of(self, root: LexborNode | None) -> _Page:
        """What the page has."""
        node = root
        while node is not None:
            below = self._enter(node)
            if below is not None:
                node = below
                continue
            following = node.next
            while following is None and self._opened:
                self._leave(self._opened.pop())
                node = node.parent
                assert node is not None
                following = node.next
            node = following if self._opened else None
        page = self._page
        page.text = _joined(self._layout.parts)
        if len(self._mains) == 1 and not self._whole:
            page.main = self._mains[0]
        page.title = page.title or (page.main and self._main_heading) or self._heading
        return page

    def _enter(self, node: LexborNode) -> LexborNode | None:
        """Takes in a node; returns its first child if the walk goes there."""
        tag = node.tag or ""
        layout = self._layout
        if tag == "-text":
            before = layout.num_chars
            text = node.text_content or ""
            if self._num_typed:
                layout.typed(text)
            else:
                layout.folded(text)
            if self._num_in_link:
                self._num_link_chars += layout.num_chars - before
            return None
        if tag == "title":
            self._page.title = self._page.title or _folded(node.text())
            return None
        if tag == "head":
            if node.first_child is not None:
                self._opened.append(_Open(tag))
            return node.first_child
        if tag == "br":
            layout.break_line()
            return None
        attributes = node.attributes
        if not _is_shown(tag, attributes) or (self._opened and self._opened[-1].tag == "head"):
            return None
        breaks = _BREAKS.get(tag)
        if breaks:
            layout.end_line(breaks)
        elif tag in _CELLS:
            layout.space()
        below = node.first_child
        if below is not None:
            self._begin(tag, attributes, node)
        return below

    def _begin(self, tag: str, attributes: Mapping[str, str | None], node: LexborNode) -> None:
        opened = _Open(
            tag,
            len(self._layout.parts),
            self._layout.num_chars,
            self._num_link_chars,
            self._num_links,
        )
        if tag in _BREAKS and not self._whole:
            opened.is_menu, opened.may_be_menu = _menu(tag, attributes, self._num_sections)
        if tag == "a":
            self._num_in_link += 1
            self._num_links += 1
        elif tag in _KEPT_AS_TYPED:
            self._num_typed += 1
        elif tag in _SECTIONS:
            self._num_sections += 1
        elif tag in _HEADINGS:
            self._heading = self._heading or _folded(node.text())
            if not self._main_heading and any(other.tag == "main" for other in self._opened):
                self._main_heading = _folded(node.text())
        self._opened.append(opened)

    def _leave(self, left: _Open) -> None:
        tag, layout = left.tag, self._layout
        if tag == "a":
            self._num_in_link -= 1
        elif tag in _KEPT_AS_TYPED:
            self._num_typed -= 1
        elif tag in _SECTIONS:
            self._num_sections -= 1
        breaks = _BREAKS.get(tag)
        if breaks:
            layout.end_line(breaks)
        elif tag in _CELLS:
            layout.space()
        is_menu = left.is_menu or (
            left.may_be_menu
            and self._num_links - left.num_links >= _MENU_LINKS
            and self._num_link_chars - left.num_link_chars
            >= _MENU_SHARE * (layout.num_chars - left.num_chars)
        )
        if is_menu:
            self._page.has_left_out = True
            del layout.parts[left.num_parts :]
            layout.num_chars, self._num_link_chars = left.num_chars, left.num_link_chars
            self._num_links = left.num_links
        elif tag == "main":
            self._mains.append(_joined(layout.parts[left.num_parts :]))


def _is_shown(tag: str, attributes: Mapping[str, str | None]) -> bool:
    if tag in _NOT_SHOWN or tag.startswith(("-", "!")):
        return False
    if not attributes:
        return tag != "dialog"
    if "hidden" in attributes and attributes["hidden"] != "until-found":
        return False
    if tag == "dialog" and "open" not in attributes:
        return False
    style = attributes.get("style")
    return not style or not _HIDDEN_STYLE.search(style)


def _menu(tag: str, attributes: Mapping[str, str | None], num_sections: int) -> tuple[bool, bool]:
    """Whether an element is left out, and whether it is if links make up most of it."""
    role = (attributes.get("role") or "").lower()
    if tag in ("nav", "search") or role in _MENU_ROLES:
        return True, False
    if tag == "footer" and not num_sections:
        return True, False
    name = f"{attributes.get('class') or ''} {attributes.get('id') or ''}"
    is_named = bool(_MENU_NAME.search(name))
    return False, is_named or tag == "menu" or (tag in ("header", "aside") and not num_sections)


def _folded(text: str) -> str:
    return _SPACES.sub(" ", text).strip()


def _joined(parts: list[str]) -> str:
    return "".join(parts).strip()
