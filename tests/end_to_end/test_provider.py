"""The provider of a real process: which one it is and why, or a refusal before it starts."""

import os
import re
from pathlib import Path

import onnxruntime as ort
import pytest

from tests.conftest import ARTIFACTS
from tests.end_to_end.server import client, serving
from tests.end_to_end.test_startup import refusal

pytestmark = pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="this installation has CUDA"
)
CLAIMS_CUDA = (
    "import onnxruntime as ort\n"
    "found = ort.get_available_providers()\n"
    "ort.get_available_providers = lambda: ['CUDAExecutionProvider', *found]\n"
)


@pytest.fixture
def claims_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation of onnxruntime that lists CUDA and cannot use it."""
    (tmp_path / "sitecustomize.py").write_text(CLAIMS_CUDA)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)


@pytest.mark.parametrize("count", ["1", "2"])
def test_auto_serves_on_the_cpu_where_there_is_no_cuda_and_says_why(count: str) -> None:
    with serving(ARTIFACTS, "--provider", "auto", "--workers", count) as server:
        assert re.search("^ +provider cpu$", server.log, re.MULTILINE)
        line = f"provider auto is cpu: onnxruntime {ort.__version__} offers only "
        assert line in server.log
        with client(server) as http:
            assert http.get("/health/ready").status_code == 200
        server.terminate()
        assert server.wait() == 0


def test_auto_serves_on_the_cpu_where_cuda_cannot_be_used_and_says_why(claims_cuda: None) -> None:
    with serving(ARTIFACTS, "--provider", "auto") as server:
        assert re.search("^ +provider cpu$", server.log, re.MULTILINE)
        assert "provider auto is cpu: " in server.log
        assert "cannot open a session on it: " in server.log


def test_cuda_that_cannot_be_used_is_refused_with_the_cause_and_the_remedy(
    claims_cuda: None,
) -> None:
    line = refusal("--provider", "cuda")
    assert "provider cuda was asked for" in line
    assert "cannot open a session on it: " in line
    assert "the session runs on CPUExecutionProvider" in line
    assert "--provider cpu" in line


def test_a_provider_that_was_asked_for_needs_no_reason() -> None:
    with serving(ARTIFACTS, "--provider", "cpu") as server:
        assert "provider auto" not in server.log
