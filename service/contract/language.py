"""The task `language`: what the next token of a text may be, one token at a time.

The graph makes one step of the recurrence and hands its state back, so a text of any length is a
loop of runs, and rows of a batch may be at any place of theirs.

Shape letters: V tokens of the vocabulary, L layers, N hidden units.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from service.contract.metadata import (
    BATCH,
    Frozen,
    Inputs,
    Judgement,
    Metadata,
    Signature,
    TensorSpec,
)

TOKENS = "tokens"  # int64 [batch], codes: places in the vocabulary
STATE = "state"  # float32 [batch, L, N], zeros before the first token
LOGITS = "logits"  # float32 [batch, V] of the token that follows
NEXT_STATE = "next_state"  # float32 [batch, L, N], the state of the next run

Token = Annotated[str, Field(min_length=1)]


class UnknownToken(ValueError):
    """A text holds what the vocabulary does not."""

    def __init__(self, token: str, place: int) -> None:
        super().__init__(f"{token!r} at {place}")
        self.token = token
        self.place = place  # among the tokens of the text


class LanguageSignature(Signature):
    """What a client must know to ask for a text."""

    unit: Literal["character", "word"]  # what a token is; words are parted by single blanks
    vocabulary: Annotated[
        tuple[Token, ...], Field(min_length=2)
    ]  # the code of a token is its place
    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)  # units of a layer

    @model_validator(mode="after")
    def _tokens_are_usable(self) -> Self:
        if len(self._codes) != len(self.vocabulary):
            raise ValueError("the tokens of the vocabulary must be distinct")
        wrong = [token for token in self.vocabulary if not self._is_token(token)]
        if wrong:
            raise ValueError(f"vocabulary holds {wrong[0]!r}, which is not one {self.unit}")
        return self

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """A token and the state before it."""
        return (TensorSpec(name=TOKENS, dtype="int64", shape=(BATCH,)), self._state(STATE))

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What may follow, and the state after the token."""
        shape = (BATCH, len(self.vocabulary))
        return (TensorSpec(name=LOGITS, dtype="float32", shape=shape), self._state(NEXT_STATE))

    def summary(self) -> dict[str, Any]:
        """What a token is, and how many there are."""
        return {"unit": self.unit, "tokens": len(self.vocabulary)}

    def check(self, inputs: Inputs) -> None:
        """Each code within the vocabulary."""
        tokens = inputs[0]
        if tokens.min() < 0 or tokens.max() >= len(self.vocabulary):
            raise ValueError(f"{TOKENS} must lie in 0..{len(self.vocabulary) - 1}")

    def encode(self, text: str) -> NDArray[np.int64]:
        """The codes of a text; none of an empty one.

        Raises:
            UnknownToken: the first that is not in the vocabulary.
        """
        tokens: Sequence[str] = text
        if self.unit == "word":
            tokens = text.split(" ") if text else ()
        codes = [self._codes.get(token, -1) for token in tokens]
        if -1 in codes:
            place = codes.index(-1)
            raise UnknownToken(tokens[place], place)
        return np.array(codes, np.int64)

    def decode(self, codes: Sequence[int]) -> str:
        """The text of codes."""
        between = " " if self.unit == "word" else ""
        return between.join([self.vocabulary[code] for code in codes])

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {token: code for code, token in enumerate(self.vocabulary)}

    def _is_token(self, token: str) -> bool:
        return len(token) == 1 if self.unit == "character" else " " not in token

    def _state(self, name: str) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=(BATCH, self.layers, self.hidden))


class Perplexity(Frozen):
    """exp of the mean cross-entropy of a token, in nats: how many tokens a model wavers between."""

    training: float
    held_out: float | None  # None where nothing was held out


class LanguageEvaluation(Judgement):
    """The text that training never saw, beside the baselines; or the training text."""

    held_out_tokens: int
    perplexity: dict[str, Perplexity]


class LanguageMetadata(Metadata):
    """metadata.json of a language model."""

    task: Literal["language"] = "language"
    signature: LanguageSignature
    evaluation: LanguageEvaluation
