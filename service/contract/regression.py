"""The task `regression`: a number from the numbers of one row of a table."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from service.contract.metadata import BATCH, Frozen, Judgement, Metadata, Signature, TensorSpec

FEATURES = "features"  # float32 [batch, F], data units, finite
PREDICTION = "prediction"  # float32 [batch], data units

ColumnName = Annotated[str, Field(min_length=1)]


class RegressionSignature(Signature):
    """What a client must know to ask for a prediction."""

    features: Annotated[tuple[ColumnName, ...], Field(min_length=1)]  # columns, in this order
    target: ColumnName

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [*self.features, self.target]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"columns {twice} are declared twice; each name has one meaning")
        return self

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """One row of numbers."""
        shape = (BATCH, len(self.features))
        return (TensorSpec(name=FEATURES, dtype="float32", shape=shape),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """One number."""
        return (TensorSpec(name=PREDICTION, dtype="float32", shape=(BATCH,)),)

    def summary(self) -> dict[str, Any]:
        """What a prediction needs and gives."""
        return self.model_dump()


class RegressionScores(Frozen):
    """Errors on the rows that training never saw."""

    r2: float
    rmse: float  # in units of the target


class RegressionEvaluation(Judgement):
    """The held-out rows, beside the baselines."""

    rows: int  # held out
    scores: dict[str, RegressionScores]


class RegressionMetadata(Metadata):
    """metadata.json of a regression."""

    task: Literal["regression"] = "regression"
    signature: RegressionSignature
    evaluation: RegressionEvaluation
