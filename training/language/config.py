"""What to train and how: two small frozen dataclasses, each field with its unit and reason."""

from dataclasses import dataclass
from typing import Literal

from service.contract.language import LanguageSignature
from training.gru import Convention

Unit = Literal["character", "word"]


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of a language model."""

    unit: Unit
    vocabulary: tuple[str, ...]
    hidden: int = 256  # units of a layer
    layers: int = 1
    embedding: int = 0  # learned numbers per token; 0 = the token as a one-hot vector
    dropout: float = 0.0  # before and after each layer, in training only
    convention: Convention = Convention.RESET_AFTER

    @property
    def signature(self) -> LanguageSignature:
        """What the published model promises."""
        return LanguageSignature(
            unit=self.unit, vocabulary=self.vocabulary, layers=self.layers, hidden=self.hidden
        )

    def shape(self) -> dict[str, int | float | str | tuple[float, ...]]:
        """The part that says how the network is built, for the metadata."""
        return {
            "hidden": self.hidden,
            "layers": self.layers,
            "embedding": self.embedding,
            "dropout": self.dropout,
            "convention": self.convention.value,
        }


@dataclass(frozen=True)
class FitConfig:
    """How the weights are found."""

    epochs: int | None = None  # None: so many that they make `steps_in_all`
    rows: int = 32  # of a batch, each a stretch of the text of its own
    steps: int = 35  # tokens that a gradient goes back
    steps_in_all: int = 4500  # optimiser steps: 500 epochs of 10 000 tokens
    learning_rate: float = 0.002
    gradient_norm: float = 1.0  # larger gradients are scaled down to it
    seed: int = 0
    device: str = "cpu"
