"""One model in an open ONNX Runtime session, behind one function.

One thread per run and several runs at once: two intra-op threads make a small GRU slower. Every
model proves itself before it serves: its tensors against its metadata, its golden answers on this
machine and provider, and one run of every bucket so that the first caller does not pay for it.
"""

import time
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from service.contract.artifact import Artifact, Golden, InvalidArtifact
from service.contract.metadata import Array, Inputs, Signature
from service.contract.tolerance import TOLERANCES
from service.errors import InferenceFailed
from service.providers import Provider, ProviderUnavailable, Session, open_session

_MEASURED = (1, 8)  # rows of a batch whose time is measured at the start
_REPEATS = 3, 20  # of each, fewest and most; the shortest counts
_PATIENCE_S = 0.02  # for the repeats of one, beyond the fewest
_DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}


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
        self.name, self.version = artifact.metadata.name, artifact.metadata.version
        self.provider = provider
        signature = artifact.metadata.signature
        self.padded_share = signature.padded_share
        self._check, self._join = signature.check, signature.join
        self._extent = signature.extent
        self._inputs = signature.inputs
        self._outputs = [spec.name for spec in signature.outputs]
        self._names = [spec.name for spec in self._inputs]
        self._dtypes = [np.dtype(spec.dtype) for spec in self._inputs]
        self._shapes = _shapes_of(signature)
        self._session = _open(artifact, provider)
        self._check_signature()
        try:
            self._replay_golden(artifact.golden)
            self.measured = self._warm_up()  # padded steps, rows, seconds of a run
        except InferenceFailed as error:
            raise InvalidArtifact(f"{self._label}: {error}", "runtime") from error

    def allocate(self, padded: int, rows: int) -> Inputs:
        """The memory of a batch of so many rows of `padded` steps, in the signature's order."""
        shapes = self._shapes(rows, padded)
        return tuple(map(np.empty, shapes, self._dtypes))

    def run(self, *inputs: Array) -> NDArray[np.float32]:
        """The tensors of the signature, in its order -> its outputs, joined: [B, ...].

        Raises:
            InferenceFailed: the runtime failed, or an answer is not finite.
        """
        self._check_inputs(inputs)
        named = dict(zip(self._names, inputs, strict=True))
        try:
            outputs = self._session.run(self._outputs, named)
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise InferenceFailed(f"onnxruntime: {type(error).__name__}: {error}") from error
        answer = self._join(outputs)
        if not np.isfinite(answer).all():
            raise InferenceFailed("the model answered with a number that is not finite")
        return np.asarray(answer, np.float32)

    def _check_inputs(self, inputs: Inputs) -> None:
        """ONNX Runtime's GRU ends the process on an empty batch or zero steps: stop them here."""
        shapes = [array.shape for array in inputs]
        batch, steps = self._extent(shapes[0]) if shapes else (0, 0)
        if not batch or not steps or shapes != self._shapes(batch, steps):
            wanted = ", ".join(map(str, self._inputs))
            raise InferenceFailed(f"inputs of the shapes {shapes} do not agree with {wanted}")
        try:
            self._check(inputs)
        except ValueError as error:
            raise InferenceFailed(str(error)) from error

    def _check_signature(self) -> None:
        for kind, expected, found in (
            ("inputs", self.metadata.inputs, self._session.get_inputs()),
            ("outputs", self.metadata.outputs, self._session.get_outputs()),
        ):
            got = [(t.name, _DTYPES.get(t.type, t.type), tuple(t.shape)) for t in found]
            said = [(spec.name, spec.dtype, spec.shape) for spec in expected]
            if got != said:
                raise InvalidArtifact(
                    f"{self._label}: {kind} are {got}, metadata says {said}", "tensors"
                )

    def _replay_golden(self, golden: Golden) -> None:
        signature = self.metadata.signature
        expected = signature.join([golden.outputs[name] for name in self._outputs])
        tolerance = TOLERANCES[self.provider]
        for block in signature.blocks(golden.given(signature)):
            got, scale = self.run(*block.inputs), golden.scale[block.rows]
            difference = tolerance.compare(expected[block.rows], got, scale)
            if not difference.acceptable:
                raise InvalidArtifact(
                    f"{self._label}: on {self.provider} the answers differ from the golden ones by "
                    f"{difference.worst:.2g} of a row's scale, {difference.share:.1f} times what "
                    "is allowed",
                    "golden",
                )

    def _warm_up(self) -> list[tuple[int, int, float]]:
        """Run every padding alone and in a batch; the first run of each is not measured."""
        measured = []
        for padded in self.metadata.signature.paddings:
            for rows in _MEASURED:
                inputs = self.metadata.signature.blank(rows, padded)
                self.run(*inputs)
                measured.append((padded, rows, self._shortest_run(inputs)))
        return measured

    def _shortest_run(self, inputs: Inputs) -> float:
        """Seconds, of several: on a busy machine, others make most of them longer."""
        fewest, most = _REPEATS
        seconds: list[float] = []
        while len(seconds) < fewest or (len(seconds) < most and sum(seconds) < _PATIENCE_S):
            started = time.perf_counter()
            self.run(*inputs)
            seconds.append(time.perf_counter() - started)
        return min(seconds)

    @property
    def _label(self) -> str:
        return f"{self.metadata.name}/{self.metadata.version}"


def _shapes_of(signature: Signature) -> Callable[[int, int], list[tuple[int, ...]]]:
    """The shapes of the inputs by rows and steps.

    Without a way back to the runtime: a model that nobody needs any more is gone at once.
    """
    specs = signature.inputs

    @lru_cache(maxsize=4096)  # batches and buckets are few
    def shapes(batch: int, steps: int) -> list[tuple[int, ...]]:
        sizes = signature.sizes(batch, steps)
        return [spec.fixed(sizes) for spec in specs]

    return shapes


def _open(artifact: Artifact, provider: Provider) -> Session:
    try:
        return open_session(artifact.model, provider)
    except ProviderUnavailable:
        raise
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        name = f"{artifact.metadata.name}/{artifact.metadata.version}"
        message = f"{name}: onnxruntime cannot open model.onnx: {error}"
        raise InvalidArtifact(message, "runtime") from error
