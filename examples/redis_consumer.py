"""Keeps an index up to date with a Redis stream: `python redis_consumer.py STREAM [CONFIG]`.

A message is {"op": "upsert", "document": JSON} or {"op": "delete", "id": ID}. Messages that were
not acknowledged come again. One consumer at a time: the order of changes is the stream's.
Needs `pip install redis`. REDIS_URL names the server, redis://localhost:6379 by default.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from mrag_pipeline import Index

GROUP, CONSUMER = "mrag", "consumer-1"
MAX_MESSAGES = 500  # in one push
WAIT_MS = 5_000

Message = tuple[str, Mapping[str, str]]


def apply(index: Index, messages: Sequence[Message]) -> None:
    """Pushes messages; of several changes to one document the last counts."""
    documents: dict[str, Mapping[str, Any]] = {}
    deleted: dict[str, None] = {}
    for _, fields in messages:
        if fields["op"] == "delete":
            documents.pop(fields["id"], None)
            deleted[fields["id"]] = None
        else:
            document = json.loads(fields["document"])
            deleted.pop(document["id"], None)
            documents[document["id"]] = document
    last = messages[-1][0]
    if documents:
        index.upsert(documents.values(), key=f"upsert {last}", wait_s=600)
    if deleted:
        index.delete(deleted, key=f"delete {last}", wait_s=600)


def consume(client: redis.Redis, stream: str, index: Index, until_idle: bool = False) -> int:
    """Applies messages as they come; returns how many, once there are none if `until_idle`."""
    try:
        client.xgroup_create(stream, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    num_applied = 0
    start = "0"  # first what this consumer was given before and has not acknowledged
    while True:
        answer: Any = client.xreadgroup(
            GROUP, CONSUMER, {stream: start}, count=MAX_MESSAGES, block=WAIT_MS
        )
        messages: list[Message] = answer[0][1] if answer else []
        if messages:
            apply(index, messages)
            client.xack(stream, GROUP, *(message_id for message_id, _ in messages))
            num_applied += len(messages)
        elif start == "0":
            start = ">"
        elif until_idle:
            return num_applied


def main() -> None:
    """Runs until it is stopped."""
    stream, config = sys.argv[1], (sys.argv[2] if len(sys.argv) > 2 else None)
    url = os.environ.get("REDIS_URL", "redis://localhost:6379")
    client = redis.Redis.from_url(url, decode_responses=True)
    with Index.open(config) as index:
        consume(client, stream, index)


if __name__ == "__main__":
    main()
