"""`Metadata`: what a client or an auditor asks of a model. Training writes it, serving reads it."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from service.contract.frequency import Frequency

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"  # no dot, no slash: a name is never a path

CONTEXT = "context"  # float32 [batch, time], data units, NaN = missing, right-padded
LENGTHS = "lengths"  # int64 [batch], valid steps of each row, 1..time
QUANTILES = "quantiles"  # float32 [batch, horizon, levels], data units, sorted along levels

Level = Annotated[float, Field(gt=0.0, lt=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TensorSpec(_Frozen):
    """One input or output of the graph; a named dimension is free, a number is fixed."""

    name: str
    dtype: Literal["float32", "int64"]
    shape: tuple[int | str, ...]


class ForecastSignature(_Frozen):
    """What a client must know to ask for a forecast."""

    freq: str  # pandas offset alias of the series the model was trained on
    seasonality: int = Field(ge=1)  # steps
    context_length: int = Field(ge=1)  # steps; of a longer history the newest part is used
    minimum_context: int = Field(ge=1)  # steps
    horizon: int = Field(ge=1)  # steps
    quantile_levels: tuple[Level, ...]  # increasing, 0.5 among them

    @field_validator("freq")
    @classmethod
    def _freq_is_known(cls, freq: str) -> str:
        Frequency.parse(freq)
        return freq

    @model_validator(mode="after")
    def _levels_are_usable(self) -> Self:
        levels = self.quantile_levels
        if 0.5 not in levels or list(levels) != sorted(set(levels)):
            raise ValueError("quantile_levels must increase and hold 0.5")
        return self


class ModelFile(_Frozen):
    """The identity of model.onnx."""

    sha256: Sha256
    size: int = Field(ge=1)  # bytes
    opset: int


class Training(_Frozen):
    """Where the weights come from, enough to make them again."""

    data_fingerprint: Sha256
    series: int
    observations: int
    seed: int
    steps: int  # optimiser steps of the weights that were kept
    network: dict[str, int | float | str | tuple[float, ...]]
    libraries: dict[str, str]


class Scores(_Frozen):
    """One row of a backtest table; None where the measure is undefined (a constant series, say)."""

    mase: float | None
    smape: float | None  # M4 convention, 0..200
    wql: float | None
    coverage: float | None  # share of actuals inside the central 80 % interval


class Evaluation(_Frozen):
    """The backtest on the last horizon of every series, which training never saw."""

    horizon: int
    scores: dict[str, Scores]
    best_baseline: str
    beats_baselines: bool


class ParityCase(_Frozen):
    """One family of inputs, compared between torch and the served runtime."""

    name: str
    rows: int
    worst: float  # largest |torch - served| in units of the row's scale
    share: float  # largest |torch - served| as a share of what is allowed there, at most 1


class Parity(_Frozen):
    """How far the served answers are from torch's own."""

    atol: float
    rtol: float
    rows: int
    worst: float
    share: float
    cases: tuple[ParityCase, ...]


class Metadata(_Frozen):
    """metadata.json of one version of one model."""

    schema_version: Literal[1]
    task: Literal["forecast"]
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signature: ForecastSignature
    model_file: ModelFile
    training: Training
    evaluation: Evaluation
    parity: dict[str, Parity]  # by execution provider: cpu, cuda

    @model_validator(mode="after")
    def _outputs_follow_the_signature(self) -> Self:
        shape = ("batch", self.signature.horizon, len(self.signature.quantile_levels))
        if [output.shape for output in self.outputs] != [shape]:
            raise ValueError(f"outputs must be one tensor of shape {shape}, as the signature says")
        return self
