"""Files of a data set of the Hugging Face hub: read in ranges, never downloaded whole.

    hf://datasets/user/name
    hf://datasets/user/name@revision/folder/*.parquet

A branch is resolved to its commit when the corpus is opened, and everything is read from that
commit. Only files are read: no script of a data set is run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyarrow import fs

from mrag_pipeline.errors import ConfigError, CorpusError, CorpusNotFound, first_line
from mrag_pipeline.filesystems.failures import Failure
from mrag_pipeline.filesystems.hub import hub_problem
from mrag_pipeline.filesystems.location import ERRORS
from mrag_pipeline.filesystems.s3_objects import StoredObject

HUB = "hf://"
_DATA_SETS = "datasets/"
_ASK_S = 10.0


@dataclass(frozen=True, slots=True)
class HubPlace:
    """A file or folder of a data set, at one commit."""

    filesystem: fs.FileSystem
    root: str
    server: str  # for messages
    objects: HubObjects
    network: tuple[type[Exception], ...]  # what the hub's client raises of the network

    @property
    def is_local(self) -> bool:
        """Never: it is not on a disk of this machine."""
        return False

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What reading raises."""
        return (*ERRORS, *self.network)

    def failure(self, error: BaseException) -> Failure:
        """What happened, and what helps."""
        from huggingface_hub.errors import HfHubHTTPError

        if not isinstance(error, (HfHubHTTPError, *self.network)):
            return Failure(first_line(error), is_store=False)
        return Failure(
            f"{self.server} failed after several attempts ({first_line(error)})",
            "a hub that answers",
            "check the network, then run the same command again: finished work is kept",
        )


def open_hub(uri: str, what: str) -> HubPlace:
    """The place that the URI names, at the commit that its revision is now.

    Args:
        what: the setting and its value, for error messages.
    Raises: ConfigError, CorpusNotFound, CorpusError if the hub does not answer.
    """
    from huggingface_hub import HfApi, HfFileSystem, constants
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, revision, path = _parts(uri, what)
    if problem := hub_problem():
        raise CorpusError(
            f"{what}: the hub cannot be reached: {problem}",
            f"an answer from {constants.ENDPOINT}",
            "check the network and HF_ENDPOINT; or `hf download` the data set elsewhere, and give "
            "its folder",
        )
    api = HfApi(endpoint=constants.ENDPOINT)
    network = _network_errors()
    refused: tuple[type[Exception], ...] = (HfHubHTTPError, *network)
    try:
        info = api.dataset_info(repository, revision=revision or None, timeout=_ASK_S)
    except (RepositoryNotFoundError, HFValidationError):
        raise CorpusNotFound(
            f"{what}: {constants.ENDPOINT} shows no data set {repository!r}",
            "",
            "check the name; for a private or gated one log in (`hf auth login`, or HF_TOKEN)",
        ) from None
    except RevisionNotFoundError:
        raise CorpusNotFound(
            f"{what}: {repository} has no revision {revision!r}", "", "check what follows the `@`"
        ) from None
    except refused as error:
        raise CorpusError(
            f"{what}: {first_line(error)}", "a hub that answers", "check the network, and try again"
        ) from None
    root = f"{_DATA_SETS}{repository}@{info.sha}/{path}".rstrip("/")
    filesystem = HfFileSystem(endpoint=constants.ENDPOINT)
    return HubPlace(
        fs.PyFileSystem(fs.FSSpecHandler(filesystem)),
        root,
        f"the hub at {constants.ENDPOINT}",
        HubObjects(api, repository, str(info.sha)),
        network,
    )


class HubObjects:
    """The files of one commit of a data set, listed page by page."""

    def __init__(self, api: Any, repository: str, commit: str) -> None:
        self._api = api
        self._of = {"repo_id": repository, "repo_type": "dataset", "revision": commit}
        self._prefix = f"{repository}@{commit}/"

    def starting_with(self, prefix: str) -> Iterator[StoredObject]:
        """The files whose keys (`user/name@commit/path`) begin with the prefix, in any order."""
        from huggingface_hub.errors import EntryNotFoundError

        folder = prefix.removeprefix(self._prefix).rpartition("/")[0]
        try:
            for entry in self._api.list_repo_tree(path_in_repo=folder, recursive=True, **self._of):
                key = f"{self._prefix}{entry.path}"
                if hasattr(entry, "blob_id") and key.startswith(prefix):
                    yield _stored(key, entry)
        except EntryNotFoundError:
            return

    def find(self, key: str) -> StoredObject | None:
        """The file of that key; None if there is none."""
        path = key.removeprefix(self._prefix)
        for entry in self._api.get_paths_info(paths=[path], **self._of):
            if hasattr(entry, "blob_id"):
                return _stored(key, entry)
        return None


def _stored(key: str, entry: Any) -> StoredObject:
    return StoredObject(key, entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id, 0.0)


def _parts(uri: str, what: str) -> tuple[str, str, str]:
    """Repository, revision ("" for the main branch) and path in it ("" for all of it)."""
    names = uri.removeprefix(HUB).removeprefix(_DATA_SETS).strip("/").split("/", 2)
    if not uri.startswith(HUB + _DATA_SETS) or len(names) < 2 or not all(names[:2]):
        raise ConfigError(
            f"{what}: no data set of the hub",
            "hf://datasets/user/name, hf://datasets/user/name@revision/folder/*.parquet",
            "correct the URI",
        )
    name, _, revision = names[1].partition("@")
    return f"{names[0]}/{name}", revision, names[2] if len(names) > 2 else ""


def _network_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises of the network: it has used several libraries for it."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    library = sys.modules[type(get_session()).__module__.partition(".")[0]]
    return (library.HTTPError,)
