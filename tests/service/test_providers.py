"""Providers: what was asked for, or a refusal that says why; CUDA is played by a stand-in."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from service import providers
from service.contract import artifact
from service.providers import Misplaced, ProviderUnavailable, choose, open_session, resolve
from tests.artifacts import edit

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
MODEL = artifact.read(edit.TINY).model


@pytest.fixture
def offers_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation that says it has CUDA."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch, offers_cuda: None) -> Callable[[int, str], None]:
    """Let the trial of a session end with a code and an error output."""

    def ends(code: int, stderr: str = "") -> None:
        done = subprocess.CompletedProcess(["trial"], code, "", stderr)
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)

    return ends


class FakeSession:
    """Opens on the providers it is told to, with nodes wherever a test puts them."""

    providers: tuple[str, ...] = (CUDA, CPU)
    nodes: tuple[tuple[str, str], ...] = (
        (CUDA, "GRU"),
        (CUDA, "Gemm"),
        (CPU, "Shape"),
        (CPU, "Concat"),
    )
    opened: dict[str, Any]

    def __init__(self, model: bytes, options: ort.SessionOptions, providers: list[Any]) -> None:
        type(self).opened = {"options": options, "providers": providers}
        self.fallback = True

    def disable_fallback(self) -> None:
        self.fallback = False

    def get_providers(self) -> list[str]:
        return list(self.providers)

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda op=op: [SimpleNamespace(op_type=op)])
            for name, op in self.nodes
        ]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeSession]:
    """onnxruntime with a GPU."""

    class Fake(FakeSession):
        pass

    monkeypatch.setattr(ort, "InferenceSession", Fake)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    return Fake


def test_the_cpu_is_taken_when_asked_for_whatever_else_there_is(offers_cuda: None) -> None:
    assert choose("cpu").provider == "cpu"


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="this installation has CUDA")
def test_without_cuda_auto_is_the_cpu_and_cuda_is_refused_with_the_reason_and_the_remedy() -> None:
    offered = f"onnxruntime {ort.__version__} offers only .*{CPU}"
    chosen = choose("auto")
    assert chosen.provider == "cpu"
    with pytest.raises(ProviderUnavailable, match=rf"provider cuda.*{offered}.*--provider cpu"):
        choose("cuda")


def test_only_auto_looks_at_the_machine(trial: Callable[..., None]) -> None:
    trial(1)
    assert [resolve("cpu"), resolve("cuda"), resolve("auto")] == ["cpu", "cuda", "cpu"]
    trial(0)
    assert [resolve("cpu"), resolve("cuda"), resolve("auto")] == ["cpu", "cuda", "cuda"]


@pytest.mark.parametrize("asked", ["cuda", "auto"])
def test_cuda_is_chosen_where_a_session_opens_on_it(trial: Callable[..., None], asked: Any) -> None:
    trial(0)
    chosen = choose(asked)
    assert chosen.provider == "cuda"
    assert "opened a session" in chosen.reason


DRIVER = (
    "\x1b[1;31m2026-01-01 00:00:00.1 [E:onnxruntime:Default, provider_bridge_ort.cc:2251 "
    "TryGetProviderInfo_CUDA] libcudnn.so.9: cannot open shared object file\x1b[m\n"
    "Traceback (most recent call last):\n"
    "service.providers.ProviderUnavailable: the session runs on CPUExecutionProvider\n"
)
CAUSES = {
    "what the driver said": (1, DRIVER, "libcudnn.so.9: cannot open shared object file"),
    "else the last line": (1, "Traceback:\nValueError: no device\n\n", "ValueError: no device"),
    "else how it ended": (-11, "", "the trial ended with -11"),
}


@pytest.mark.parametrize("case", CAUSES)
def test_where_no_session_opens_on_cuda_its_cause_is_named(
    trial: Callable[..., None], case: str
) -> None:
    code, stderr, cause = CAUSES[case]
    trial(code, stderr)
    chosen = choose("auto")
    assert (chosen.provider, chosen.reason.endswith(cause)) == ("cpu", True)
    with pytest.raises(ProviderUnavailable, match=r"cannot open a session.*--provider cpu") as told:
        choose("cuda")
    assert cause in str(told.value)
    assert "\x1b" not in str(told.value)


def test_a_trial_without_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, offers_cuda: None
) -> None:
    def hangs(command: list[str], **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hangs)
    assert choose("auto").provider == "cpu"
    with pytest.raises(ProviderUnavailable, match="did not open a session on it within 120 s"):
        choose("cuda")


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="this installation has CUDA")
def test_the_real_trial_fails_on_an_installation_that_only_claims_to_have_cuda(
    offers_cuda: None,
) -> None:
    with pytest.raises(ProviderUnavailable, match=f"the session runs on {CPU}"):
        choose("cuda")


@pytest.mark.parametrize("asked", ["cpu", "cuda", "auto"])
def test_both_packages_at_once_are_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, asked: Any
) -> None:
    monkeypatch.setattr(providers, "_is_installed", lambda _: True)
    with pytest.raises(ProviderUnavailable, match=r"both installed.*uninstall both"):
        choose(asked)


def test_the_model_of_the_trial_is_a_gru_that_answers_what_its_equations_say() -> None:
    made = onnx.load_from_string(providers._TRIAL_MODEL)
    onnx.checker.check_model(made, full_check=True)
    assert [node.op_type for node in made.graph.node] == ["GRU"]
    session = open_session(providers._TRIAL_MODEL, "cpu")
    (answer,) = session.run(None, {"x": np.ones((1, 1, 1), np.float32)})
    update, candidate = 1 / (1 + np.exp(-1.0)), np.tanh(1.0)
    np.testing.assert_allclose(answer.item(), (1 - update) * candidate, rtol=1e-6)
    np.testing.assert_allclose(providers._TRIAL_ANSWER, (1 - update) * candidate, rtol=1e-7)


def test_on_cuda_arithmetic_is_exact_and_no_thread_spins(fake: type[FakeSession]) -> None:
    session = open_session(MODEL, "cuda")
    assert not session.fallback
    ((name, options),) = fake.opened["providers"]
    assert name == CUDA
    assert options["use_tf32"] == 0
    read = fake.opened["options"].get_session_config_entry
    assert read("session.intra_op.allow_spinning") == "0"
    assert fake.opened["options"].intra_op_num_threads == 1


def test_a_session_that_went_to_the_cpu_is_refused(fake: type[FakeSession]) -> None:
    fake.providers = (CPU,)
    with pytest.raises(ProviderUnavailable, match=f"the session runs on {CPU}"):
        open_session(MODEL, "cuda")


@pytest.mark.parametrize("op", ["GRU", "MatMul", "Gemm", "Loop"])
def test_a_heavy_node_left_to_the_cpu_is_refused_by_its_name(
    fake: type[FakeSession], op: str
) -> None:
    fake.nodes = ((CUDA, "Where"), (CPU, op), (CPU, op), (CPU, "Shape"))
    with pytest.raises(Misplaced, match=f"on cuda, onnxruntime leaves 2 {op} to the CPU"):
        open_session(MODEL, "cuda")


def test_another_node_on_the_cpu_is_named_in_the_log(
    fake: type[FakeSession], caplog: pytest.LogCaptureFixture
) -> None:
    fake.nodes = ((CUDA, "GRU"), (CPU, "Asinh"), (CPU, "Asinh"), (CPU, "Shape"))
    open_session(MODEL, "cuda")
    assert [record.getMessage() for record in caplog.records] == [
        "2 Asinh are left to the CPU on cuda"
    ]


def test_shapes_may_be_computed_on_the_cpu_without_a_word(
    fake: type[FakeSession], caplog: pytest.LogCaptureFixture
) -> None:
    open_session(MODEL, "cuda")
    assert not caplog.records


def test_onnxruntime_says_of_every_node_where_it_runs() -> None:
    session = open_session(MODEL, "cpu")
    parts = session.get_provider_graph_assignment_info()
    assert {part.ep_name for part in parts} == {CPU}
    operations = {node.op_type for part in parts for node in part.get_nodes()}
    assert {"GRU", "MatMul", "Gemm", "Shape"} <= operations


def test_a_trial_process_ends_with_its_error_and_not_with_a_forecast() -> None:
    command = [sys.executable, "-P", "-m", "service.providers"]
    tried = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if CUDA not in ort.get_available_providers():
        assert tried.returncode == 1
        assert tried.stderr.strip().endswith(f"the session runs on {CPU}")


@pytest.mark.parametrize("location", ["weights", "./weights", "../weights", "{folder}/weights"])
def test_weights_outside_of_the_model_are_refused(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    for folder in (tmp_path, inside):
        (folder / "weights").write_bytes(np.ones(4, np.float32).tobytes())
    monkeypatch.chdir(inside)
    assert open_session(_adding(None), "cpu").run(None, {"x": np.ones(4, np.float32)})
    with pytest.raises(Exception, match="External data path"):
        open_session(_adding(location.format(folder=inside)), "cpu")


def _adding(location: str | None) -> bytes:
    """A model that adds four numbers, its own or those of a file."""
    values = [onnx.helper.make_tensor_value_info(name, 1, [4]) for name in "xy"]
    weights = onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")
    if location is not None:
        onnx.external_data_helper.set_external_data(weights, location, 0, 16)
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "adding", values[:1], values[1:], [weights])
    opset = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    content: bytes = model.SerializeToString()
    return content
