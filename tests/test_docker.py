"""The container files, read without an engine: what they promise about the image."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMAGES = {"docker/Dockerfile": "cpu", "docker/Dockerfile.gpu": "gpu"}
EVERY_IMAGE = pytest.mark.parametrize("path", IMAGES)


def stages(path: str) -> list[str]:
    """The text of each stage, its FROM line first."""
    return re.split(r"^(?=FROM )", (ROOT / path).read_text(), flags=re.MULTILINE)[1:]


@EVERY_IMAGE
def test_the_image_is_built_in_stages_and_installs_its_own_runtime_only(path: str) -> None:
    *earlier, last = stages(path)
    assert len(earlier) >= 2
    installs = re.findall(r"\[(\w+(?:,\w+)*)\]\"", "".join(earlier))
    assert installs == [f"{IMAGES[path]},arrow"]
    assert "pip install" not in last


@EVERY_IMAGE
def test_the_image_runs_as_nobody_special_and_is_watched(path: str) -> None:
    last = stages(path)[-1]
    users = re.findall(r"^USER (\S+)$", last, flags=re.MULTILINE)
    assert users == ["10001"]
    assert "HEALTHCHECK" in last
    assert "/health/ready" in last
    assert 'CMD ["serve"]' in last


@EVERY_IMAGE
def test_every_file_the_image_copies_exists_and_is_not_ignored(path: str) -> None:
    allowed = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / path).read_text(), re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists()
            assert name in allowed


def test_models_are_mounted_read_only() -> None:
    compose = (ROOT / "docker/compose.yaml").read_text()
    assert '"../models:/models:ro"' in compose
    assert "read_only: true" in compose


def test_who_starts_the_containers_without_keys_says_so_and_opens_them_to_this_machine_only() -> (
    None
):
    compose = (ROOT / "docker/compose.yaml").read_text()
    assert 'GATECAST_NO_AUTH: "true"' in compose
    assert 'ports: ["127.0.0.1:8080:8080"]' in compose


@EVERY_IMAGE
def test_the_image_itself_lets_in_nobody_without_a_key(path: str) -> None:
    assert "GATECAST_NO_AUTH" not in re.sub(r"^#.*$", "", stages(path)[-1], flags=re.MULTILINE)
    assert "GATECAST_HOST=0.0.0.0" in stages(path)[-1]


def test_the_core_dependencies_hold_nothing_of_training() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {re.split(r"[<>=\[ ]", need)[0] for need in project["dependencies"]}
    assert not core & {"torch", "polars", "pandas", "onnx", "onnxruntime", "statsforecast"}
    extras = project["optional-dependencies"]
    assert not any("onnxruntime" in need for need in extras["train"] + extras["dev"])
