"""From the bytes of a text file to its characters.

In this order: a byte-order mark; what the settings name; the shape of UTF-16 and UTF-32 without a
mark; what a page declares of itself; UTF-8; and for what is none of these the detector of Firefox
(chardetng). Labels mean what the WHATWG Encoding Standard says: `iso-8859-1` is windows-1252.
"""

from __future__ import annotations

import codecs
import re

import chardetng_py
import webencodings

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The standard's encodings hold more than Python's of the same name.
_WIDER = {
    "shift_jis": "cp932",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5hkscs",
    "euc-kr": "cp949",
    "iso-2022-jp": "iso2022_jp_ext",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}
_DECLARATION_BYTES = 16_384  # of a page are searched for its charset
_SHAPE_BYTES = 1 << 16  # of a file show whether it is UTF-16
_XML_ENCODING = re.compile(rb"""^\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([\w.:-]{1,40})""")
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_META = re.compile(rb"<meta[\s/]([^>]{0,1000})", re.IGNORECASE)
_CHARSET = re.compile(rb"""(?:^|[\s"'/;])charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_CONTENT = re.compile(rb"""(?:^|[\s"'/])content\s*=""", re.IGNORECASE)
_CONTENT_TYPE = re.compile(rb"""http-equiv\s*=\s*["']?\s*content-type""", re.IGNORECASE)

_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b")
_HIGH_BYTES = bytes(code for code in range(32) if code not in b"\n\r")
_PRINTABLE = bytes(range(32, 127))
_ASCII_TEXT = _PRINTABLE + b"\t\n\r"
_LONE = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x80-\x9f]")


class NotText(Exception):
    """The bytes are no text in the encoding they should have; the message says which and where."""


def mark_of(data: bytes) -> tuple[str, int]:
    """The encoding that a byte-order mark names, and the mark's length; ("", 0) without one."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name, len(mark)
    return "", 0


def wide_encoding(data: bytes) -> str:
    """The name of UTF-16 or UTF-32 if the bytes have its shape, without a mark; else "".

    Args:
        data: the beginning of a text is enough.
    """
    head = data[: min(_SHAPE_BYTES, len(data) & ~3)] or data[: len(data) & ~1]
    # Two bytes may be anything; a NUL among few is a sign.
    is_too_short = len(head) < 8 and (len(data) % 2 == 1 or 0 not in head)
    if not head or is_too_short or len(head.translate(None, _HIGH_BYTES)) == len(head):
        return ""
    if 0 not in head and _share(head, _ASCII_TEXT) > 0.97:
        return ""  # a table of single digits and tabs also has few different high bytes
    if 2 * head.count(0) > len(head):
        for name in ("utf-32-le", "utf-32-be"):
            if len(head) % 4 == 0 and _plain(head, name):
                return name
    for name, high in (("utf-16-le", 1), ("utf-16-be", 0)):
        high_bytes = head[high::2]
        highs, lows = _share(high_bytes, _HIGH_BYTES), _share(head[1 - high :: 2], _CONTROLS)
        # Latin, Cyrillic, Arabic, Hindi, ...: the high bytes are below 32, and few are different.
        is_script = highs >= 0.3 and lows <= 0.4 * highs and _is_one_script(high_bytes)
        if is_script and _plain(head, name):
            return name
    if _share(head, _PRINTABLE) > 0.65 or is_utf8(head):
        return ""
    # Chinese, Japanese and Korean: only spaces, line ends and `。` have such bytes.
    shapes = {name: _east_asian(head, name) for name in ("utf-16-le", "utf-16-be")}
    best = max(shapes, key=lambda name: shapes[name])
    return best if shapes[best] >= 0.9 else ""


def codec_of(label: str) -> str:
    """Python's codec for a label of the Encoding Standard, or for a name that Python knows.

    Returns: "" for an unknown label.
    """
    found = webencodings.lookup(label)
    if found is not None:
        return _WIDER.get(found.name) or str(found.codec_info.name)
    try:
        return codecs.lookup(label).name
    except LookupError:
        return ""


def decoded_text(data: bytes, encoding: str = "") -> str:
    """The characters of a text file, without its byte-order mark.

    Args:
        encoding: a label from the settings; "" detects.
    Raises: NotText.
    """
    name, start = mark_of(data)
    name = name or (codec_of(encoding) if encoding else wide_encoding(data))
    if name:
        return _strict(data[start:], name)
    try:
        return _ascii_escapes(data) or data.decode("utf-8")
    except UnicodeDecodeError as error:
        if _is_damaged_utf8(data):
            raise NotText(f"not UTF-8: {error.reason} at byte {error.start}") from None
        return _detected(data, error)


def decoded_page(data: bytes, encoding: str = "") -> str:
    """The characters of an HTML file, as browsers find its encoding.

    As browsers do, it replaces what the declared encoding cannot read, if that is little.
    Raises: NotText.
    """
    name, start = mark_of(data)
    name = name or (codec_of(encoding) if encoding else wide_encoding(data))
    if name:
        return _lenient(data[start:], name)
    declared = codec_of(declared_label(data))
    if declared.startswith("utf"):  # UTF-8 is tried anyway; what could be read here is not UTF-16
        declared = ""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if declared:
            return _lenient(data, declared)
        if _is_damaged_utf8(data):
            return _lenient(data, "utf-8")
        try:
            return _detected(data, error)
        except NotText:
            return _lenient(data, "utf-8")
    # Bytes beyond ASCII are UTF-8 by accident only in theory, declarations are wrong in practice.
    if not text.isascii():
        return text
    return _lenient(data, declared) if declared else _ascii_escapes(data) or text


def declared_label(data: bytes) -> str:
    """The label that a page's first `<meta>` with a charset, or its XML declaration, names."""
    head = data[:_DECLARATION_BYTES]
    xml = _XML_ENCODING.match(head)
    if xml:
        return xml[1].decode("ascii")
    for meta in _META.finditer(_COMMENT.sub(b"", head)):
        charset = _CHARSET.search(meta[1])
        if charset and (not _CONTENT.search(meta[1]) or _CONTENT_TYPE.search(meta[1])):
            return charset[1].decode("ascii", "replace")
    return ""


def guess(data: bytes) -> str:
    """The encoding that bytes which are not UTF-8 probably have, as the detector names it."""
    detector = chardetng_py.EncodingDetector()
    detector.feed(data, last=True)
    name: str = detector.guess(tld=None, allow_utf8=False)
    return name


def _ascii_escapes(data: bytes) -> str:
    """The text of ISO-2022-JP, which is written in the bytes of ASCII; "" if it is not that."""
    if b"\x1b$" not in data:
        return ""
    try:
        return data.decode("iso2022_jp_ext")
    except UnicodeDecodeError:
        return ""


def _detected(data: bytes, error: UnicodeDecodeError) -> str:
    name = guess(data)
    try:
        text = data.decode(codec_of(name))
    except (UnicodeDecodeError, LookupError):
        text = ""
    if not text or _LONE.search(text):
        raise NotText(
            f"not UTF-8: {error.reason} at byte {error.start}; nor any other text that is known"
        ) from None
    return text


def _strict(data: bytes, name: str) -> str:
    try:
        return data.decode(name, _errors(name))
    except UnicodeDecodeError as error:
        raise NotText(f"not {name}: {error.reason} at byte {error.start}") from None


def _lenient(data: bytes, name: str) -> str:
    try:
        return data.decode(name, _errors(name))
    except UnicodeDecodeError as error:
        text = data.decode(name, "replace")
        if text.count("\ufffd") > max(3, len(text) // 200):
            raise NotText(f"not {name}: {error.reason} at byte {error.start}") from None
        return text


def _errors(name: str) -> str:
    return "mrag_c1" if name.startswith(("cp125", "cp874")) else "strict"


def _c1(error: UnicodeError) -> tuple[str, int]:
    """The standard reads the five bytes that windows-1252 leaves open as C1 controls."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("mrag_c1", _c1)


def _is_damaged_utf8(data: bytes) -> bool:
    """Whether the bytes are UTF-8 but for a few: most sequences beyond ASCII are whole."""
    text = data.decode("utf-8", "replace")
    num_bad = text.count("\ufffd")
    num_good = len(text) - num_bad - sum(map(text.count, map(chr, range(128))))
    return num_good > 4 * num_bad


def _is_one_script(high_bytes: bytes) -> bool:
    counts = sorted((high_bytes.count(byte) for byte in set(high_bytes)), reverse=True)
    return sum(counts[:2]) >= 0.8 * len(high_bytes)


def _share(data: bytes, among: bytes) -> float:
    return 1 - len(data.translate(None, among)) / max(1, len(data))


def is_utf8(data: bytes) -> bool:
    """Whether it is UTF-8, control characters and all; its last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def _plain(data: bytes, name: str) -> bool:
    try:
        return not _LONE.search(data.decode(name))
    except UnicodeDecodeError as error:
        # The sample may end in the middle of a pair of surrogates.
        return error.start >= len(data) - 4 and not _LONE.search(data[: error.start].decode(name))


_EAST_ASIAN = re.compile(
    r"[\s\u0020-\u007e\u00a0-\u00ff\u2010-\u203b\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffef]"
)


def _east_asian(data: bytes, name: str) -> float:
    """The share of characters that East Asian texts use; 0 if it cannot be such a text."""
    if not _plain(data, name):
        return 0.0
    text = data.decode(name, "ignore")
    return len(_EAST_ASIAN.findall(text)) / max(1, len(text))


def decoded_record(data: bytes, encoding: str = "") -> str:
    """The characters of one record of a file: UTF-8, or what the settings name.

    Nothing is detected: a record is too short for that.
    Raises: NotText, which says what the bytes look like.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if encoding:
            return _strict(data, codec_of(encoding))
        raise NotText(
            f"not UTF-8: {error.reason} at byte {error.start}; it looks like {guess(data)}: "
            "convert the file, or set corpus.encoding"
        ) from None
