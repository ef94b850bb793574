"""One model in an open ONNX Runtime session, behind one function.

One thread per run and several runs at once: two intra-op threads make a small GRU slower. Every
model proves itself before it serves: its tensors against its metadata, its golden answers on this
machine and provider, and one run of every bucket so that the first caller does not pay for it.
"""

import time
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from service.contract.artifact import Artifact, InvalidArtifact
from service.contract.metadata import QUANTILES
from service.contract.placement import Array, Inputs, bucket, place
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
        self._inputs = artifact.metadata.signature.inputs
        self._names = [spec.name for spec in self._inputs]
        self._dtypes = [np.dtype(spec.dtype) for spec in self._inputs]
        self._shapes = lru_cache(maxsize=4096)(self._shapes_for)  # batches and buckets are few
        self._session = _open(artifact, provider)
        self._check_signature()
        try:
            self._replay_golden(artifact)
            self.measured = self._warm_up()  # padded steps, rows, seconds of a run
        except InferenceFailed as error:
            raise InvalidArtifact(f"{self._label}: {error}") from error

    def allocate(self, padded: int, rows: int) -> Inputs:
        """The memory of a batch of so many rows of `padded` steps, in the signature's order."""
        shapes = self._shapes(rows, padded)
        return tuple(map(np.empty, shapes, self._dtypes))

    def padded_share(self, memory: Inputs) -> float:
        """How many of its steps are padding."""
        context, lengths = memory[:2]
        steps: int = sum(lengths.tolist())
        return 1.0 - steps / context.size

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

    def _warm_up(self) -> list[tuple[int, int, float]]:
        """Run every bucket alone and in a batch; the first run of each is not measured."""
        length = self.metadata.signature.context_length
        measured = []
        for padded in sorted({bucket(n, length) for n in range(1, length + 1)}):
            for rows in _MEASURED:
                inputs = self.allocate(padded, rows)
                for array in inputs:
                    array.fill(0)
                inputs[1].fill(padded)
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


def _open(artifact: Artifact, provider: Provider) -> Session:
    try:
        return open_session(artifact.model, provider)
    except ProviderUnavailable:
        raise
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        name = f"{artifact.metadata.name}/{artifact.metadata.version}"
        raise InvalidArtifact(f"{name}: onnxruntime cannot open model.onnx: {error}") from error
