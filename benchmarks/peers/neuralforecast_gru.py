"""Train neuralforecast's GRU on a table and print one line of JSON; see `benchmarks.training`.

Runs in the environment of neuralforecast, so it imports nothing of this project. The arguments are
a Parquet file (unique_id, ds, y) and a JSON object with `freq`, `horizon`, `context`, `hidden`,
`batch`, `steps`, `threads` and `quantile_levels`. The answer has `stamps`, the seconds since the
start of the fit at the end of each step, `seconds`, those of the whole fit, and `quantiles`, the
forecast after the end of each series as lists [N, H, Q].
"""

import json
import sys
import time
from typing import Any, ClassVar

import pandas as pd
import torch
from neuralforecast import NeuralForecast  # type: ignore[import-not-found]
from neuralforecast.losses.pytorch import MQLoss  # type: ignore[import-not-found]
from neuralforecast.models import GRU  # type: ignore[import-not-found]
from pytorch_lightning import Callback  # type: ignore[import-not-found]


class Clock(Callback):  # type: ignore[misc]
    """The time at the end of each step, the same list for all copies that the library makes."""

    stamps: ClassVar[list[float]] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """Called by Lightning."""
        self.stamps.append(time.perf_counter())


def main(table: str, case: dict[str, Any]) -> None:
    """Fit, forecast, and print."""
    torch.set_num_threads(case["threads"])
    model = GRU(
        h=case["horizon"],
        input_size=case["context"],
        encoder_n_layers=1,
        encoder_hidden_size=case["hidden"],
        windows_batch_size=case["batch"],
        max_steps=case["steps"],
        loss=MQLoss(quantiles=case["quantile_levels"]),
        callbacks=[Clock()],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    library = NeuralForecast([model], freq=case["freq"])
    started = time.perf_counter()
    library.fit(pd.read_parquet(table))
    seconds = time.perf_counter() - started
    made = library.predict().drop(columns=["unique_id", "ds"]).to_numpy()
    quantiles = made.reshape(-1, case["horizon"], len(case["quantile_levels"]))
    answer = {
        "stamps": [stamp - started for stamp in Clock.stamps],
        "seconds": seconds,
        "quantiles": quantiles.tolist(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
