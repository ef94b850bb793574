"""Backtests over a folder of tasks: `python -m benchmarks.accuracy FOLDER [--budget 600]`.

The folder holds long tables and tasks.json, a list of objects with `task`, `file`, `freq`,
`horizon`, `num_windows`, `seasonality` and `published` (scores of other models by name, each with
MASE and WQL; `seasonal_naive` among them). Every task is one run of `gatecast backtest`; its
forecasts go to OUTPUT/<task>.parquet, and the table compares with the published seasonal naive.

An experiment is the same with another network or fit: `--network '{"long_season": 0}'` and
`--fit '{"steps": 400, "seed": 1}'` set fields of `NetworkConfig` and `FitConfig`.
"""

import argparse
import json
import math
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from training import data
from training.config import FitConfig, NetworkConfig
from training.evaluate import MODEL
from training.forecast import write
from training.layers.calendar import Cycle
from training.origins import Origins
from training.rolling import frame, rolling

Config = TypeVar("Config", NetworkConfig, FitConfig)


def main() -> None:
    """Run every task and print its scores relative to seasonal naive, then the geometric means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", type=float, help="seconds of training for each task")
    parser.add_argument("--task", action="append", help="only this one; may be repeated")
    parser.add_argument("--network", type=json.loads, default={}, help="fields, as JSON")
    parser.add_argument("--fit", type=json.loads, default={}, help="fields, as JSON")
    parser.add_argument("--output", type=Path, default=Path("forecasts"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    tasks = json.loads((arguments.folder / "tasks.json").read_text())
    chosen = [t for t in tasks if not arguments.task or t["task"] in arguments.task]
    print(f"{'task':<26}{'MASE':>8}{'WQL':>8}{'coverage':>10}{'seconds':>9}   of seasonal naive")
    ratios = [_run(task, arguments) for task in chosen]
    for name, column in zip(("MASE", "WQL"), zip(*ratios, strict=True), strict=True):
        print(
            f"geometric mean of {name}: {statistics.geometric_mean(column):.4f} of seasonal naive"
        )


def _run(task: dict[str, Any], arguments: argparse.Namespace) -> tuple[float, float]:
    """One task: MASE and WQL as shares of the published seasonal naive's."""
    started = time.monotonic()
    panel = data.load(arguments.folder / task["file"], task["freq"])
    origins = Origins(task["horizon"], task["num_windows"])
    judged, _ = rolling(
        panel,
        origins,
        task["seasonality"],
        _changed(NetworkConfig.for_panel(panel, origins), arguments.network),
        _changed(FitConfig().with_budget(arguments.budget), arguments.fit),
        baseline_limit_s=0,
    )
    write(frame(panel, judged), arguments.output / f"{task['task'].replace('/', '__')}.parquet")
    ours = judged.scores[MODEL]
    published = task["published"]
    naive = published.get("seasonal_naive") or published["seasonal-naive"]
    ratios = ours.mase / naive["MASE"], ours.wql / naive["WQL"]
    print(
        f"{task['task']:<26}{ratios[0]:8.3f}{ratios[1]:8.3f}{ours.coverage:10.0%}"
        f"{time.monotonic() - started:9.0f}",
        flush=True,
    )
    return ratios if all(map(math.isfinite, ratios)) else (math.inf, math.inf)


def _changed(config: Config, fields: dict[str, Any]) -> Config:
    """The config with some of its fields as JSON gives them."""
    made: Any = dict(fields)
    if "calendar" in made:
        made["calendar"] = tuple(map(Cycle, made["calendar"]))
    return replace(config, **made)


if __name__ == "__main__":
    main()
