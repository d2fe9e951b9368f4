"""A bucket's objects by key, a page of a thousand at a time: memory does not grow with the bucket.

pyarrow returns a listing whole, and leaves a marker for the folder of each file that it removes;
botocore does neither. It is imported, and its client made, when first asked (a second).
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
    """One object, as in a listing."""

    key: str
    num_bytes: int
    etag: str  # changes with the content; the same for the same bytes uploaded the same way
    modified_s: float


class Objects:
    """The objects of one bucket."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._bucket = address.bucket
        self._making = threading.Lock()
        self._made: Any = None

    def starting_with(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts so, in the server's order; no markers of folders.

        S3 and most servers sort by the bytes of the key; some sort folder by folder.
        Raises: StoreError.
        """
        for page in self._pages(prefix):
            for entry in page:
                if not entry["Key"].endswith("/"):
                    yield _stored(entry["Key"], entry)

    def find(self, key: str) -> StoredObject | None:
        """The object as it is now.

        Raises: StoreError.
        """
        try:
            with _telling():
                answer = self._client.head_object(Bucket=self._bucket, Key=key)
        except StoreError as error:
            if error.code in ("404", "NoSuchKey"):
                return None
            raise
        return _stored(key, answer | {"Size": answer["ContentLength"]})

    def remove(self, key: str) -> None:
        """Removes the object of that key, and all below it as a folder; missing keys are no error.

        Raises: StoreError.
        """
        assert key  # never a whole bucket
        with _telling():
            self._client.delete_object(Bucket=self._bucket, Key=key)
        for page in self._pages(f"{key}/"):
            names = [{"Key": entry["Key"]} for entry in page]
            with _telling():
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": names, "Quiet": True}
                )
            for failed in answer.get("Errors", ()):
                reason = f"{failed.get('Key')}: {failed.get('Message')}"
                raise StoreError(failed.get("Code", ""), reason)

    def _pages(self, prefix: str) -> Iterator[list[Any]]:
        with _telling():
            asked = self._client.get_paginator("list_objects_v2")
            for page in asked.paginate(Bucket=self._bucket, Prefix=prefix):
                yield page.get("Contents", [])

    @property
    def _client(self) -> Any:
        with self._making:
            if self._made is None:
                self._made = self._new_client()
        return self._made

    def _new_client(self) -> Any:
        from botocore.config import Config
        from botocore.session import get_session

        session = get_session()
        parsers = session.get_component("response_parser_factory")
        parsers.set_parser_defaults(timestamp_parser=_timestamp)
        place = self._address
        style = "path" if place.endpoint and not place.virtual else "auto"
        return session.create_client(
            "s3",
            region_name=place.region or None,
            endpoint_url=place.endpoint or None,
            verify=place.ca_file or None,
            config=Config(
                connect_timeout=CONNECT_S,
                read_timeout=SILENT_S,
                retries={"mode": "standard", "total_max_attempts": place.attempts},
                s3={"addressing_style": "virtual" if place.virtual else style},
                # Servers that are not AWS's may not know the newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


def _timestamp(text: str) -> datetime:
    # Two thirds of a listing's time are dateutil's, which reads any form of date.
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
def _telling() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        facts = error.response.get("Error", {})
        raise StoreError(str(facts.get("Code", "")), str(facts.get("Message", ""))) from error
    except BotoCoreError as error:
        raise StoreError(type(error).__name__, str(error)) from error
