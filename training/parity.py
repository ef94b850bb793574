"""torch = ONNX Runtime, through the code that serves. Refuses to publish above tolerance.

Each case is a family of rows that broke somebody's export once: every length, missing values,
constants, magnitudes, ragged batches. Rows are placed as the service places them and run by
`service.runtime`; differences are in units of each row's own scale.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from service.contract.artifact import Golden
from service.contract.metadata import Parity, ParityCase
from service.contract.placement import Block, place
from service.contract.tolerance import TOLERANCES
from service.runtime import Runtime
from training.network import GRUForecaster

Rows = list[NDArray[np.float64]]
MAGNITUDES = tuple(10.0**exponent for exponent in range(-6, 10))


class ParityFailed(RuntimeError):
    """The served answers differ from torch's by more than the tolerance."""


def check(network: GRUForecaster, runtime: Runtime, histories: Rows) -> Parity:
    """Compare torch and the served runtime on every case.

    Args:
        histories: real series of the training data, each at least one step.

    Raises:
        ParityFailed: with the worst case and by how much.
    """
    measured = tuple(
        _compare(name, rows, network, runtime) for name, rows in cases(network, histories).items()
    )
    failed = [f"{case.name} ({case.worst:.2g})" for case in measured if case.share > 1]
    tolerance = TOLERANCES[runtime.provider]
    if failed:
        raise ParityFailed(
            f"torch and the served model differ by more than {tolerance.atol:g} + "
            f"{tolerance.rtol:g} relative, in units of a series' scale: {', '.join(failed)}; "
            "nothing is published"
        )
    return Parity(
        atol=tolerance.atol,
        rtol=tolerance.rtol,
        rows=sum(case.rows for case in measured),
        worst=max(case.worst for case in measured),
        share=max(case.share for case in measured),
        cases=measured,
    )


def table(parity: Parity) -> str:
    """The cases as aligned text, one line each, and the verdict."""
    lines = [f"{'parity case':<16}{'rows':>6}{'worst':>10}{'of allowed':>12}"]
    lines += [
        f"{case.name:<16}{case.rows:>6}{case.worst:>10.1e}{case.share:>12.1%}"
        for case in parity.cases
    ]
    lines.append(
        f"Parity holds: {parity.rows} rows, torch and served answers differ by at most "
        f"{parity.share:.1%} of atol {parity.atol:g} + rtol {parity.rtol:g} (scaled outputs)."
    )
    return "\n".join(lines)


def cases(network: GRUForecaster, histories: Rows) -> Mapping[str, Rows]:
    """The rows of each case; the same for the same network shape and data."""
    length = network.config.context_length
    random = np.random.default_rng(0)

    def walk(steps: int) -> NDArray[np.float64]:
        """A random walk with a season, around a level."""
        season = np.sin(2 * np.pi * np.arange(steps) / max(2, network.config.seasonality))
        row: NDArray[np.float64] = 100 + np.cumsum(random.normal(size=steps)) + 5 * season
        return row

    def holed(steps: int) -> NDArray[np.float64]:
        """A walk of which a random share is missing, but not all."""
        row = walk(steps)
        row[random.random(steps) < random.uniform(0, 0.95)] = np.nan
        row[random.integers(steps)] = 100.0
        return row

    every_length = np.unique(np.linspace(1, length, min(length, 64)).astype(int))
    return {
        "every length": [walk(int(steps)) for steps in every_length],
        "missing values": [holed(length) for _ in range(64)],
        "constants": [np.full(length, c) for c in (0.0, 1.0, -3.5, 1e-6, 1e9)]
        + [np.zeros(1), np.full(1, 42.0)],
        "magnitudes": [walk(length) * factor for factor in MAGNITUDES for _ in range(3)],
        "ragged batch": [holed(int(random.integers(1, length + 1))) for _ in range(128)],
        "training data": [row[-length:] for row in histories[:64]],
    }


def golden(network: GRUForecaster, histories: Rows) -> Golden:
    """Torch's own answers to a few rows of every case, for the service to replay."""
    length = network.config.context_length
    rows = [row for family in cases(network, histories).values() for row in family[::8][:4]]
    context = np.full((len(rows), length), np.nan, np.float32)
    for at, row in enumerate(rows):
        context[at, : len(row)] = row
    lengths = np.array([len(row) for row in rows], np.int64)
    quantiles = np.empty(
        (len(rows), network.config.horizon, len(network.config.quantile_levels)), np.float32
    )
    scale = np.empty(len(rows), np.float32)
    for block in place(rows, length):
        quantiles[block.rows], scale[block.rows] = torch_answer(network, block)
    return Golden(context, lengths, quantiles, scale)


def _compare(name: str, rows: Rows, network: GRUForecaster, runtime: Runtime) -> ParityCase:
    tolerance = TOLERANCES[runtime.provider]
    worst = share = 0.0
    for block in place(rows, network.config.context_length):
        expected, scale = torch_answer(network, block)
        got = runtime.run(block.context, block.lengths)
        difference = tolerance.compare(expected, got, scale)
        worst, share = max(worst, difference.worst), max(share, difference.share)
    return ParityCase(name=name, rows=len(rows), worst=worst, share=share)


def torch_answer(
    network: GRUForecaster, block: Block
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Torch's quantiles [B, H, Q] and each row's scale [B] in data units."""
    context, lengths = torch.from_numpy(block.context), torch.from_numpy(block.lengths)
    network.eval()
    with torch.no_grad():
        scaled = network.rescale(context, lengths)
        quantiles = network(context, lengths)
    return quantiles.numpy(), (scaled.magnitude * scaled.scale).squeeze(1).numpy()
