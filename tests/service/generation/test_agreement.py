"""An inquiry for a text: what is refused, by which field, and with what remedy."""

from typing import Any

import numpy as np
import pytest

from service.errors import ServiceError, TooLarge, Unservable
from service.generation.agreement import LARGEST_SEED, Plan, agree
from service.generation.inquiry import Manner, TextInquiry
from tests.artifacts import babble

LETTERS = babble.signature()
WORDS = babble.signature(babble.WORDS)
LIMIT = 100


def plan(signature: Any = LETTERS, **changes: Any) -> Plan:
    fields = {"model": "m", "version": None, "prompt": "time", "length": 5} | changes
    return agree(TextInquiry(**fields), signature, LIMIT)


def refused(signature: Any = LETTERS, **changes: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        plan(signature, **changes)
    return caught.value


def test_a_plan_reads_the_prompt_and_runs_once_for_each_token_but_the_last() -> None:
    found = plan()
    assert [babble.LETTERS[code] for code in found.prompt] == list("time")
    assert found.steps == 4 + 5 - 1


def test_the_draws_are_those_of_numpys_generator_of_the_seed() -> None:
    expected = np.random.default_rng(7).random(5)
    assert plan(seed=7).draws() == expected.tolist()
    assert plan(seed=7, manner=Manner(0.0)).draws() == [0.0] * 5


def test_without_a_seed_each_text_is_another_and_may_be_repeated() -> None:
    seeds = {plan().seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed <= LARGEST_SEED for seed in seeds)


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"prompt": ""}, "prompt", "send at least one character"),
        ({"prompt": "a Zebra"}, "prompt", "'Z' at character 2"),
        ({"prompt": "caf\u00e9"}, "prompt", "'\u00e9' at character 3"),
        ({"length": 0}, "length", "length is 0, expected 1"),
        ({"length": -3}, "length", "length is -3, expected 1"),
        ({"manner": Manner(-0.1)}, "temperature", "temperature is -0.1"),
        ({"manner": Manner(float("nan"))}, "temperature", "temperature is nan"),
        ({"manner": Manner(float("inf"))}, "temperature", "temperature is inf"),
        ({"manner": Manner(1.0, top_k=29)}, "top_k", "expected 1 to 28"),
        ({"manner": Manner(1.0, top_k=0)}, "top_k", "expected 1 to 28"),
        ({"manner": Manner(0.0, top_k=-1)}, "top_k", "expected 1 to 28"),
        ({"manner": Manner(1.0, top_p=0.0)}, "top_p", "above 0"),
        ({"manner": Manner(1.0, top_p=1.01)}, "top_p", "up to 1"),
        ({"manner": Manner(1.0, top_p=float("nan"))}, "top_p", "top_p is nan"),
        ({"seed": -1}, "seed", "seed is -1"),
        ({"seed": 2**53}, "seed", "expected 0 to 9007199254740991"),
    ],
)
def test_what_means_nothing_is_refused_by_its_field(
    changes: dict[str, Any], field: str, said: str
) -> None:
    error = refused(**changes)
    assert isinstance(error, Unservable)
    assert error.field == field
    assert said in error.message


def test_an_unknown_token_is_told_what_the_vocabulary_holds() -> None:
    message = refused(prompt="Time").message
    assert "vocabulary of 28 characters" in message
    assert all(repr(letter) in message for letter in babble.LETTERS)


def test_an_unknown_word_is_named_by_its_place_among_the_words() -> None:
    message = refused(WORDS, prompt="the clock").message
    assert "'clock' at word 1" in message
    assert "vocabulary of 8 words: 'the' 'time'" in message


@pytest.mark.parametrize("prompt", [" time", "the  time", "time "])
def test_a_blank_too_many_between_words_is_explained(prompt: str) -> None:
    assert "single blanks" in refused(WORDS, prompt=prompt).message


def test_a_prompt_and_its_text_may_have_as_many_tokens_as_the_limit_says() -> None:
    assert plan(prompt="a" * 60, length=40).steps == 99
    error = refused(prompt="a" * 60, length=41)
    assert isinstance(error, TooLarge)
    assert error.field == "length"
    assert "the prompt has 60 tokens; together at most 100" in error.message


def test_a_prompt_beyond_the_limit_is_refused_and_not_cut() -> None:
    assert plan(prompt="a" * 99, length=1).steps == 99
    for signature, prompt in ((LETTERS, "a" * 100), (WORDS, "the " * 99 + "time")):
        error = refused(signature, prompt=prompt, length=1)
        assert isinstance(error, TooLarge)
        assert error.field == "prompt"
        assert f"prompt has 100 {signature.unit}s" in error.message


def test_a_huge_prompt_is_refused_before_it_is_read() -> None:
    assert refused(prompt="?" * 10**6).field == "prompt"
    assert isinstance(refused(prompt="?" * 10**6), TooLarge)
