"""The language model: a token and a state in, what may follow and the next state out.

One step is what is exported. Training runs many of them at once, through the same code, so the two
cannot differ by more than rounding.

Shape letters: B rows, T steps, V tokens of the vocabulary, E numbers of a token, L layers, N units.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from training.gru import GRULayer
from training.language.config import NetworkConfig


class LanguageModel(nn.Module):
    """Tokens as one-hot or learned vectors, GRU layers, a dense layer to the logits."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        tokens, hidden = len(config.vocabulary), config.hidden
        self.vectors = nn.Embedding(tokens, config.embedding) if config.embedding else None
        inputs = [config.embedding or tokens, *[hidden] * (config.layers - 1)]
        self.layers = nn.ModuleList(GRULayer(i, hidden, config.convention) for i in inputs)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(hidden, tokens)

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step: tokens [B] and state [B, L, N] -> logits [B, V] and the next state."""
        logits, following = self.unroll(tokens.unsqueeze(1), state)
        return logits.squeeze(1), following

    def unroll(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, T] and the state before them -> logits [B, T, V] and the state after them."""
        steps = tokens.new_full((tokens.shape[0],), tokens.shape[1])
        x, finals = self._embed(tokens), []
        for at, layer in enumerate(self.layers):
            x, final = layer(self.dropout(x), steps, state[:, at])
            finals.append(final)
        return self.out(self.dropout(x)), torch.stack(finals, 1)

    def start(self, rows: int) -> Tensor:
        """The state [B, L, N] before the first token."""
        weight = self.out.weight
        return weight.new_zeros(rows, self.config.layers, self.config.hidden)

    def _embed(self, tokens: Tensor) -> Tensor:
        """[B, T] -> [B, T, E]; one-hot vectors have E = V."""
        if self.vectors is None:
            return one_hot(tokens, len(self.config.vocabulary)).to(self.out.weight.dtype)
        vectors: Tensor = self.vectors(tokens)
        return vectors
