"""One step, many steps and the equations give the same numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.language.texts import NETWORK, network
from training.gru import Convention, reference_gru
from training.language.config import NetworkConfig
from training.language.network import LanguageModel

TOKENS = "abcdefg"
SHAPES = [
    NETWORK,
    replace(NETWORK, convention=Convention.RESET_BEFORE, layers=2),
    replace(NETWORK, embedding=5, dropout=0.5),
    replace(NETWORK, embedding=3, layers=3, hidden=7),
]


def reference(
    model: LanguageModel, tokens: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Logits [B, T, V] and the state after them, in float64 numpy, from the published equations."""
    weights = {name: w.detach().double().numpy() for name, w in model.named_parameters()}
    x = np.eye(len(TOKENS))[tokens] if model.vectors is None else weights["vectors.weight"][tokens]
    lengths, finals = np.full(len(tokens), tokens.shape[1]), []
    for at, layer in enumerate(model.layers):
        w = [p.detach().double().numpy() for p in layer.parameters()]
        x, final = reference_gru(x, lengths, w, model.config.convention, state[:, at])
        finals.append(final)
    return x @ weights["out.weight"].T + weights["out.bias"], np.stack(finals, 1)


@pytest.mark.parametrize("config", SHAPES, ids=range(len(SHAPES)))
def test_many_steps_equal_the_equations_in_float64(config: NetworkConfig) -> None:
    model = network(TOKENS, config).eval()
    random = np.random.default_rng(0)
    tokens = random.integers(len(TOKENS), size=(3, 11))
    state = random.uniform(-1, 1, (3, config.layers, config.hidden))
    with torch.no_grad():
        logits, after = model.unroll(torch.from_numpy(tokens), torch.from_numpy(state).float())
    expected, end = reference(model, tokens, state)
    np.testing.assert_allclose(logits, expected, atol=2e-6)
    np.testing.assert_allclose(after, end, atol=2e-6)


@pytest.mark.parametrize("config", SHAPES, ids=range(len(SHAPES)))
def test_one_step_after_the_other_equals_all_at_once(config: NetworkConfig) -> None:
    model = network(TOKENS, config).eval()
    tokens = torch.randint(len(TOKENS), (2, 9))
    state, logits = model.start(2), []
    with torch.no_grad():
        whole, end = model.unroll(tokens, state)
        for token in tokens.unbind(1):
            step, state = model(token, state)
            logits.append(step)
    torch.testing.assert_close(torch.stack(logits, 1), whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(state, end, atol=1e-6, rtol=0)


def test_the_state_stays_between_minus_one_and_one() -> None:
    model = network(TOKENS, replace(NETWORK, layers=2))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(20)
        _, state = model.unroll(torch.randint(len(TOKENS), (4, 300)), model.start(4))
    assert state.abs().max() <= 1


def test_a_one_hot_network_is_one_whose_learned_vectors_are_unit_vectors() -> None:
    plain = network(TOKENS)
    learned = network(TOKENS, replace(NETWORK, embedding=len(TOKENS)))
    learned.load_state_dict({**plain.state_dict(), "vectors.weight": torch.eye(len(TOKENS))})
    tokens, state = torch.arange(len(TOKENS)), plain.start(len(TOKENS))
    for ours, theirs in zip(plain(tokens, state), learned(tokens, state), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_dropout_acts_in_training_only() -> None:
    model = network(TOKENS, replace(NETWORK, dropout=0.5))
    tokens, state = torch.tensor([[1, 2, 3]]), model.start(1)
    noisy = [model.train().unroll(tokens, state)[0] for _ in range(2)]
    quiet = [model.eval().unroll(tokens, state)[0] for _ in range(2)]
    assert not torch.equal(*noisy)
    assert torch.equal(*quiet)
