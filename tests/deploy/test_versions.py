"""Every image and chart that deploys is one exact version, the same wherever it is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mrag_pipeline import __version__
from tests.support.deployed_versions import DEPLOY, README, composed_images

ROOT = Path(__file__).parents[2]
VALUES = sorted((DEPLOY / "milvus").glob("values*.yaml"))
# A version with its parts, a dated release, or the content itself; never a name that moves.
EXACT = re.compile(r"[\w./-]+(:v?\d+\.\d+\.\d+[\w.-]*|:RELEASE\.[\dTZ-]+)?(@sha256:[0-9a-f]{64})?")


def values(path: Path) -> Any:
    """A file of Helm values."""
    return yaml.safe_load(path.read_text("utf-8"))


def chart_images(part: Any) -> Iterator[str]:
    """Every `repository: ..., tag: ...` of a file of values."""
    if isinstance(part, dict):
        if {"repository", "tag"} <= part.keys():
            yield f"{part['repository']}:{part['tag']}"
        for below in part.values():
            yield from chart_images(below)


def is_exact(image: str) -> bool:
    """Whether an image is one version or one content."""
    return bool(EXACT.fullmatch(image)) and (":" in image)


def test_what_is_exact() -> None:
    """A digest or a full version; no tag, `latest` and half a version are not."""
    assert is_exact("a/b:v1.2.3")
    assert is_exact("a/b:RELEASE.2026-09-16T00-00-00Z")
    assert is_exact("host.io/a/b@sha256:" + "0" * 64)
    assert not any(map(is_exact, ("a/b", "a/b:latest", "a/b:2.6", "a/b:cpu")))


def test_every_image_is_one_version() -> None:
    """Of compose, of the charts, and what ours is built from."""
    images = [*composed_images().values()]
    for path in VALUES:
        images += chart_images(values(path))
    images += re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert len(images) > 10
    assert [image for image in images if not is_exact(image)] == []


def test_our_images_are_of_this_release() -> None:
    """Wherever they are named: a file that was forgotten would deploy the release before."""
    named: dict[str, set[str]] = {}
    for path in (*DEPLOY.rglob("*"), ROOT / "docs" / "support.md"):
        if path.is_file() and path.suffix != ".json":
            found = re.findall(
                r"mrag-(?:cpu|cuda)(?::|, newTag: )([\w.]+)", path.read_text("utf-8")
            )
            named |= {str(path.relative_to(ROOT)): set(found)} if found else {}
    assert len(named) > 6
    assert {name: found for name, found in named.items() if found != {__version__}} == {}


def test_milvus_and_its_parts_are_one_version_everywhere() -> None:
    """Compose and charts run the same server, etcd and object store."""
    images = {image.split(":")[0]: image for image in composed_images().values()}
    for path in VALUES:
        wanted = [one for one in chart_images(values(path)) if one.split(":")[0] in images]
        assert wanted == [images[one.split(":")[0]] for one in wanted], path.name
        assert images["milvusdb/milvus"] in wanted


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_the_values_are_of_the_chart_that_the_readme_installs(path: Path) -> None:
    """One version of the chart; from 5 on it has no index nodes; root's password is a secret's."""
    [version] = re.findall(r"Milvus Helm chart (\d+\.\d+\.\d+)", path.read_text("utf-8"))
    assert f"milvus/milvus --version {version} " in README
    assert "helm repo add milvus https://" in README
    held = values(path)
    assert held.get("indexNode", {"enabled": False}) == {"enabled": False}
    assert held["streaming"] == {"enabled": True}
    root = held["mixCoordinator" if held["cluster"]["enabled"] else "standalone"]["extraEnv"][0]
    assert root["name"] == "COMMON_SECURITY_DEFAULTROOTPASSWORD"
    named = root["valueFrom"]["secretKeyRef"]
    assert f"create secret generic {named['name']} --from-literal={named['key']}=" in README
    config = yaml.safe_load(held["extraConfigFiles"]["user.yaml"])
    assert config["common"]["security"]["authorizationEnabled"] is True


def test_the_readmes_commands_name_files_and_versions_that_there_are() -> None:
    """What is applied exists; no chart comes without its version."""
    applied = re.findall(r"kubectl apply -k (\S+)", README)
    assert {Path(path).name for path in applied} == {
        path.name for path in (DEPLOY / "kubernetes" / "overlays").iterdir()
    }
    assert [path for path in applied if not (ROOT / path / "kustomization.yaml").exists()] == []
    files = re.findall(r" -f (\S+)", README)
    assert files
    assert [path for path in files if not (ROOT / path).exists()] == []
    installs = re.findall(r"helm upgrade --install .*", README)
    assert len(installs) == 2
    assert all(re.search(r" --version \d+\.\d+\.\d+ ", line) for line in installs)
    repositories = set(re.findall(r"helm repo add (\w+) ", README))
    assert {re.split("/", line.split()[4])[0] for line in installs} == repositories


def test_a_release_publishes_both_images_and_one_for_arm() -> None:
    """From this Dockerfile; `latest` is never moved."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/image.yaml").read_text("utf-8"))
    [job] = workflow["jobs"].values()
    platforms = {one["name"]: one["platforms"] for one in job["strategy"]["matrix"]["include"]}
    assert platforms == {"mrag-cpu": "linux/amd64,linux/arm64", "mrag-cuda": "linux/amd64"}
    steps = {step.get("id", step.get("uses")): step for step in job["steps"]}
    assert steps["names"]["with"]["flavor"] == "latest=false"
    assert (ROOT / steps["built"]["with"]["file"]).samefile(DEPLOY / "Dockerfile")
    # What has no wheel for arm64 is compiled, in the stage that is thrown away.
    build, last = (DEPLOY / "Dockerfile").read_text("utf-8").split("\nFROM ", 2)[1:]
    assert " gcc " in build
    assert " gcc " not in last
