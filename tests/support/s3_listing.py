"""An S3 server of nothing but keys, as many as are asked for: filling a real one takes minutes.

It speaks what a listing needs of the protocol: ListObjectsV2 by pages, and HEAD (404).
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from tests.support.loopback_server import LoopbackServer, Quiet

PAGE = 1_000
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>keys</Name>'
    "<Prefix>docs/</Prefix><MaxKeys>{most}</MaxKeys><KeyCount>{count}</KeyCount>"
    "<IsTruncated>{more}</IsTruncated>{token}"
)
_ONE = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{number:032x}&quot;</ETag><Size>1000</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)


def key(number: int) -> str:
    """The keys, in order: a thousand in each folder."""
    return f"docs/{number // 1_000:06d}/{number:09d}.txt"


class Listing(LoopbackServer):
    """Bucket `keys` with so many objects below `docs/`, while the block runs."""

    def __init__(self, num_keys: int) -> None:
        """On a port of its own of loopback."""
        super().__init__(self._handler(num_keys))
        self.pages = 0

    def _handler(self, num_keys: int) -> type[BaseHTTPRequestHandler]:
        listing = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                asked = parse_qs(urlsplit(self.path).query)
                most = min(int(asked.get("max-keys", [PAGE])[0]), PAGE)
                first = int(asked.get("continuation-token", ["0"])[0])
                last = min(first + most, num_keys)
                listing.pages += 1
                more = last < num_keys
                token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
                body = _HEAD.format(
                    most=most, count=last - first, more=str(more).lower(), token=token
                ) + "".join(_ONE.format(key=key(n), number=n) for n in range(first, last))
                content = f"{body}</ListBucketResult>".encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler
