"""What the image does, without an engine: the wheel alone in a clean environment serves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.express import BUILT
from tests.conftest import ARTIFACTS
from tests.end_to_end.server import client, serving

ROOT = Path(__file__).parents[2]
# pip would take most of a minute for the same; it, too, trusts whom the machine trusts.
UV = (str(Path(sys.executable).with_name("uv")), "--system-certs")
LISTED = """
import importlib.metadata, json
print(json.dumps([(one.name, one.version) for one in importlib.metadata.distributions()]))
"""
OFFLINE = ("torch", "polars", "pandas")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds what an image does, by the same hashes."""
    folder = tmp_path_factory.mktemp("image")
    run(*UV, "build", "--quiet", "--out-dir", str(folder), str(ROOT))  # by way of the sources
    (wheel,) = folder.glob("gatecast-*.whl")
    environment = folder / "environment"
    run(*UV, "venv", "--quiet", "--python", sys.executable, str(environment))
    pins = ["--require-hashes", "--requirement", str(ROOT / "docker/requirements-cpu.txt")]
    for installed in (pins, ["--no-deps", str(wheel)]):
        run(*UV, "pip", "install", "--quiet", "--python", str(environment), *installed)
    run(*UV, "pip", "check", "--python", str(environment))
    return environment / "bin"


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.wheel
def test_the_image_holds_no_training_library(installation: Path, tmp_path: Path) -> None:
    script = "import importlib.util as u, sys; print([m for m in sys.argv[1:] if u.find_spec(m)])"
    found = run(str(installation / "python"), "-c", script, *OFFLINE, cwd=tmp_path)
    assert found.stdout.strip() == "[]"


@pytest.mark.wheel
def test_the_image_has_the_short_way(installation: Path, tmp_path: Path) -> None:
    script = "from service.express import BUILT; print(BUILT)"
    found = run(str(installation / "python"), "-c", script, cwd=tmp_path)
    assert found.stdout.strip() == str(BUILT)  # as in this environment, with the same compiler


@pytest.mark.wheel
def test_its_bill_of_materials_names_every_pinned_package(
    installation: Path, tmp_path: Path
) -> None:
    tool = str(Path(sys.executable).with_name("cyclonedx-py"))
    bill = tmp_path / "sbom.json"
    run(tool, "environment", "--output-file", str(bill), str(installation / "python"))
    components = json.loads(bill.read_text())["components"]
    named = {one["name"]: one["version"] for one in components}
    listed = run(str(installation / "python"), "-c", LISTED, cwd=tmp_path)
    for name, version in json.loads(listed.stdout):
        assert named[name] == version
    assert named.keys() >= {"gatecast", "onnxruntime", "numpy", "pydantic", "uvloop"}
    assert all("purl" in one for one in components if one["name"] != "gatecast")


@pytest.mark.wheel
def test_the_image_serves_a_forecast_over_the_socket(installation: Path) -> None:
    request = {
        "model": "tiny",
        "series": [{"item_id": "a", "start": "2024-01-01", "target": [1.0, None, 3.0]}],
    }
    with (
        serving(ARTIFACTS) as here,
        client(here) as http,
        serving(ARTIFACTS, gatecast=str(installation / "gatecast")) as image,
        client(image) as image_http,
    ):
        answer = image_http.post("/v1/forecast", json=request)
        assert answer.status_code == 200
        assert answer.json() == http.post("/v1/forecast", json=request).json()
        image.terminate()
        assert image.wait() == 0, image.log


@pytest.mark.wheel
@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["train", "airline"], "gatecast[cpu,train]"),
        (["forecast", "tiny", "x.csv", "--output", "y.csv"], "gatecast[cpu,tables]"),
    ],
)
def test_a_command_of_another_extra_says_in_one_line_how_to_get_it(
    installation: Path, tmp_path: Path, command: list[str], extra: str
) -> None:
    done = subprocess.run(
        [str(installation / "gatecast"), *command, "--models", str(ARTIFACTS)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"pip install '{extra}'" in done.stderr


@pytest.mark.wheel
def test_the_other_commands_work_in_the_image(installation: Path, tmp_path: Path) -> None:
    listed = run(str(installation / "gatecast"), "models", "--models", str(ARTIFACTS), cwd=tmp_path)
    version = json.loads((ARTIFACTS / "tiny/1/metadata.json").read_text())["version"]
    assert f"tiny@{version}" in listed.stdout
    assert "train" in run(str(installation / "gatecast"), "--help", cwd=tmp_path).stdout
