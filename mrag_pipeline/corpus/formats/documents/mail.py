"""E-mail: one message (.eml), or a part for each message (.mbox)."""

from __future__ import annotations

import email.policy
import re
from collections.abc import Iterator
from email.message import EmailMessage, Message
from email.parser import BytesParser

from mrag_pipeline.corpus.formats.charset import NotText, decoded_text
from mrag_pipeline.corpus.formats.extracted import Extracted
from mrag_pipeline.corpus.formats.page_text import page_text

_FROM = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\r\n]*\r?\n")
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_HEADERS = ("from", "to", "date")


def message(data: bytes) -> Iterator[Extracted]:
    """The one message."""
    yield _extracted(data, "")


def mailbox(data: bytes) -> Iterator[Extracted]:
    """Each message between lines that begin with `From `.

    Raises: NotText if there is none.
    """
    begins = list(_FROM.finditer(data))
    if not begins:
        raise NotText("no line begins with `From `, as the first of each message does")
    ends = [*(begin.start() for begin in begins[1:]), len(data)]
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True), start=1):
        own = _QUOTED_FROM.sub(rb"\1", data[begin.end() : end])
        yield _extracted(own, f"message={number}")


def _extracted(data: bytes, part: str) -> Extracted:
    parsed = BytesParser(EmailMessage, policy=email.policy.default).parsebytes(data)
    subject = _header(parsed, "subject")
    fields: dict[str, object] = {name: text for name in _HEADERS if (text := _header(parsed, name))}
    body = parsed.get_body(("plain", "html"))
    text = "" if body is None else _text(body)
    num_attachments = sum(1 for _ in parsed.iter_attachments()) if parsed.is_multipart() else 0
    remarks = ("an attachment of a message: left out",) * num_attachments
    return Extracted(text, "" if part else subject, fields, part, subject if part else "", remarks)


def _text(body: Message) -> str:
    payload = body.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    charset = body.get_content_charset() or ""
    try:
        text = decoded_text(data, charset)
    except (NotText, LookupError):
        text = data.decode("utf-8", "replace")
    if body.get_content_type() == "text/html":
        _, text = page_text(text, whole=True)
    return text.replace("\r\n", "\n")


def _header(parsed: EmailMessage, name: str) -> str:
    return " ".join(str(parsed.get(name, "")).split())
