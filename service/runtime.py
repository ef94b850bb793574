"""An open ONNX Runtime session behind one function: the only file that imports onnxruntime.

One thread per run and several runs at once: two intra-op threads make a small GRU slower. Every
model proves itself before it serves: its tensors against its metadata, its golden answers on this
machine and provider, and one run of every bucket so that the first caller does not pay for it.
"""

import importlib.metadata
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.contract.artifact import Artifact, InvalidArtifact
from service.contract.metadata import LENGTHS, QUANTILES
from service.contract.placement import Array, bucket, place
from service.contract.tolerance import TOLERANCES
from service.errors import InferenceFailed

Provider = Literal["cpu", "cuda"]
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}


class ProviderUnavailable(RuntimeError):
    """The asked execution provider cannot be used on this machine as it is installed."""


def check_installation(provider: Provider) -> None:
    """Refuse to start on an installation that would not run where it was told to.

    Raises:
        ProviderUnavailable: both onnxruntime packages are installed, or the provider is missing.
    """
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(installed) > 1:
        raise ProviderUnavailable(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; "
            "uninstall both, then install gatecast[cpu] or gatecast[gpu]"
        )
    available = ort.get_available_providers()
    if _PROVIDERS[provider] not in available:
        raise ProviderUnavailable(
            f"provider {provider} was asked for, but {installed[0]} {ort.__version__} offers only "
            f"{', '.join(available)}; install gatecast[gpu] on a machine with CUDA, or use "
            "--provider cpu"
        )


class Runtime:
    """One model, open on one provider. `run` may be called from several threads at once."""

    def __init__(self, artifact: Artifact, provider: Provider = "cpu") -> None:
        """Open the model and prove it.

        Raises:
            InvalidArtifact: the graph cannot be opened, its tensors are not those of the metadata,
                it cannot run, or its answers are not the golden ones.
            ProviderUnavailable: the session was not opened on the provider.
        """
        self.metadata = artifact.metadata
        self.provider = provider
        self._inputs = artifact.metadata.signature.inputs
        self._names = [spec.name for spec in self._inputs]
        self._shapes = lru_cache(maxsize=4096)(self._shapes_for)  # batches and buckets are few
        self._session = _open(artifact, provider)
        self._check_signature()
        try:
            self._replay_golden(artifact)
            self._warm_up()
        except InferenceFailed as error:
            raise InvalidArtifact(f"{self._label}: {error}") from error

    def run(self, *inputs: Array) -> NDArray[np.float32]:
        """The tensors of the signature, in its order -> quantiles [B, H, Q] in data units.

        Raises:
            InferenceFailed: the runtime failed, or the forecast is not finite.
        """
        self._check_inputs(inputs)
        named = dict(zip(self._names, inputs, strict=True))
        try:
            (quantiles,) = self._session.run([QUANTILES], named)
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise InferenceFailed(f"onnxruntime: {type(error).__name__}: {error}") from error
        if not np.isfinite(quantiles).all():
            raise InferenceFailed("the model answered with a number that is not finite")
        return np.asarray(quantiles, np.float32)

    def _check_inputs(self, inputs: Sequence[Array]) -> None:
        """ONNX Runtime's GRU ends the process on an empty batch or zero steps: stop them here."""
        shapes = [array.shape for array in inputs]
        batch, time = shapes[0] if shapes and len(shapes[0]) == 2 else (0, 0)
        if not batch or not time or shapes != self._shapes(batch, time):
            wanted = ", ".join(map(str, self._inputs))
            raise InferenceFailed(f"inputs of the shapes {shapes} do not agree with {wanted}")
        lengths = inputs[1].tolist()  # of a few rows, faster than two reductions
        if min(lengths) < 1 or max(lengths) > time:
            raise InferenceFailed(f"lengths must lie in 1..{time}")

    def _shapes_for(self, batch: int, time: int) -> list[tuple[int, ...]]:
        sizes = self.metadata.signature.sizes(batch, time)
        return [spec.fixed(sizes) for spec in self._inputs]

    def _check_signature(self) -> None:
        for kind, expected, found in (
            ("inputs", self.metadata.inputs, self._session.get_inputs()),
            ("outputs", self.metadata.outputs, self._session.get_outputs()),
        ):
            got = [(t.name, _DTYPES.get(t.type, t.type), tuple(t.shape)) for t in found]
            said = [(spec.name, spec.dtype, spec.shape) for spec in expected]
            if got != said:
                raise InvalidArtifact(f"{self._label}: {kind} are {got}, metadata says {said}")

    def _replay_golden(self, artifact: Artifact) -> None:
        golden, signature = artifact.golden, self.metadata.signature
        tolerance = TOLERANCES[self.provider]
        for block in place(golden.histories(signature), signature):
            got = self.run(*block.inputs)
            expected, scale = golden.quantiles[block.rows], golden.scale[block.rows]
            difference = tolerance.compare(expected, got, scale)
            if not difference.acceptable:
                raise InvalidArtifact(
                    f"{self._label}: on {self.provider} the answers differ from the golden ones by "
                    f"{difference.worst:.2g} of a series' scale, {difference.share:.1f} times what "
                    "is allowed"
                )

    def _warm_up(self) -> None:
        signature = self.metadata.signature
        length = signature.context_length
        for padded in sorted({bucket(n, length) for n in range(1, length + 1)}):
            sizes = signature.sizes(1, padded)
            inputs = {spec.name: np.zeros(spec.fixed(sizes), spec.dtype) for spec in self._inputs}
            inputs[LENGTHS][:] = padded
            self.run(*inputs.values())

    @property
    def _label(self) -> str:
        return f"{self.metadata.name}/{self.metadata.version}"


def _open(artifact: Artifact, provider: Provider) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # planned per input shape: grows with ever-changing shapes
    options.log_severity_level = 3
    providers: list[object] = [_PROVIDERS[provider]]
    if provider == "cuda":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        providers = [(_PROVIDERS[provider], {"use_tf32": 0})]  # parity before speed
    try:
        session = ort.InferenceSession(artifact.model, options, providers=providers)
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        name = f"{artifact.metadata.name}/{artifact.metadata.version}"
        raise InvalidArtifact(f"{name}: onnxruntime cannot open model.onnx: {error}") from error
    session.disable_fallback()
    if session.get_providers()[0] != _PROVIDERS[provider]:
        raise ProviderUnavailable(
            f"provider {provider} was asked for, the session runs on {session.get_providers()[0]}"
        )
    return session


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
