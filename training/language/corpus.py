"""A text -> tokens: normalised, cut into training and held-out text, numbered.

Letters are all that is kept: in lower case, anything else between them is one blank. What a letter
is says Unicode, so this holds for any script. A model then knows neither numbers nor sentences; it
is the normalisation that teaching texts use, and the only one here.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.language.config import Unit

Codes = NDArray[np.int64]

UNKNOWN = "<unk>"  # any word that is not in the vocabulary; no letters-only text can hold it
MOST_WORDS = 10_000  # in a vocabulary; each costs weights and time
FEWEST_TIMES = 2  # a word that is seen once is unknown, which teaches what unknown words are like


class InvalidText(ValueError):
    """A text that cannot be trained on; the message says why and what to do."""


@dataclass(frozen=True)
class Corpus:
    """A text in codes, places in the vocabulary; the held-out part lies behind the training."""

    unit: Unit
    vocabulary: tuple[str, ...]
    training: Codes  # [n]
    held_out: Codes  # [m], m = 0 where nothing is held out
    fingerprint: str  # sha256 of the normalised text


def read(path: Path) -> str:
    """The text of a file.

    Raises:
        InvalidText: no such file, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidText(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidText(
            f"{path} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}; "
            "save it as UTF-8"
        ) from error


def prepare(text: str, unit: Unit, held_out: float, most: int | None = None) -> Corpus:
    """Tokens of the text; the last share `held_out` of them is kept from training.

    Characters: the vocabulary is every character of the text. Words: the `MOST_WORDS` most frequent
    ones of the training text that are in it at least `FEWEST_TIMES`; all others are `UNKNOWN`.

    Args:
        held_out: 0 up to 1.
        most: train on no more than so many tokens, the first ones.

    Raises:
        InvalidText: no letters, all tokens alike, or no training or held-out text left.
    """
    text = normalise(text)
    if not text:
        raise InvalidText("the text holds no letters; they are all that is learnt")
    tokens = text.split(" ") if unit == "word" else text
    end = len(tokens) - round(held_out * len(tokens))
    if held_out and len(tokens) - end < 2:
        raise InvalidText(
            f"a share of {held_out:g} of {len(tokens)} tokens holds out {len(tokens) - end}, "
            "expected at least 2; hold out more or nothing"
        )
    training = tokens[: min(end, most or end)]
    vocabulary = _words(training) if unit == "word" else tuple(sorted(set(text)))
    if len(vocabulary) < 2:
        raise InvalidText(
            f"the vocabulary has {len(vocabulary)} {unit}s, expected at least 2; take a longer text"
        )
    codes = {token: code for code, token in enumerate(vocabulary)}
    return Corpus(
        unit,
        vocabulary,
        _encode(training, codes),
        _encode(tokens[end:], codes),
        hashlib.sha256(text.encode()).hexdigest(),
    )


def normalise(text: str) -> str:
    """Lower-case letters, with the marks upon them, and single blanks between words."""
    text = unicodedata.normalize("NFC", text.lower())
    meant: dict[int, str | int | None] = {
        ord(c): c if unicodedata.category(c)[0] in "LM" else " " for c in set(text)
    }
    return " ".join(text.translate(meant).split())


def _words(tokens: Sequence[str]) -> tuple[str, ...]:
    """The most frequent words, of equally frequent ones the earlier, and the unknown; sorted."""
    counts = Counter(tokens).most_common(MOST_WORDS)
    return tuple(sorted([UNKNOWN, *(word for word, times in counts if times >= FEWEST_TIMES)]))


def _encode(tokens: Sequence[str], codes: dict[str, int]) -> Codes:
    """Without the unknown token among the codes, no token is unknown."""
    return np.array([codes[token if token in codes else UNKNOWN] for token in tokens], np.int64)
