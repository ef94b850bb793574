"""`Metadata`: what a client or an auditor asks of a model. Training writes it, serving reads it.

Here is what all tasks have in common; `forecast`, `regression` and `language` add what is their
own, and `tasks` knows them all.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"  # no dot, no slash: a name is never a path

BATCH, TIME = "batch", "time"  # free axes

Array = NDArray[Any]
Inputs = tuple[Array, ...]  # each [B, ...], in the order of the signature's inputs

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TensorSpec(Frozen):
    """One input or output of the graph; a named dimension is free, a number is fixed."""

    name: str
    dtype: Literal["float32", "int64"]
    shape: tuple[int | str, ...]

    def fixed(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape where the free axes have these sizes."""
        return tuple(size if isinstance(size, int) else sizes[size] for size in self.shape)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Block:
    """Rows of one shape, ready for the runtime."""

    rows: NDArray[np.int64]  # [B] their places among all rows
    inputs: Inputs


class Signature(Frozen, ABC):
    """What a client must know to ask a model, and the tensors that follow from it.

    Shape letters: B rows, T padded steps.
    """

    @property
    @abstractmethod
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that the graph must have, in this order; the first axis is the batch."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs that the graph must have, float32; the first axis is the batch."""

    def sizes(self, batch: int, steps: int) -> dict[str, int]:
        """The sizes of the free axes for so many rows of so many steps."""
        return {BATCH: batch, TIME: steps}

    def extent(self, first: tuple[int, ...]) -> tuple[int, int]:
        """Rows and steps, from the shape of the first input; a zero where it cannot be right."""
        return first[0] if first else 0, 1

    @property
    def paddings(self) -> tuple[int, ...]:
        """Every T that a batch may have."""
        return (1,)

    def padded(self, inputs: Inputs) -> list[int]:
        """The T of each row, which depends on the row alone."""
        return [1] * len(inputs[0])

    def blocks(self, inputs: Inputs) -> list["Block"]:
        """Rows without needless padding, as the service runs them."""
        padded = np.array(self.padded(inputs))
        found = []
        for steps in np.unique(padded).tolist():
            rows = np.flatnonzero(padded == steps)
            sizes = self.sizes(len(rows), steps)
            cuts = [tuple(map(slice, spec.fixed(sizes))) for spec in self.inputs]
            parts = [array[rows][cut] for array, cut in zip(inputs, cuts, strict=True)]
            found.append(Block(rows, tuple(map(np.ascontiguousarray, parts))))
        return found

    def padded_share(self, inputs: Inputs) -> float:
        """How much of a batch is padding, 0 to 1."""
        del inputs
        return 0.0

    def blank(self, batch: int, steps: int) -> Inputs:
        """Rows that any model can answer."""
        sizes = self.sizes(batch, steps)
        return tuple(np.zeros(spec.fixed(sizes), spec.dtype) for spec in self.inputs)

    def check(self, inputs: Inputs) -> None:
        """Refuse values that a graph must never see; dtypes and shapes are right already.

        Raises:
            ValueError: saying which.
        """

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """What a list of models says of it, by name."""

    def join(self, outputs: Sequence[Array]) -> Array:
        """The outputs of a run as one array [B, ...]: a single one as it is, several flat."""
        if len(outputs) == 1:
            return outputs[0]
        return np.concatenate([output.reshape(len(output), -1) for output in outputs], axis=1)

    def split(self, joined: Array) -> dict[str, Array]:
        """`join` undone, by the names of the outputs."""
        parts, rows = self._parts, len(joined)
        if len(parts) == 1:
            return {parts[0][0]: joined}
        return {name: joined[:, at].reshape(rows, *shape) for name, at, shape in parts}

    @cached_property
    def _parts(self) -> list[tuple[str, slice, tuple[int, ...]]]:
        """Of every output its name, its columns where several are joined, and the shape of a row.

        Found out once: a step of generation is split thousands of times in a second.
        """
        found, end = [], 0
        for spec in self.outputs:
            shape = spec.fixed(self.sizes(1, 1))[1:]
            start, end = end, end + math.prod(shape)
            found.append((spec.name, slice(start, end), shape))
        return found


class ModelFile(Frozen):
    """The identity of model.onnx."""

    sha256: Sha256
    size: int = Field(ge=1)  # bytes
    opset: int


class Training(Frozen):
    """Where the weights come from, enough to make them again."""

    data_fingerprint: Sha256
    observations: int  # values, rows or tokens it was made of
    seed: int
    steps: int  # optimiser steps of the weights that were kept
    network: Mapping[str, int | float | str | tuple[float, ...]]
    libraries: dict[str, str]


class ParityCase(Frozen):
    """One family of inputs, compared between torch and the served runtime."""

    name: str
    rows: int
    worst: float  # largest |torch - served| in units of the row's scale
    share: float  # largest |torch - served| as a share of what is allowed there, at most 1


class Parity(Frozen):
    """How far the served answers are from torch's own."""

    atol: float
    rtol: float
    rows: int
    worst: float
    share: float
    cases: tuple[ParityCase, ...]


class Judgement(Frozen):
    """How good a model is beside its baselines, on what training never saw."""

    best_baseline: str
    beats_baselines: bool


class Metadata(Frozen):
    """metadata.json of one version of one model; each task has a class of its own."""

    schema_version: Literal[1]
    task: str
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signature: Signature
    model_file: ModelFile
    training: Training
    evaluation: Judgement
    parity: dict[str, Parity]  # by execution provider: cpu, cuda

    @model_validator(mode="after")
    def _tensors_follow_the_signature(self) -> Self:
        for kind, said, expected in (
            ("inputs", self.inputs, self.signature.inputs),
            ("outputs", self.outputs, self.signature.outputs),
        ):
            if said != expected:
                came, wanted = (", ".join(map(str, specs)) for specs in (said, expected))
                raise ValueError(f"{kind} are {came or 'none'}; the signature says {wanted}")
        return self
