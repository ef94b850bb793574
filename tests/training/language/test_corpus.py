"""A text becomes tokens of a known vocabulary, or an error says why not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.language.texts import TEXT
from training.language import corpus
from training.language.config import Unit
from training.language.corpus import UNKNOWN, InvalidText, normalise, prepare, read


def decoded(codes: corpus.Codes, vocabulary: tuple[str, ...]) -> list[str]:
    return [vocabulary[code] for code in codes]


def test_letters_are_kept_in_lower_case_with_single_blanks_between_words() -> None:
    assert normalise("\n 'The Time--Machine', [1898]\tby H. G. Wells_\n") == (
        "the time machine by h g wells"
    )


def test_letters_of_any_script_are_letters() -> None:
    assert normalise("Été, ÜBER 3 Ωμέγα хлеб-соль!") == "été über ωμέγα хлеб соль"
    assert normalise("cafe\u0301") == "caf\u00e9"  # composed, so that both spellings are one token
    assert normalise("नमस्ते दुनिया") == "नमस्ते दुनिया"  # its marks belong to its letters


@given(st.text(max_size=60))
def test_a_normalised_text_is_normal_already(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert once == once.strip()
    assert "  " not in once
    assert not any(character.isdigit() for character in once if character.isascii())


def test_the_held_out_text_is_the_end_and_training_takes_the_first_tokens() -> None:
    made = prepare("abcdefghij" * 10, "character", held_out=0.25, most=30)
    assert made.vocabulary == tuple("abcdefghij")
    assert "".join(decoded(made.training, made.vocabulary)) == "abcdefghij" * 3
    assert "".join(decoded(made.held_out, made.vocabulary)) == ("abcdefghij" * 10)[-25:]


def test_nothing_is_held_out_where_nothing_is_asked_for() -> None:
    made = prepare(TEXT, "character", held_out=0.0)
    assert len(made.held_out) == 0
    assert "".join(decoded(made.training, made.vocabulary)) == normalise(TEXT)


def test_words_seen_once_and_words_of_the_held_out_text_alone_are_unknown() -> None:
    made = prepare("the cat and the dog and the owl met the cow", "word", held_out=0.2)
    assert made.vocabulary == (UNKNOWN, "and", "the")
    training = ["the", UNKNOWN, "and", "the", UNKNOWN, "and", "the", UNKNOWN, UNKNOWN]
    assert decoded(made.training, made.vocabulary) == training
    assert decoded(made.held_out, made.vocabulary) == ["the", UNKNOWN]


def test_of_too_many_words_the_most_frequent_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "MOST_WORDS", 2)
    made = prepare("c c b b b a a a d d b", "word", held_out=0.0)
    assert made.vocabulary == (UNKNOWN, "a", "b")


def test_a_text_has_the_fingerprint_of_its_letters() -> None:
    first, same, other = (
        prepare(text, "character", 0.0).fingerprint for text in ("ab, ba", "AB-BA!", "ab bb")
    )
    assert first == same
    assert first != other


@pytest.mark.parametrize(
    ("text", "unit", "held_out", "message"),
    [
        ("", "character", 0.0, "holds no letters"),
        (" 12, 34! \n", "word", 0.0, "holds no letters"),
        ("aaaa", "character", 0.0, "vocabulary has 1 character"),
        ("each word is here once", "word", 0.0, "vocabulary has 1 word"),
        ("ab ab ab", "character", 0.1, "of 8 tokens holds out 1, expected at least 2"),
    ],
)
def test_a_text_without_enough_to_learn_is_refused(
    text: str, unit: Unit, held_out: float, message: str
) -> None:
    with pytest.raises(InvalidText, match=message):
        prepare(text, unit, held_out)


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert read(path) == "abc"


def test_a_file_that_is_not_utf8_is_refused_with_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("für".encode("latin-1"))
    with pytest.raises(InvalidText, match="latin.txt is not UTF-8: byte 1 is 0xfc"):
        read(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidText, match="cannot be read: No such file"):
        read(tmp_path / "nowhere.txt")
    with pytest.raises(InvalidText, match="cannot be read: Is a directory"):
        read(tmp_path)
