"""Training beside neuralforecast's GRU: `python -m benchmarks.training TABLE --horizon 48`.

In one run and in turn, because a machine is never as fast twice:

- windows per second at equal size, the median over rounds. neuralforecast runs with one thread and
  with one per core, and the better of the two counts: on a busy machine, its threads wait for each
  other.
- the score on the last horizon of every series, as a share of seasonal naive's: neuralforecast
  after `--steps` steps at that size, Gatecast's own choice after the same time and a tenth of it.

neuralforecast gets an environment of its own, made by the first run.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from service.cores import available_cores
from training import data
from training.config import FitConfig, NetworkConfig
from training.data import Panel
from training.evaluate import MODEL, NAIVE, Backtest, Scores, score, seasonal_error
from training.origins import Origins
from training.rolling import rolling
from training.train import fit_panel

PEER = "neuralforecast"
PACKAGES = ("neuralforecast==3.3.0", "torch==2.13.0", "pyarrow")
SCRIPT = Path(__file__).parent / "peers" / "neuralforecast_gru.py"
HIDDEN, BATCH = 128, 256
WARM_UP, TIMED = 3, 12  # steps of a round


@dataclass(frozen=True)
class Case:
    """What both are given."""

    panel: Panel
    origins: Origins
    seasonality: int  # of the denominator of MASE
    context: int  # steps; of the comparison at equal size
    python: Path  # of neuralforecast's environment

    @property
    def size(self) -> NetworkConfig:
        """The size at which speed is compared: one recurrent step for each step of the context."""
        return replace(
            NetworkConfig.for_panel(self.panel, self.origins),
            context_length=self.context,
            hidden=HIDDEN,
            layers=1,
            patch=1,
        )


def main() -> None:
    """Compare speed, then scores, and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--freq", help="pandas alias; inferred when left out")
    parser.add_argument("--horizon", type=int, default=48)
    parser.add_argument("--seasonality", type=int, default=24)
    parser.add_argument("--context", type=int, default=168)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000, help="of neuralforecast's scored fit")
    parser.add_argument("--environment", type=Path, default=Path("build/neuralforecast-3.3.0"))
    given = parser.parse_args()
    panel = data.load(given.table, given.freq)
    python = _environment(given.environment)
    case = Case(panel, Origins(given.horizon), given.seasonality, given.context, python)
    threads = _speed(case, given.rounds)
    _accuracy(case, given.steps, threads)


def _speed(case: Case, rounds: int) -> int:
    """Print windows per second; the number of threads that suits neuralforecast."""
    counts = sorted({1, available_cores()})
    ours: list[float] = []
    theirs: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(rounds):
        ours.append(_ours(case))
        for count in counts:
            theirs[count].append(_rate(_theirs(case, WARM_UP + TIMED, count)["stamps"]))
    best = max(counts, key=lambda count: statistics.median(theirs[count]))
    ratios = [a / b for a, b in zip(ours, theirs[best], strict=True)]
    print(
        f"windows per second: hidden {HIDDEN}, context {case.context}, horizon "
        f"{case.origins.horizon}, batch {BATCH}; medians of {rounds} rounds"
    )
    for count in counts:
        name = f"{PEER}, threads: {count}"
        print(f"  {name:<32}{statistics.median(theirs[count]):8.0f}")
    print(f"  {'Gatecast':<32}{statistics.median(ours):8.0f}")
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"  {'ratio':<32}{statistics.median(ratios):8.2f}  (rounds: {each})", flush=True)
    return best


def _accuracy(case: Case, steps: int, threads: int) -> None:
    """Print scores after equal time, and after a tenth of it."""
    answer = _theirs(case, steps, threads)
    seconds: float = answer["seconds"]
    equal, tenth = (_judged(case, budget) for budget in (seconds, seconds / 10))
    naive = equal.scores[NAIVE]
    quantiles = np.array(answer["quantiles"])
    errors = np.array([seasonal_error(seen, case.seasonality) for seen in equal.histories])
    theirs = score(equal.actual, quantiles, equal.levels, errors)
    rows = (
        (f"{PEER}, {steps} steps", seconds, theirs),
        ("Gatecast, the same time", seconds, equal.scores[MODEL]),
        ("Gatecast, a tenth of it", seconds / 10, tenth.scores[MODEL]),
    )
    print(f"\n{'':<32}{'of ' + NAIVE:>26}{'of ' + PEER:>26}")
    print(f"{'score':<32}{'seconds':>8}" + 2 * f"{'MASE':>9}{'WQL':>9}")
    for name, spent, scores in rows:
        ratios = (*_ratios(scores, naive), *_ratios(scores, theirs))
        print(f"  {name:<30}{spent:8.0f}" + "".join(f"{ratio:9.3f}" for ratio in ratios))


def _ours(case: Case) -> float:
    """Windows per second of a fit."""
    stamps: list[float] = []
    fit = FitConfig(batch_size=BATCH, steps=WARM_UP + TIMED)
    with tempfile.TemporaryDirectory() as folder:
        fit_panel(
            case.panel,
            case.origins,
            case.size,
            fit,
            Path(folder) / "fit.pt",
            progress=lambda *_: stamps.append(time.perf_counter()),
        )
    return _rate(stamps)


def _rate(stamps: Sequence[float]) -> float:
    """Windows per second after the warm-up."""
    return BATCH * (len(stamps) - WARM_UP) / (stamps[-1] - stamps[WARM_UP - 1])


def _judged(case: Case, seconds: float) -> Backtest:
    """Gatecast as it comes, with so much time."""
    network = NetworkConfig.for_panel(case.panel, case.origins)
    fit = FitConfig().with_budget(seconds)
    judged, _ = rolling(
        case.panel, case.origins, case.seasonality, network, fit, baseline_limit_s=0
    )
    return judged


def _ratios(scores: Scores, base: Scores) -> tuple[float, float]:
    return scores.mase / base.mase, scores.wql / base.wql


def _theirs(case: Case, steps: int, threads: int) -> dict[str, Any]:
    """The answer of neuralforecast's script."""
    wanted = {
        "freq": case.panel.frequency.alias,
        "horizon": case.origins.horizon,
        "context": case.context,
        "hidden": HIDDEN,
        "batch": BATCH,
        "steps": steps,
        "threads": threads,
        "quantile_levels": case.size.quantile_levels,
    }
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        pl.concat(_histories(case)).write_parquet(table)
        command: list[str | Path] = [case.python, SCRIPT, table, json.dumps(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{SCRIPT.name} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _histories(case: Case) -> Iterator[pl.DataFrame]:
    """What may be seen of each series, in neuralforecast's columns, in the order of the panel."""
    for at, series in enumerate(case.panel.series):
        seen = series.target[: -case.origins.test_steps]
        times = case.panel.frequency.timestamps(series.start, 0, len(seen))
        yield pl.DataFrame({"unique_id": np.full(len(seen), at), "ds": times, "y": seen})


def _environment(folder: Path) -> Path:
    """The interpreter of neuralforecast's environment, made where it is not complete."""
    python = folder.absolute() / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        print(f"installing {', '.join(PACKAGES)} into {folder}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        complete.touch()
    return python


if __name__ == "__main__":
    main()
