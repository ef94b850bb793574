"""The story of an explanation: artifact -> question -> trace -> memory, gradients, forced gates."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from service.contract.artifact import Artifact
from service.contract.forecast import ForecastMetadata
from service.contract.language import LanguageMetadata
from service.contract.regression import RegressionMetadata
from training.explain import pictures, row, sentence, series
from training.explain.forcing import outcomes
from training.explain.memory import OPENED, Gains, Memory, fallen, gains, memory, spectral_radius
from training.explain.question import CannotExplain, Floats, Question
from training.explain.trace import Trace, trace


def explain(
    artifact: Artifact, source: str | None, output: Path, say: Callable[[str], None] = print
) -> list[Path]:
    """Write the pictures into a folder, which is made; their paths.

    Args:
        source: a table or a worked example, or a sentence; see the modules of the questions.
        say: receives the figures.

    Raises:
        CannotExplain: a model without a GRU, or an input that it cannot be asked or shows nothing.
        InvalidTable: from a table.
        OSError: from the folder.
    """
    model = onnx.load_from_string(artifact.model)
    asked = question(artifact, source)
    answers, traces = trace(model, asked)
    output.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for number, one in enumerate(traces, 1):
        suffix = f"-{number}" if len(traces) > 1 else ""
        written += _layer(one, asked, asked.shown(answers), output, suffix, say)
    found = outcomes(model, asked)
    say(f"{asked.measure}, {asked.title}:")
    for outcome in found:
        say(f"  {outcome.figure:>10.4g}  {outcome.case}")
    pictures.forced(output / "forced.png", found, asked)
    return [*written, output / "forced.png"]


def question(artifact: Artifact, source: str | None) -> Question:
    """What a model of any task is asked.

    Raises:
        CannotExplain, InvalidTable: an input that the model cannot be asked.
    """
    metadata = artifact.metadata
    if isinstance(metadata, ForecastMetadata):
        return series.question(artifact, metadata, source)
    if isinstance(metadata, LanguageMetadata):
        return sentence.question(metadata, source)
    if isinstance(metadata, RegressionMetadata):
        return row.question(artifact, metadata, source)
    raise CannotExplain(f"the task {metadata.task} is not one that is explained here")


def _layer(
    one: Trace,
    asked: Question,
    shown: Floats,
    output: Path,
    suffix: str,
    say: Callable[[str], None],
) -> list[Path]:
    """The figures and the pictures of one layer."""
    count, units = one.gates.z.shape
    say(
        f"GRU{suffix} of {units} units, {one.layer.convention.value}, over {count} steps"
        f"{f' of {asked.patch} values each' if asked.patch > 1 else ''}; states computed again "
        f"in float64 differ from the graph's by at most {one.difference:.1e}"
    )
    say(f"  mean of r {one.gates.r.mean():.3f}, mean of z {one.gates.z.mean():.3f}")
    paths = [output / f"gates{suffix}.png"]
    pictures.gates(paths[0], one, asked, shown)
    if count < 2:
        say("  one step: no memory and no gradient over time to show")
        return paths
    remembered, gained = memory(one), gains(one)
    say(_of_memory(remembered))
    say(_of_gains(gained, one))
    paths += [output / f"memory{suffix}.png", output / f"gradients{suffix}.png"]
    pictures.memory(paths[1], remembered)
    pictures.gradients(paths[2], gained)
    return paths


def _of_memory(found: Memory) -> str:
    low, middle, high = np.percentile(found.constants, (10, 50, 90))
    return (
        f"  memory implied by the update gate: {middle:.2f} steps for the median unit "
        f"(10 %: {low:.2f}, 90 %: {high:.2f}); a state is below 1/e {_when(found.carried)} "
        f"through z alone, {_when(found.measured)} as measured"
    )


def _of_gains(found: Gains, one: Trace) -> str:
    return (
        f"  of a gradient, after {len(one.x)} steps back: {found.gru[-1]:.2g}; through z alone "
        f"{found.kept[-1]:.2g}; with {OPENED:g} more at z {found.opened[-1]:.2g}; plain tanh "
        f"network {found.plain[-1]:.2g}, its matrix U_n having the spectral radius "
        f"{spectral_radius(one.layer):.2f}"
    )


def _when(curve: Floats) -> str:
    steps = fallen(curve)
    return (
        f"after {steps:.2f} steps" if np.isfinite(steps) else f"not within {len(curve) - 1} steps"
    )
