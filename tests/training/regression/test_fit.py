"""The fit learns, stops early, repeats itself, and judges a row by a member that left it out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.regression.tables import made_up
from training.fit import Diverged
from training.regression.config import FitConfig, NetworkConfig
from training.regression.fit import errors, examples, fit
from training.regression.network import GRURegressor
from training.regression.table import Table
from training.regression.train import fit_table, predict

QUICK = FitConfig(steps=300)


def untrained(table: Table) -> GRURegressor:
    torch.manual_seed(0)
    network = GRURegressor(NetworkConfig(len(table.names)))
    network.measure(table.features, table.targets)
    return network


def test_it_learns_what_no_straight_line_can() -> None:
    table = made_up(400)
    training, judged = table.take(np.arange(300)), table.take(np.arange(300, 400))
    network, _ = fit_table(training, QUICK)
    squared = (predict(network, judged.features) - judged.targets) ** 2
    assert squared.mean() < 0.25 * judged.targets.var()
    design = np.column_stack([training.features, np.ones(300)])
    line = np.linalg.lstsq(design, training.targets)[0]
    straight = judged.targets - np.column_stack([judged.features, np.ones(100)]) @ line
    assert squared.mean() < 0.5 * (straight**2).mean()


def test_noise_is_not_learnt_by_heart() -> None:
    table = made_up(160)
    noise = np.random.default_rng(1).normal(size=160)
    network, curve = fit_table(replace(table, targets=noise), FitConfig(steps=600))
    assert curve.training[-1] < curve.training[0]  # it began to
    assert curve.validation[-1] > min(curve.validation)
    assert curve.best_step < curve.steps[-1]
    assert predict(network, table.features).std() < 0.6


def test_a_fit_without_progress_ends_before_its_schedule() -> None:
    table = replace(made_up(160), targets=np.random.default_rng(1).normal(size=160))
    config = FitConfig(steps=1000)
    _, curve = fit_table(table, config)
    assert curve.steps[-1] < 1000
    assert curve.steps[-1] == curve.best_step + config.patience * 1000


def test_the_weights_that_are_kept_are_those_of_the_best_look() -> None:
    table = made_up(160)
    network, curve = fit_table(table, QUICK)
    assert curve.validation[curve.steps.index(curve.best_step)] == min(curve.validation)
    _, left_out = errors(network, examples(network, table))
    assert left_out == pytest.approx(min(curve.validation), rel=1e-6)


def test_one_seed_gives_the_same_bits_and_another_others() -> None:
    table, short = made_up(80), FitConfig(steps=50)
    first, again = (fit_table(table, short)[0].state_dict() for _ in range(2))
    other = fit_table(table, replace(short, seed=1))[0].state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["out"], other["out"])


def test_every_row_judges_one_member_and_trains_all_others() -> None:
    table = made_up(43)
    seen = examples(untrained(table), table).seen.numpy()
    assert seen.shape == (43, 8)
    assert (seen.sum(1) == 7).all()
    assert set((1 - seen).sum(0)) == {5, 6}


def test_the_rows_that_a_member_leaves_out_do_not_move_it() -> None:
    table = made_up(80)
    changed = table.targets.copy()
    changed[3::8] += 100  # of the member 3
    members = []
    for targets in (table.targets, changed):
        network = untrained(table)
        given = examples(network, table)
        shifted = torch.from_numpy((targets - table.targets) / table.targets.std()).unsqueeze(1)
        squared = (network.members(given.standard) - given.target - shifted.float()) ** 2
        (squared * given.seen).sum().backward()  # type: ignore[no-untyped-call]
        assert network.out.grad is not None
        members.append(network.out.grad.numpy())
    assert np.array_equal(members[0][3], members[1][3])
    assert not np.array_equal(members[0][2], members[1][2])


def test_a_member_moves_only_its_own_units() -> None:
    table = made_up(80)
    network = untrained(table)
    network.members(examples(network, table).standard)[:, 2].sum().backward()  # type: ignore[no-untyped-call]
    found = next(network.recurrent.weights.parameters()).grad
    assert found is not None
    moved = found.view(3, 8, 16, -1).abs().sum((0, 2, 3)) > 0
    assert moved.tolist() == [False, False, True, False, False, False, False, False]


def test_errors_are_means_over_members_and_rows() -> None:
    table = made_up(40)
    network = untrained(table)
    rows = examples(network, table)
    with torch.no_grad():
        squared = ((network.members(rows.standard) - rows.target) ** 2).double().numpy()
    out = np.array([squared[row, row % 8] for row in range(40)])
    expected = (squared.sum() - out.sum()) / (40 * 7), out.mean()
    np.testing.assert_allclose(errors(network, rows), expected, rtol=1e-5)


def test_batches_grow_with_the_table_up_to_a_limit() -> None:
    sizes = [FitConfig().for_rows(rows).batch_size for rows in (40, 400, 3200, 10**6)]
    assert sizes == [32, 32, 200, 1024]


def test_progress_hears_every_step() -> None:
    heard: list[float] = []
    table = made_up(80)
    fit(untrained(table), table, FitConfig(steps=10), lambda share, _: heard.append(share))
    assert heard == pytest.approx(np.arange(1, 11) / 10)


def test_a_loss_that_is_no_number_is_refused() -> None:
    table = made_up(80)
    with pytest.raises(Diverged, match="nothing is published"):
        fit_table(table, replace(QUICK, learning_rate=1e38))
