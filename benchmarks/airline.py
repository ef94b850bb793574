"""The airline recipe over five seeds, the first one twice: `python -m benchmarks.airline`.

Prints for each seed the MASE on the last 12 months beside seasonal naive's and the best baseline's,
the share of parity's tolerance that is used, the seconds, and the sha256 of model.onnx.
"""

import statistics
import tempfile
import time
from pathlib import Path

from service.contract import artifact
from service.contract.forecast import ForecastMetadata
from training.config import FitConfig, NetworkConfig
from training.origins import Origins
from training.recipes import RECIPES
from training.train import train

SEEDS = (0, 1, 2, 3, 4, 0)


def main() -> None:
    """Train each seed and print one row for it, then the mean."""
    recipe = RECIPES["airline"]
    panel = recipe.load()
    network = NetworkConfig.for_panel(panel, Origins(recipe.horizon))
    print("seed   MASE  / SeasonalNaive  / best baseline  coverage  parity  seconds  model.onnx")
    ratios = []
    for seed in SEEDS:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as models:
            fit = FitConfig(seed=seed)
            folder = train(panel, network, fit, "airline", Path(models), say=lambda _: None)
            metadata = artifact.read(folder).metadata
            assert isinstance(metadata, ForecastMetadata)
        seconds = time.perf_counter() - started
        scores, best = metadata.evaluation.scores, metadata.evaluation.best_baseline
        mase = scores["GRU"].mase or float("nan")
        ratios.append(mase / (scores["SeasonalNaive"].mase or float("nan")))
        print(
            f"{seed:>4} {mase:6.3f} {ratios[-1]:16.3f} {mase / (scores[best].mase or 1):16.3f} "
            f"{scores['GRU'].coverage or 0:9.0%} {metadata.parity['cpu'].share:7.1%} "
            f"{seconds:8.0f}  {metadata.model_file.sha256[:16]}"
        )
    mean = statistics.mean(ratios[:5])
    print(f"mean over seeds 0-4: {mean:.3f} of seasonal naive's MASE, {1 - mean:.0%} below it")


if __name__ == "__main__":
    main()
