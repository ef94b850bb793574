"""An inquiry against what the model can do: a plan, or the field that is wrong and the remedy.

A prompt is never cut, and no token of it is dropped: what the model has not seen is refused.
"""

import secrets

import msgspec
import numpy as np

from service.contract.language import LanguageSignature, UnknownToken
from service.errors import TooLarge, Unservable
from service.generation.inquiry import Manner, TextInquiry

LARGEST_SEED = 2**53 - 1  # every JSON parser keeps it whole
_SHOWN = 60  # tokens of a vocabulary that a message lists


class Plan(msgspec.Struct, frozen=True, gc=False):
    """A text that can be written."""

    prompt: list[int]  # codes, at least one
    length: int  # tokens to write
    manner: Manner
    seed: int

    @property
    def steps(self) -> int:
        """Runs of the model: the last token of the prompt gives the first of the text."""
        return len(self.prompt) + self.length - 1

    def draws(self) -> list[float]:
        """For each token one number of [0, 1), from a stream of this text alone."""
        if not self.manner.temperature:
            return [0.0] * self.length
        draws: list[float] = np.random.default_rng(self.seed).random(self.length).tolist()
        return draws


def agree(inquiry: TextInquiry, signature: LanguageSignature, max_tokens: int) -> Plan:
    """What is to be written.

    Args:
        max_tokens: of a prompt and its text together.

    Raises:
        TooLarge: the prompt or the length exceeds `max_tokens`.
        Unservable: an empty prompt, a token that is not in the vocabulary, a length, a temperature,
            a top_k, a top_p or a seed that means nothing.
    """
    prompt = _encode(inquiry.prompt, signature, max_tokens)
    _check_length(inquiry.length, len(prompt), max_tokens)
    _check_manner(inquiry.manner, signature)
    seed = secrets.randbelow(LARGEST_SEED + 1) if inquiry.seed is None else inquiry.seed
    if not 0 <= seed <= LARGEST_SEED:
        raise Unservable(f"seed is {seed}, expected 0 to {LARGEST_SEED}", "seed")
    return Plan(prompt, inquiry.length, inquiry.manner, seed)


def _encode(prompt: str, signature: LanguageSignature, max_tokens: int) -> list[int]:
    unit = signature.unit
    if not prompt:
        raise Unservable(f"prompt is empty; send at least one {unit}", "prompt")
    tokens = len(prompt) if unit == "character" else prompt.count(" ") + 1
    if tokens >= max_tokens:
        raise TooLarge(
            f"prompt has {tokens} {unit}s, and with the text at most {max_tokens} are allowed; "
            "shorten it",
            "prompt",
        )
    try:
        codes: list[int] = signature.encode(prompt).tolist()
    except UnknownToken as error:
        raise Unservable(_unknown(error, signature), "prompt") from error
    return codes


def _unknown(error: UnknownToken, signature: LanguageSignature) -> str:
    """Which token it is, where it stands, and what would do."""
    unit, vocabulary = signature.unit, signature.vocabulary
    shown = " ".join(map(repr, vocabulary[:_SHOWN]))
    rest = " ..." if len(vocabulary) > _SHOWN else ""
    if unit == "word" and not error.token:
        return f"prompt has no word at place {error.place}; part words by single blanks"
    return (
        f"prompt holds {error.token[:_SHOWN]!r} at {unit} {error.place}, which is not in the "
        f"vocabulary of {len(vocabulary)} {unit}s: {shown}{rest}"
    )


def _check_length(length: int, prompt: int, max_tokens: int) -> None:
    if length < 1:
        raise Unservable(f"length is {length}, expected 1 or more", "length")
    if prompt + length > max_tokens:
        raise TooLarge(
            f"length is {length} and the prompt has {prompt} tokens; together at most {max_tokens} "
            "are allowed: ask for less, and go on from what you get",
            "length",
        )


def _check_manner(manner: Manner, signature: LanguageSignature) -> None:
    temperature, top_k, top_p = manner.temperature, manner.top_k, manner.top_p
    if not 0.0 <= temperature < float("inf"):
        raise Unservable(
            f"temperature is {temperature}, expected a number from 0, which always takes the most "
            "likely token; 1 keeps the model's own probabilities",
            "temperature",
        )
    tokens = len(signature.vocabulary)
    if top_k is not None and not 1 <= top_k <= tokens:
        raise Unservable(
            f"top_k is {top_k}, expected 1 to {tokens}, the tokens of this model's vocabulary",
            "top_k",
        )
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise Unservable(f"top_p is {top_p}, expected a number above 0 and up to 1", "top_p")
