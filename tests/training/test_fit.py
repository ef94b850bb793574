"""Fitting: one seed, one result, interrupted or not; and nothing good comes of a diverging loss."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from service.contract.frequency import Frequency
from training import windows
from training.checkpoint import CannotResume
from training.config import MOST_STEPS, FitConfig, NetworkConfig
from training.data import Panel, Series
from training.devices import DeviceUnavailable
from training.fit import Diverged, LossCurve, fit, pinball_loss
from training.network import GRUForecaster
from training.origins import Origins

CONFIG = NetworkConfig("6h", horizon=3, seasonality=4, context_length=12, hidden=6)
FIT = FitConfig(steps=40, batch_size=8, check_every=10)


def panel(count: int = 2) -> Panel:
    random = np.random.default_rng(0)
    hours = np.arange(40)
    series = tuple(
        Series(
            str(n),
            np.datetime64("2024-01-01", "us"),
            20 + np.sin(hours * np.pi / 2) + random.normal(scale=0.1, size=40),
        )
        for n in range(count)
    )
    return Panel(series, Frequency.parse("6h"))


def turning(count: int) -> Panel:
    """Series that grow and then fall: the more is learnt of the past, the worse the validation."""
    start = np.datetime64("2024-01-01", "us")
    target = np.concatenate([np.arange(5.0, 39.0), np.arange(38.0, 32.0, -1)])
    return Panel(tuple(Series(str(n), start, target) for n in range(count)), Frequency.parse("6h"))


class Interrupted(Exception):
    """What a test throws into a running fit."""


def run(
    folder: Path,
    config: FitConfig = FIT,
    *,
    data: Panel | None = None,
    resume: bool = False,
    identity: str = "mine",
    stop_at: int | None = None,
) -> tuple[dict[str, torch.Tensor], LossCurve]:
    """Fit a network from its seed; `stop_at` throws `Interrupted` after that step."""
    training, validation = windows.split(data or panel(), CONFIG, Origins(3))
    torch.manual_seed(config.seed)
    network = GRUForecaster(CONFIG)

    def progress(share: float, _loss: float) -> None:
        if stop_at is not None and share >= stop_at / config.steps:
            raise Interrupted

    curve = fit(
        network,
        training,
        validation,
        config,
        checkpoint=folder / "fit.pt",
        identity=identity,
        resume=resume,
        progress=progress,
    )
    return network.state_dict(), curve


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_one_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path: Path) -> None:
    first, curve = run(tmp_path)
    second, again = run(tmp_path)
    assert_same(first, second)
    assert curve == again
    other, _ = run(tmp_path, replace(FIT, seed=1))
    assert not torch.equal(first["decoder.out.weight"], other["decoder.out.weight"])


@pytest.mark.parametrize("stop_at", [10, 17, 39])
@pytest.mark.parametrize("count", [2, windows.FEWEST_JUDGES], ids=["unjudged", "validated"])
def test_an_interrupted_fit_continues_to_the_same_bits(
    tmp_path: Path, stop_at: int, count: int
) -> None:
    data = panel(count)
    whole, curve = run(tmp_path, data=data)
    with pytest.raises(Interrupted):
        run(tmp_path, data=data, stop_at=stop_at)
    resumed, resumed_curve = run(tmp_path, data=data, resume=True)
    assert_same(whole, resumed)
    assert curve == resumed_curve


def test_a_finished_fit_resumes_to_its_own_end(tmp_path: Path) -> None:
    whole, curve = run(tmp_path)
    again, same = run(tmp_path, resume=True)
    assert_same(whole, again)
    assert curve == same


def test_a_checkpoint_cut_off_by_a_kill_leaves_the_previous_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(tmp_path)
    with pytest.raises(Interrupted):
        run(tmp_path, stop_at=15)
    kept = (tmp_path / "fit.pt").read_bytes()

    write = Path.write_bytes

    def half_a_file(path: Path, data: bytes) -> int:
        write(path, bytes(data)[: len(data) // 2])
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", half_a_file)
        with pytest.raises(Interrupted):
            run(tmp_path, resume=True)
    assert (tmp_path / "fit.pt").read_bytes() == kept
    assert_same(whole, run(tmp_path, resume=True)[0])


def test_resuming_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(CannotResume, match="nothing to resume.*without --resume"):
        run(tmp_path, resume=True)


def test_resuming_another_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path, stop_at=15)
    with pytest.raises(CannotResume, match="another training"):
        run(tmp_path, resume=True, identity="yours")


def test_a_loss_that_is_no_number_ends_the_fit(tmp_path: Path) -> None:
    broken = panel()
    target = broken.series[0].target.copy()
    target[20] = np.inf
    data = Panel((replace(broken.series[0], target=target),), broken.frequency)
    with pytest.raises(Diverged, match="nothing is published"):
        run(tmp_path, data=data)


def test_fitting_learns_what_the_seasonal_base_misses(tmp_path: Path) -> None:
    growing = Series("a", np.datetime64("2024-01-01", "us"), np.arange(5.0, 45.0))
    data = Panel((growing,), Frequency.parse("6h"))
    _, curve = run(tmp_path, replace(FIT, steps=150), data=data)
    assert curve.training[-1] < 0.5 * curve.training[0]


def test_with_a_validation_the_best_weights_are_kept_and_patience_ends_the_fit(
    tmp_path: Path,
) -> None:
    config = replace(FIT, steps=400, learning_rate=0.05, patience=0.1)
    _, curve = run(tmp_path, config, data=turning(windows.FEWEST_JUDGES))
    assert curve.steps[-1] < 400
    assert curve.best_step == curve.steps[int(np.argmin(curve.validation))]
    assert curve.steps[-1] - curve.best_step == pytest.approx(40, abs=10)


def test_a_budget_ends_the_fit_and_its_schedule_before_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10_000))  # one second passes at every look
    monkeypatch.setattr("training.fit.time.monotonic", lambda: float(next(clock)))
    _, curve = run(tmp_path, replace(FIT, steps=1000, budget_s=25))
    assert curve.steps == (10, 20, 25)


def test_the_global_random_state_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    training, _ = windows.split(panel(), CONFIG, Origins(3))
    network = GRUForecaster(CONFIG)
    torch.manual_seed(5)
    fit(network, training, None, FIT, checkpoint=tmp_path / "x.pt", identity="")
    assert torch.equal(torch.rand(3), expected)


def test_the_pinball_loss_is_that_of_a_float64_loop() -> None:
    random = np.random.default_rng(0)
    quantiles, target = random.normal(size=(4, 3, 2)), random.normal(size=(4, 3))
    target[1, 2] = np.nan
    unit, levels = random.uniform(1, 2, size=(4, 1)), np.array([0.1, 0.7])
    losses = [
        2 * max(level * d, (level - 1) * d)
        for b in range(4)
        for h in range(3)
        for q, level in enumerate(levels)
        if np.isfinite(d := (target[b, h] - quantiles[b, h, q]) / unit[b, 0])
    ]
    tensors = (torch.from_numpy(array) for array in (quantiles, target, unit, levels))
    assert pinball_loss(*tensors).item() == pytest.approx(np.mean(losses))


def test_few_windows_without_a_judge_get_a_short_and_gentle_schedule() -> None:
    config = FitConfig()
    assert config.for_windows(100_000, judged=False) == config
    gentle = config.with_budget(600).for_windows(10, judged=False)
    assert gentle.steps == 500
    assert gentle.learning_rate < config.learning_rate
    assert config.with_budget(600).steps == MOST_STEPS


def test_judged_windows_are_looked_at_a_limited_number_of_times() -> None:
    config = FitConfig(batch_size=64).with_budget(600)
    assert config.for_windows(1_000_000, judged=True) == config
    assert config.for_windows(4000, judged=True).steps == 1000  # 16 epochs
    assert config.for_windows(10, judged=True).steps == 500


def test_several_devices_fit_one_network(tmp_path: Path) -> None:
    config = replace(FIT, devices=2)  # two processes of this machine's CPU
    together, curve = run(tmp_path, config)
    assert curve.steps == (10, 20, 30, 40)
    assert curve.training[-1] < curve.training[0]
    assert not torch.equal(together["decoder.out.weight"], run(tmp_path)[0]["decoder.out.weight"])


def test_more_cuda_devices_than_there_are_are_refused(tmp_path: Path) -> None:
    there = torch.cuda.device_count()
    config = replace(FIT, device="cuda", devices=there + 1)
    with pytest.raises(DeviceUnavailable, match=rf"{there + 1} CUDA.*sees {there}.*--device cpu"):
        run(tmp_path, config)
