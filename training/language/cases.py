"""The rows that parity is proven on: tokens and the states before them.

Shapes: B rows, L layers, N units, V tokens of the vocabulary.
"""

import numpy as np
import torch

from service.contract.language import LanguageSignature
from service.contract.metadata import Inputs
from training.language.corpus import Codes
from training.language.network import LanguageModel
from training.parity import Floats

ROWS = 64  # of each family
STATE_UNIT = 1.0  # a unit of the state lies between -1 and 1


def families(network: LanguageModel, codes: Codes) -> dict[str, Inputs]:
    """The rows of each family; the same for the same network and text."""
    signature = network.config.signature
    random = np.random.default_rng(0)
    tokens = random.integers(len(signature.vocabulary), size=ROWS)
    shape = (ROWS, signature.layers, signature.hidden)
    anywhere = random.uniform(-1, 1, shape).astype(np.float32)
    return {
        "first tokens": _first(signature),
        "random states": (tokens, anywhere),
        "states at ends": (tokens, np.sign(anywhere)),
        "training text": _along(network, codes[:ROWS]),
    }


def torch_answer(network: LanguageModel, inputs: Inputs) -> tuple[Floats, Floats]:
    """Torch's logits and states, joined: [B, V + L * N]; the unit [B] of each row.

    The unit is the largest |logit|, but not less than that of the state beside it.
    """
    network.eval()
    with torch.no_grad():
        logits, state = (part.numpy() for part in network(*map(torch.from_numpy, inputs)))
    largest = np.abs(logits).max(axis=1)
    return network.config.signature.join([logits, state]), np.maximum(largest, STATE_UNIT)


def _first(signature: LanguageSignature) -> Inputs:
    """Up to `ROWS` tokens of the vocabulary, each as the first of a text."""
    rows = min(ROWS, len(signature.vocabulary))
    return np.arange(rows), signature.blank(rows, 1)[1]


def _along(network: LanguageModel, codes: Codes) -> Inputs:
    """Each token of a text with the state before it."""
    states = [network.start(1)]
    network.eval()
    with torch.no_grad():
        for token in torch.from_numpy(codes[:-1]):
            states.append(network(token.view(1), states[-1])[1])
    return codes, torch.cat(states).numpy()
