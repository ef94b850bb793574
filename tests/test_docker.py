"""The container files, read without an engine: what they promise about the image."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
IMAGES = {"docker/Dockerfile": "cpu", "docker/Dockerfile.gpu": "gpu"}
BESIDE = ("arrow", "otel", "postgres", "store")  # extras of every image
EVERY_IMAGE = pytest.mark.parametrize("path", IMAGES)


def stages(path: str) -> list[str]:
    """The text of each stage, its FROM line first."""
    return re.split(r"^(?=FROM )", (ROOT / path).read_text(), flags=re.MULTILINE)[1:]


@EVERY_IMAGE
def test_the_image_is_built_in_stages_and_installs_its_own_runtime_only(path: str) -> None:
    *earlier, last = stages(path)
    assert len(earlier) >= 2
    assert f"docker/requirements-{IMAGES[path]}.txt" in "".join(earlier)
    assert "pip install" not in last


@EVERY_IMAGE
def test_nothing_is_installed_that_is_not_pinned_by_its_hash_or_built_here(path: str) -> None:
    installs = re.findall(r"pip install ([^&\\\n]+)", "".join(stages(path)))
    assert len(installs) == 4
    for options in installs:
        assert "--require-hashes" in options or "--no-deps /wheel/*.whl" in options


@pytest.mark.parametrize("extra", IMAGES.values())
def test_the_pins_are_what_pyproject_allows(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for name in (extra, *BESIDE):
        wanted += project["optional-dependencies"][name]
    pinned = pins(extra)
    for need in map(Requirement, wanted):
        assert any(need.specifier.contains(version) for version in pinned[need.name]), need
    other = {"cpu": "onnxruntime-gpu", "gpu": "onnxruntime"}[extra]
    assert other not in pinned


@pytest.mark.parametrize("file", [*IMAGES.values(), "build"])
def test_every_pin_has_a_hash(file: str) -> None:
    for pin in re.split(r"^(?=\S)", pinned_text(file), flags=re.MULTILINE)[1:]:
        assert re.match(r"[a-z0-9-]+==\S+.*(\n    --hash=sha256:[0-9a-f]{64}.*)+", pin), pin


def pins(file: str) -> dict[str, set[str]]:
    """The versions of each package, of which there may be one for each Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", pinned_text(file), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def pinned_text(file: str) -> str:
    return (ROOT / f"docker/requirements-{file}.txt").read_text()


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
            assert any(fnmatch(name, pattern) for pattern in allowed)


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
