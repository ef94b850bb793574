"""`Metadata`: what a client or an auditor asks of a model. Training writes it, serving reads it."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from service.contract.frequency import Frequency

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"  # no dot, no slash: a name is never a path

# The tensors of a graph. Rows are right-padded: the `lengths` steps of a row begin at 0, and of the
# span the horizon's steps follow right behind them, before the padding.
CONTEXT = "context"  # float32 [batch, time], data units, NaN = missing and padding
LENGTHS = "lengths"  # int64 [batch], valid steps of each row, 1..time
TIMESTAMPS = "timestamps"  # int64 [batch, span], seconds since 1970-01-01, padding 0
PAST = "past_covariates"  # float32 [batch, time, P], NaN = missing and padding
KNOWN = "known_covariates"  # float32 [batch, span, K], NaN = missing and padding
STATIC = "static_features"  # float32 [batch, S], NaN = missing
CATEGORIES = "static_categories"  # int64 [batch, C], codes, 0 = unknown or missing
QUANTILES = "quantiles"  # float32 [batch, horizon, levels], data units, sorted along levels

BATCH, TIME, SPAN = "batch", "time", "span"  # free axes; span = time + horizon

Level = Annotated[float, Field(gt=0.0, lt=1.0)]
CovariateName = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TensorSpec(_Frozen):
    """One input or output of the graph; a named dimension is free, a number is fixed."""

    name: str
    dtype: Literal["float32", "int64"]
    shape: tuple[int | str, ...]

    def fixed(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape where the free axes have these sizes."""
        return tuple(size if isinstance(size, int) else sizes[size] for size in self.shape)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


class Category(_Frozen):
    """A static feature that is text. The code of a value is its position + 1."""

    name: str = Field(min_length=1)
    values: tuple[str, ...]  # seen in training

    @model_validator(mode="after")
    def _values_are_sorted(self) -> Self:
        if list(self.values) != sorted(set(self.values)):
            raise ValueError(f"the values of category {self.name!r} must be sorted and distinct")
        return self

    def code(self, value: str | None) -> int:
        """1.. for a value seen in training, 0 for any other and for a missing one."""
        if value is None:
            return 0
        at = bisect_left(self.values, value)
        return at + 1 if self.values[at : at + 1] == (value,) else 0


class Covariates(_Frozen):
    """What a model wants to know of a series beside its target, by kind and in this order."""

    past: tuple[CovariateName, ...] = ()  # a number per step of the context
    known: tuple[CovariateName, ...] = ()  # a number per step of the context and of the horizon
    static: tuple[CovariateName, ...] = ()  # a number per series
    categories: tuple[Category, ...] = ()  # a text per series

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [*self.past, *self.known, *self.static, *(c.name for c in self.categories)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"covariates {twice} are declared twice; each name has one meaning")
        return self

    def __bool__(self) -> bool:
        """Whether anything is declared."""
        return bool(self.past or self.known or self.static or self.categories)

    def codes(self, values: Sequence[str | None]) -> tuple[int, ...]:
        """The code of each category's value; values in the order of `categories`."""
        return tuple(c.code(value) for c, value in zip(self.categories, values, strict=True))


class ForecastSignature(_Frozen):
    """What a client must know to ask for a forecast."""

    freq: str  # pandas offset alias of the series the model was trained on
    seasonality: int = Field(ge=1)  # steps
    context_length: int = Field(ge=1)  # steps; of a longer history the newest part is used
    minimum_context: int = Field(ge=1)  # steps
    horizon: int = Field(ge=1)  # steps
    quantile_levels: tuple[Level, ...]  # increasing, 0.5 among them
    covariates: Covariates = Covariates()
    calendar: bool = False  # the graph reads hours, weekdays, months from timestamps

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

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that the graph must have, in this order."""
        declared = self.covariates
        past, known, static = len(declared.past), len(declared.known), len(declared.static)
        categories = len(declared.categories)
        everything = (
            (True, TensorSpec(name=CONTEXT, dtype="float32", shape=(BATCH, TIME))),
            (True, TensorSpec(name=LENGTHS, dtype="int64", shape=(BATCH,))),
            (self.calendar, TensorSpec(name=TIMESTAMPS, dtype="int64", shape=(BATCH, SPAN))),
            (past, TensorSpec(name=PAST, dtype="float32", shape=(BATCH, TIME, past))),
            (known, TensorSpec(name=KNOWN, dtype="float32", shape=(BATCH, SPAN, known))),
            (static, TensorSpec(name=STATIC, dtype="float32", shape=(BATCH, static))),
            (
                categories,
                TensorSpec(name=CATEGORIES, dtype="int64", shape=(BATCH, categories)),
            ),
        )
        return tuple(spec for wanted, spec in everything if wanted)

    def sizes(self, batch: int, steps: int) -> dict[str, int]:
        """The sizes of the free axes for so many rows of so many steps."""
        return {BATCH: batch, TIME: steps, SPAN: steps + self.horizon}

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs that the graph must have."""
        shape = (BATCH, self.horizon, len(self.quantile_levels))
        return (TensorSpec(name=QUANTILES, dtype="float32", shape=shape),)


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
    network: Mapping[str, int | float | str | tuple[float, ...]]
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
    def _tensors_follow_the_signature(self) -> Self:
        for kind, said, expected in (
            ("inputs", self.inputs, self.signature.inputs),
            ("outputs", self.outputs, self.signature.outputs),
        ):
            if said != expected:
                came, wanted = (", ".join(map(str, specs)) for specs in (said, expected))
                raise ValueError(f"{kind} are {came or 'none'}; the signature says {wanted}")
        return self
