"""Lists, finds and removes a bucket's objects by key, in pages, so memory stays constant.

A page has a thousand keys. pyarrow returns a whole listing at once, and leaves a folder marker
for each file that it removes; botocore does neither. Importing it and making its client takes a
second, so that waits for the first call.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mrag_pipeline.filesystems.failures import StoreError
from mrag_pipeline.filesystems.s3_address import CONNECT_S, SILENT_S, Address


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as a listing describes it."""

    key: str
    num_bytes: int
    etag: str  # changes with the content; equal for equal bytes uploaded in the same way
    modified_s: float


class Objects:
    """The objects of one bucket."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._bucket = address.bucket
        self._client_lock = threading.Lock()
        self._made: Any = None

    def starting_with(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with the prefix, in the server's order; no folder markers.

        S3 and most servers sort by the bytes of the key; some sort folder by folder.
        Raises: StoreError.
        """
        for page in self._pages(prefix):
            for entry in page:
                if not entry["Key"].endswith("/"):
                    yield _stored(entry["Key"], entry)

    def find(self, key: str) -> StoredObject | None:
        """The object as it is now, None if there is none.

        Raises: StoreError.
        """
        try:
            with _store_errors():
                answer = self._client.head_object(Bucket=self._bucket, Key=key)
        except StoreError as error:
            if error.code in ("404", "NoSuchKey"):
                return None
            raise
        return _stored(key, answer | {"Size": answer["ContentLength"]})

    def remove(self, key: str) -> None:
        """Removes the object of that key and all objects below it; missing keys are no error.

        Raises: StoreError.
        """
        assert key  # never a whole bucket
        with _store_errors():
            self._client.delete_object(Bucket=self._bucket, Key=key)
        for page in self._pages(f"{key}/"):
            names = [{"Key": entry["Key"]} for entry in page]
            with _store_errors():
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": names, "Quiet": True}
                )
            for error in answer.get("Errors", ()):
                reason = f"{error.get('Key')}: {error.get('Message')}"
                raise StoreError(error.get("Code", ""), reason)

    def _pages(self, prefix: str) -> Iterator[list[Any]]:
        with _store_errors():
            paginator = self._client.get_paginator("list_objects_v2")
            for page in paginator.paginate(Bucket=self._bucket, Prefix=prefix):
                yield page.get("Contents", [])

    @property
    def _client(self) -> Any:
        with self._client_lock:
            if self._made is None:
                self._made = self._new_client()
        return self._made

    def _new_client(self) -> Any:
        from botocore.config import Config
        from botocore.session import get_session

        session = get_session()
        parsers = session.get_component("response_parser_factory")
        parsers.set_parser_defaults(timestamp_parser=_timestamp)
        address = self._address
        style = "path" if address.endpoint and not address.virtual else "auto"
        return session.create_client(
            "s3",
            region_name=address.region or None,
            endpoint_url=address.endpoint or None,
            verify=address.ca_file or None,
            config=Config(
                connect_timeout=CONNECT_S,
                read_timeout=SILENT_S,
                retries={"mode": "standard", "total_max_attempts": address.attempts},
                s3={"addressing_style": "virtual" if address.virtual else style},
                # Servers other than AWS may not know the newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


def _timestamp(text: str) -> datetime:
    # dateutil, which reads any date format, would take two thirds of a listing's time.
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        from botocore.utils import parse_timestamp

        parsed: datetime = parse_timestamp(text)
        return parsed


def _stored(key: str, facts: Any) -> StoredObject:
    modified = facts["LastModified"].timestamp()
    return StoredObject(key, facts["Size"], facts["ETag"].strip('"'), modified)


@contextmanager
def _store_errors() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        facts = error.response.get("Error", {})
        raise StoreError(str(facts.get("Code", "")), str(facts.get("Message", ""))) from error
    except BotoCoreError as error:
        raise StoreError(type(error).__name__, str(error)) from error
