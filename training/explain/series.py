"""A forecaster's question: the newest part of one series, and what followed it.

With a table or a worked example, the last horizon of its first series is kept back, so the forecast
can be compared with what came. Without one, the last of the golden rows is taken, a real series
where the model has seen any; what followed it is not known.
"""

from pathlib import Path

import numpy as np

from service.contract.artifact import Artifact
from service.contract.forecast import (
    CONTEXT,
    LENGTHS,
    QUANTILES,
    ForecastMetadata,
    ForecastSignature,
)
from service.contract.metadata import Inputs
from service.contract.placement import place
from training import data, recipes
from training.explain.question import Answers, CannotExplain, Floats, Question
from training.histories import at_cutoffs


def question(artifact: Artifact, metadata: ForecastMetadata, source: str | None) -> Question:
    """What to ask a forecaster.

    Args:
        source: a worked example or the path of a table, whose first series is taken.

    Raises:
        CannotExplain: a series that the model cannot be asked for, or too short to show anything.
        InvalidTable: from the table.
    """
    signature = metadata.signature
    title, inputs, actual = _given(artifact, signature, source)
    names = [spec.name for spec in signature.inputs]
    run = dict(zip(names, inputs, strict=True))
    seen = run[CONTEXT][0, : int(run[LENGTHS][0])].astype(np.float64)
    if len(seen) < 2 or np.isnan(seen).all():
        raise CannotExplain(
            f"{title} has {len(seen)} steps before its forecast; give --input a series with at "
            f"least {signature.horizon + 2} steps, observed ones among them"
        )
    middle = signature.quantile_levels.index(0.5)
    patch = metadata.training.network.get("patch", 1)

    def ahead(answers: Answers) -> Floats:
        return answers[0][QUANTILES][0, :, middle].astype(np.float64)

    def judge(answers: Answers) -> float:
        forecast = ahead(answers)
        return float(forecast.mean() if actual is None else np.nanmean(np.abs(forecast - actual)))

    return Question(
        title=title,
        runs=(run,),
        judge=judge,
        measure="mean of the median forecast" if actual is None else "mean absolute error",
        shown=lambda _: seen,
        shown_as="value",
        patch=patch if isinstance(patch, int) else 1,
        ahead=ahead,
        actual=actual,
    )


def _given(
    artifact: Artifact, signature: ForecastSignature, source: str | None
) -> tuple[str, Inputs, Floats | None]:
    """What the series is called, the inputs, and what followed where that is known."""
    if source is not None:
        return _of_series(_panel(source, signature), signature)
    last = tuple(array[-1:] for array in artifact.golden.given(signature))
    return "the last golden row", signature.blocks(last)[0].inputs, None  # without needless padding


def _panel(source: str, signature: ForecastSignature) -> data.Panel:
    if source not in recipes.RECIPES:
        return data.load_for(Path(source), signature)
    panel = recipes.RECIPES[source].load()
    if (panel.frequency.alias, panel.covariates) != (signature.freq, signature.covariates):
        raise CannotExplain(
            f"--input {source} has the freq {panel.frequency.alias} and no covariates, the model "
            f"was trained with freq {signature.freq} and its own columns; give a table like those"
        )
    return panel


def _of_series(panel: data.Panel, signature: ForecastSignature) -> tuple[str, Inputs, Floats]:
    """A name, the inputs up to the last horizon, and the values [H] of that horizon."""
    series = panel.series[0]
    cutoff = len(series.target) - signature.horizon
    if cutoff < max(2, signature.minimum_context):
        raise CannotExplain(
            f"item {series.item_id!r} has {len(series.target)} steps; the last "
            f"{signature.horizon} are kept back to be forecast, and at least "
            f"{max(2, signature.minimum_context)} must lie before them: give a longer series"
        )
    actual = series.target[cutoff:]
    if np.isnan(actual).all():
        raise CannotExplain(
            f"item {series.item_id!r} has no observed target in its last {signature.horizon} "
            "steps, so no forecast of them can be judged; cut the series where it is known"
        )
    history = at_cutoffs(panel, [(series, cutoff)], signature)
    return f"item {series.item_id}", place(history, signature)[0].inputs, actual
