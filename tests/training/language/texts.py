"""A text of the project's own, and corpora, networks and fits that take seconds."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from training.language.config import FitConfig, NetworkConfig, Unit
from training.language.corpus import Corpus, prepare
from training.language.network import LanguageModel

TEXT = """
The keeper of the lighthouse counts the ships that pass before the storm. In the morning the
sea is grey and quiet, and the gulls walk along the wall as if it were theirs. He writes the
number of the ships into a thick book, and beside it the wind, the rain and the colour of the
sky. When the lamp is lit, the number no longer matters: a ship at night is a light and a
question. The keeper asks no questions. He oils the wheel, he wipes the glass, and he listens
to the long breath of the water below the rocks. Once a year a boat brings flour, paper and a
letter from his sister, who lives in a town without a harbour. She asks whether the sea is
lonely. He answers that the sea is never alone; it has the moon, the wind and the ships, and it
has a keeper who counts them. Then the boat goes back, and the gulls return to the wall.
The winter is long, and the book grows thicker. Five ships, wind from the north, a yellow sky.
Two ships, no wind, and a fog so dense that he heard them and did not see them. He wrote a
question mark beside the two, because a sound is not a ship. In the spring he reads the whole
book from the first page, just to know whether the sea keeps a habit. It does not. The ships
come when they come, and the storm asks nobody. He closes the book and lights the lamp.
"""

NETWORK = NetworkConfig("character", tuple("ab"), hidden=24)
QUICK = FitConfig(epochs=2, rows=4, steps=8, learning_rate=0.01)


def corpus(unit: Unit = "character", held_out: float = 0.2, most: int | None = None) -> Corpus:
    """The text above."""
    return prepare(TEXT, unit, held_out, most)


def network(vocabulary: Sequence[str], config: NetworkConfig = NETWORK) -> LanguageModel:
    """An untrained network, the same each time."""
    torch.manual_seed(0)
    return LanguageModel(replace(config, vocabulary=tuple(vocabulary)))
