"""Execution providers: which one runs the models here, and whether it really does.

The only file that imports onnxruntime. That library goes on with the CPU, and a warning at most,
where CUDA was asked for and its libraries, its driver or its kernels are missing. Here nothing goes
on by itself: a session is tried in a process of its own before the service starts, and of every
model it is read back which provider each node was given to.
"""

import base64
import importlib.metadata
import logging
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import onnxruntime as ort

Provider = Literal["cpu", "cuda"]
Session: TypeAlias = ort.InferenceSession
Asked = Literal["cpu", "cuda", "auto"]

_NAMES: dict[Provider, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")
# Files beside a model from which it takes weights: none, not even from the folder we run in.
_ELSEWHERE = "session.model_external_initializers_file_folder_path"
_TRIAL_S = 120.0
# A GRU of one unit over one step, opset 20: it needs the driver, CUDA and cuDNN.
_TRIAL_MODEL = base64.b64decode(
    "CAoSADqwAQpDCgF4CgF3CgFyEgASAXkiA0dSVSoSCgtoaWRkZW5fc2l6ZRgBoAECKhoKE2xpbmVhcl9iZWZvcmVfcmVz"
    "ZXQYAaABAhIBcCoZCAEIAwgBEAEiDAAAgD8AAIA/AACAP0IBdyoZCAEIAwgBEAEiDAAAgD8AAIA/AACAP0IBcloXCgF4"
    "EhIKEAgBEgwKAggBCgIIAQoCCAFiFwoBeRISChAIARIMCgIIAQoCCAEKAggBQgQKABAU"
)
_TRIAL_ANSWER = 0.20482421  # (1 - sigmoid(1)) tanh(1)
# onnxruntime itself puts arithmetic of shapes on the CPU, where they are needed.
_OF_SHAPES = {
    *("Shape", "Size", "Range", "Gather", "Concat", "Slice", "Squeeze", "Unsqueeze", "Cast"),
    *("Add", "Sub", "Mul", "Div"),
}
# Where the time goes: on the CPU, these are not an answer to "run it on CUDA".
_HEAVY = {"GRU", "LSTM", "RNN", "MatMul", "Gemm", "Conv", "Scan", "Loop", "If"}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

log = logging.getLogger("gatecast")


class ProviderUnavailable(RuntimeError):
    """The asked execution provider cannot be used on this machine as it is installed."""


class Misplaced(RuntimeError):
    """A model that onnxruntime cannot run on the provider, though others may."""


@dataclass(frozen=True)
class Choice:
    """The provider that runs the models, and why this one."""

    provider: Provider
    reason: str


def choose(asked: Asked) -> Choice:
    """What was asked for if it works here; of `auto`, CUDA if it works here and the CPU otherwise.

    Raises:
        ProviderUnavailable: both onnxruntime packages are installed, or CUDA was asked for and
            cannot be used; the message holds what onnxruntime or the driver said.
    """
    package = _installed()
    if asked == "cpu":
        return Choice("cpu", "it was asked for")
    reason = _why_not_cuda(package)
    if reason is None:
        return Choice("cuda", f"{package} opened a session on it")
    if asked == "auto":
        return Choice("cpu", reason)
    raise ProviderUnavailable(
        f"provider cuda was asked for, but {reason}; install gatecast[gpu] on a machine with an "
        "NVIDIA driver, CUDA and cuDNN, or use --provider cpu"
    )


def resolve(asked: Asked) -> Provider:
    """The provider meant by a setting; only `auto` needs to look at the machine."""
    return choose(asked).provider if asked == "auto" else asked


def open_session(model: bytes, provider: Provider) -> Session:
    """A session of one thread, with every heavy node on the provider.

    Raises:
        ProviderUnavailable: onnxruntime opened it on another provider.
        Misplaced: it leaves a heavy node to another provider.
        Exception: onnxruntime cannot open the model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(_ELSEWHERE, os.devnull)  # where nothing can lie
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers: list[object] = [_NAMES[provider]]
    if provider == "cuda":
        ort.preload_dlls()  # of NVIDIA's own Python packages, where they are installed
        providers = [(_NAMES[provider], {"use_tf32": 0})]  # parity before speed
    session = ort.InferenceSession(model, options, providers=providers)
    session.disable_fallback()  # or a failed run would open another session, on the CPU
    if session.get_providers()[0] != _NAMES[provider]:
        raise ProviderUnavailable(
            f"provider {provider} was asked for, the session runs on {session.get_providers()[0]}"
        )
    _check_placement(session, provider)
    return session


def _check_placement(session: Session, provider: Provider) -> None:
    """Refuse heavy nodes elsewhere, and say so of others; those of shapes may be anywhere.

    `session.disable_cpu_ep_fallback` is no help: it refuses every node on the CPU, also those of
    shapes that onnxruntime itself prefers there, and with them every model of ours.
    """
    elsewhere = Counter(
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != _NAMES[provider]
        for node in part.get_nodes()
    )
    if heavy := _HEAVY & elsewhere.keys():
        raise Misplaced(f"on {provider}, onnxruntime leaves {_list(elsewhere, heavy)} to the CPU")
    if others := elsewhere.keys() - _OF_SHAPES:
        log.warning("%s are left to the CPU on %s", _list(elsewhere, others), provider)


def _list(counts: Counter[str], of: set[str]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in sorted(of))


def _installed() -> str:
    """The installed package and its version."""
    installed = [name for name in _PACKAGES if _is_installed(name)]
    if len(installed) > 1:
        raise ProviderUnavailable(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; "
            "uninstall both, then install gatecast[cpu] or gatecast[gpu]"
        )
    return f"{(installed or _PACKAGES)[0]} {ort.__version__}"


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _why_not_cuda(package: str) -> str | None:
    """What keeps a session from running on CUDA, or None.

    Tried in another process: it may end in a crash of the driver, and would keep memory of the GPU.
    """
    available = ort.get_available_providers()
    if _NAMES["cuda"] not in available:
        return f"{package} offers only {', '.join(available)}"
    try:
        tried = subprocess.run(
            [sys.executable, "-P", "-m", "service.providers"],
            capture_output=True,
            text=True,
            timeout=_TRIAL_S,
        )
    except subprocess.TimeoutExpired:
        return f"{package} did not open a session on it within {_TRIAL_S:.0f} s"
    if tried.returncode == 0:
        return None
    return f"{package} cannot open a session on it: {_cause(tried)}"


def _cause(tried: subprocess.CompletedProcess[str]) -> str:
    """The first error onnxruntime logged, else the last line, else how the process ended."""
    lines = [_COLOURS.sub("", line).strip() for line in tried.stderr.splitlines()]
    errors = [line.partition("] ")[2] for line in lines if "[E:onnxruntime" in line]
    said = [line for line in (*errors[:1], *reversed(lines)) if line]
    return said[0] if said else f"the trial ended with {tried.returncode}"


def _try_cuda() -> None:
    """The trial; it raises whatever goes wrong."""
    session = open_session(_TRIAL_MODEL, "cuda")
    (answer,) = session.run(None, {"x": np.ones((1, 1, 1), np.float32)})
    if not np.allclose(answer, _TRIAL_ANSWER, rtol=1e-4):
        raise ProviderUnavailable(f"a GRU on CUDA answers {answer.item()}, not {_TRIAL_ANSWER}")


if __name__ == "__main__":
    _try_cuda()
