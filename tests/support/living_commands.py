"""Commands on a living index, as somebody types them who follows a message's advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.stages.ingest.publish import activate
from mrag_pipeline.stages.versions.export import export_version
from mrag_pipeline.stages.versions.import_version import import_version
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.staging.exports import open_export
from tests.support.builds import RecordingProgress
from tests.support.living_index import (
    Living,
    a_document,
    audited,
)
from tests.support.scripted_kills import Killable, Killed, Switch


def built(folder: Path, index: VectorIndex | None = None) -> Living:
    """An index that was built and not synced; in memory if none is given."""
    made = Living(folder / "staging", [a_document(i) for i in range(6)])
    if index is not None:
        made.index = index
    made.ingest()
    return made


def changed(made: Living) -> Living:
    """Its corpus, changed since: one document edited, one gone, one new."""
    made.items = [a_document(0, edition=1), *[a_document(i) for i in range(2, 7)]]
    return made


def synced(folder: Path) -> Living:
    """Built, then synced with the changed corpus."""
    made = changed(built(folder))
    made.sync()
    return made


def exported(made: Living, folder: Path) -> Path:
    """What `mrag export` does."""
    export = open_export(str(folder))
    export_version(live_record(made.index), made.index, export, RecordingProgress())
    return folder


def imported(folder: Path, name: str) -> Living:
    """What `mrag import --index NAME --activate` does: into an empty index of that name."""
    index = ExactIndex(name)
    record = import_version(open_export(str(folder)), name, index, RecordingProgress())
    activate(record.version, index)
    return Living(folder.parent / "other", [], index, name=name)


def said_of(made: Living, with_staging: bool = True) -> str:
    """What `mrag audit` says."""
    return "\n".join(str(one) for one in audited(made, with_staging).findings)


@contextmanager
def stopped_before(made: Living, point: str) -> Iterator[None]:
    """A run that is killed before the first write whose name begins so."""

    class Stop(Switch):
        def before(self, name: str) -> None:
            if name.startswith(point):
                raise Killed(name)

    inner, stop = made.index, Stop()
    made.index = Killable(inner, stop)
    with stop.over_staging(), pytest.raises(Killed):
        yield
    made.index = inner


def file_of(made: Living, pattern: str) -> Path:
    """The first file of that name in the version's staging."""
    return sorted(made.folder.glob(f"docs/*/{pattern}"))[0]
