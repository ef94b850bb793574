"""Texts written together: each is what it would be alone, or has its own error, whatever else."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.contract.timestamp import read_timestamp
from service.engine.batcher import Batcher
from service.errors import (
    DeadlineExceeded,
    InferenceFailed,
    NotFound,
    Overloaded,
    ServiceError,
    TooLarge,
    Unavailable,
    Unservable,
)
from service.forecasting.forecaster import Forecaster
from service.forecasting.inquiry import Inquiry, Series
from service.generation.agreement import agree
from service.generation.alone import write
from service.generation.generator import Generator, Text
from service.generation.inquiry import Manner, TextInquiry
from service.inference import Inference
from service.repository.intake import Intake
from service.repository.live import Repository
from tests.artifacts import babble
from tests.conftest import ARTIFACTS
from tests.service.generation.models import NAME, Gate, Model, opened, repository, watched

LETTERS = opened()
WORDS = opened(babble.signature(babble.WORDS, layers=2, hidden=7))
PROMPTS = st.text(babble.LETTERS, min_size=1, max_size=20)
MANNERS = st.builds(
    Manner,
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.none() | st.integers(1, len(babble.LETTERS)),
    st.none() | st.floats(0.05, 1.0),
)
INQUIRIES = st.builds(
    lambda *asked: TextInquiry(NAME, None, *asked),
    PROMPTS,
    st.integers(1, 30),
    MANNERS,
    st.integers(0, 2**53 - 1),
)


def asked(**changes: Any) -> TextInquiry:
    fields = {"model": NAME, "version": None, "prompt": "time", "length": 20, "seed": 1} | changes
    return TextInquiry(**fields)


def alone(inquiry: TextInquiry, model: Model = LETTERS) -> str:
    """What the command line writes."""
    signature = model.metadata.signature
    return signature.decode(list(write(model, agree(inquiry, signature, 10**6))))


def scenario(
    story: Callable[[Generator, Batcher], Awaitable[None]],
    model: Model = LETTERS,
    *,
    lanes: int = 1,
    max_batch_rows: int = 4,
    measured: bool = False,
) -> None:
    """Run a story against a generator of one model.

    Args:
        measured: short batches run on the event loop where there is one lane.
    """

    async def run() -> None:
        batcher = Batcher(lanes, max_batch_rows, 1000)
        batcher.start()
        try:
            found = repository(model)
            if measured:
                Inference(found, batcher)
            await asyncio.wait_for(story(Generator(found, batcher, 1000), batcher), 60)
        finally:
            await batcher.close()

    asyncio.run(run())


def generate(inquiry: TextInquiry, model: Model = LETTERS) -> Text:
    texts: list[Text] = []

    async def story(generator: Generator, _: Batcher) -> None:
        texts.append(await generator.generate(inquiry))

    scenario(story, model)
    return texts[0]


def refused(inquiry: TextInquiry) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        generate(inquiry)
    return caught.value


@pytest.mark.parametrize("model", [LETTERS, WORDS], ids=["letters", "words"])
def test_a_greedy_text_is_the_most_likely_token_at_each_step_of_the_runtime(model: Model) -> None:
    signature, runtime = model.metadata.signature, model.runtime
    prompt = "the time" if model is WORDS else "the time traveller"
    state = np.zeros((1, signature.layers, signature.hidden), np.float32)
    codes = signature.encode(prompt).tolist()
    first = len(codes)
    for at in range(first + 24):
        answer = runtime.run(np.array([codes[at]]), state)
        logits, state = np.split(answer, [len(signature.vocabulary)], axis=1)
        state = state.reshape(1, signature.layers, signature.hidden)
        if at + 1 == len(codes):
            codes.append(int(logits[0].argmax()))
    text = generate(asked(prompt=prompt, length=25, manner=Manner(0.0)), model)
    assert text.text == signature.decode(codes[first:])
    assert (text.model, text.version, text.tokens) == (NAME, 1, 25)


def test_a_greedy_text_is_that_of_a_float64_reference() -> None:
    weights, state = babble.Weights.random(babble.signature()), np.zeros((1, 1, 16))
    signature = LETTERS.metadata.signature
    codes = signature.encode("so it will be").tolist()
    for at in range(40):
        logits, state = babble.reference(weights, np.array([codes[at]]), state)
        if at + 1 == len(codes):
            codes.append(int(logits[0].argmax()))
    text = generate(asked(prompt="so it will be", length=28, manner=Manner(0.0)))
    assert text.text == signature.decode(codes[13:])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(INQUIRIES, st.integers(0, 30)), min_size=1, max_size=20),
    st.integers(1, 3),
    st.integers(1, 7),
    st.booleans(),
)
def test_a_seed_gives_the_same_text_alone_and_under_any_load(
    coming: list[tuple[TextInquiry, int]], lanes: int, max_batch_rows: int, measured: bool
) -> None:
    texts: dict[int, Text] = {}

    async def story(generator: Generator, _: Batcher) -> None:
        async def one(number: int, inquiry: TextInquiry, turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            texts[number] = await generator.generate(inquiry)

        await asyncio.gather(*(one(at, *of) for at, of in enumerate(coming)))

    scenario(story, lanes=lanes, max_batch_rows=max_batch_rows, measured=measured)
    for number, (inquiry, _) in enumerate(coming):
        assert texts[number].text == alone(inquiry)


def test_a_seed_that_the_service_chose_repeats_the_text() -> None:
    first = generate(asked(seed=None, length=50))
    assert generate(asked(seed=first.seed, length=50)).text == first.text


@pytest.mark.parametrize("model", [LETTERS, WORDS], ids=["letters", "words"])
def test_the_pieces_together_are_the_text(model: Model) -> None:
    inquiry = asked(prompt="the time" if model is WORDS else "the t", length=200)
    pieces: list[str] = []

    async def story(generator: Generator, _: Batcher) -> None:
        writing = generator.begin(inquiry)
        while piece := await writing.piece():
            pieces.append(piece)

    scenario(story, model)
    assert "".join(pieces) == alone(inquiry, model)
    assert len(pieces) > 1


def test_a_new_text_joins_at_the_next_step_and_a_finished_one_leaves() -> None:
    gate = Gate()
    model, runtime = watched(LETTERS, gate)

    async def story(generator: Generator, _: Batcher) -> None:
        first = asyncio.ensure_future(generator.generate(asked(prompt="a", length=3)))
        assert await asyncio.to_thread(gate.entered.acquire, timeout=30)
        second = asyncio.ensure_future(generator.generate(asked(prompt="b", length=4)))
        await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(first, second)

    scenario(story, model)
    assert [len(run) for run in runtime.runs] == [1, 2, 2, 1, 1]


def test_more_texts_than_a_batch_holds_still_go_step_by_step() -> None:
    model, runtime = watched(LETTERS, lambda _: None)
    inquiries = [asked(prompt="abc"[at % 3], length=5, seed=at) for at in range(10)]
    texts: list[Text] = []

    async def story(generator: Generator, _: Batcher) -> None:
        texts.extend(await asyncio.gather(*map(generator.generate, inquiries)))

    scenario(story, model)
    assert [len(run) for run in runtime.runs] == [4, 4, 2] * 5
    assert [text.text for text in texts] == [alone(inquiry) for inquiry in inquiries]


def test_a_forecast_waits_for_no_more_than_a_step_of_the_texts() -> None:
    model, runtime = watched(LETTERS, lambda _: None)
    found = repository(model)
    found = Repository({**found.live, **Intake(ARTIFACTS, "cpu").load().live})
    series = Series("a", read_timestamp("2024-01-01"), None, np.array([1.0, 2.0]))
    waited: list[int] = []

    async def story(generator: Generator, batcher: Batcher) -> None:
        inference = Inference(found, batcher)
        long = [asked(length=900, seed=at) for at in range(8)]  # two batches for each step
        writing = [asyncio.ensure_future(generator.generate(inquiry)) for inquiry in long]
        for _ in range(5):
            await asyncio.sleep(0)
        while not writing[0].done():
            before = len(runtime.runs)
            await Forecaster(inference).forecast(Inquiry("tiny", None, [series], None, None))
            waited.append(len(runtime.runs) - before)
        await asyncio.gather(*writing)

    scenario(story, model)
    assert len(waited) > 100
    longer = [batches for batches in waited if batches > 2]
    assert len(longer) < len(waited) / 20  # where the machine stood still for a step's patience


def test_whoever_leaves_is_not_run_any_more_and_nobody_else_notices() -> None:
    model, runtime = watched(LETTERS, lambda _: None)
    texts: list[Text] = []

    async def story(generator: Generator, _: Batcher) -> None:
        leaving = asyncio.ensure_future(generator.generate(asked(prompt="z" * 9, length=900)))
        staying = asyncio.ensure_future(generator.generate(asked(length=300)))
        await generator.generate(asked(length=50))
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        texts.append(await staying)

    scenario(story, model)
    assert texts[0].text == alone(asked(length=300))
    sizes = [len(run) for run in runtime.runs]
    assert sizes[-1] == 1  # it would have been longest of all
    assert len(sizes) <= 4 + 300


def test_a_text_ends_at_its_deadline_though_a_step_hangs_and_others_go_on() -> None:
    gate = Gate()
    model, _ = watched(LETTERS, gate)
    texts: list[Text] = []

    async def story(generator: Generator, _: Batcher) -> None:
        patient = asyncio.ensure_future(generator.generate(asked(timeout_s=60.0)))
        hasty = asyncio.ensure_future(generator.generate(asked(prompt="b", timeout_s=0.05)))
        with pytest.raises(DeadlineExceeded, match="0 of 20 tokens were written within 50 ms"):
            await hasty
        gate.opened.set()
        texts.append(await patient)

    scenario(story, model)
    assert texts[0].text == alone(asked())


def test_a_step_that_takes_longer_than_was_thought_is_tried_again() -> None:
    gate = Gate()

    def hang_once(tokens: NDArray[np.int64]) -> None:
        if len(runtime.runs) == 1:
            gate(tokens)

    model, runtime = watched(LETTERS, hang_once)
    texts: list[Text] = []

    async def story(generator: Generator, _: Batcher) -> None:
        writing = asyncio.ensure_future(generator.generate(asked()))
        while len(runtime.runs) < 2:  # the other lane has the second try
            await asyncio.sleep(0)
        gate.opened.set()
        texts.append(await writing)

    scenario(story, model, lanes=2)
    assert texts[0].text == alone(asked())


def test_what_was_written_before_an_error_comes_before_it() -> None:
    gate = Gate()

    def hang(tokens: NDArray[np.int64]) -> None:
        if len(runtime.runs) == 6:
            gate(tokens)

    model, runtime = watched(LETTERS, hang)

    async def story(generator: Generator, _: Batcher) -> None:
        writing = generator.begin(asked(prompt="a"))
        text = await writing.piece()
        assert await asyncio.to_thread(gate.entered.acquire, timeout=30)
        writing.sequence.fail(DeadlineExceeded("too late"))
        text += await writing.piece()
        with pytest.raises(DeadlineExceeded, match="too late"):
            await writing.piece()
        assert text == alone(asked(prompt="a"))[:5]
        gate.opened.set()

    scenario(story, model)


def test_a_text_whose_row_fails_has_the_error_alone() -> None:
    cursed = LETTERS.metadata.signature.encode("<")[0]

    def curse(tokens: NDArray[np.int64]) -> None:
        if cursed in tokens:
            raise InferenceFailed("cursed")

    model, _ = watched(LETTERS, curse)
    manner = Manner(0.0)  # none of these texts writes a < by itself
    good = [asked(prompt=prompt, manner=manner) for prompt in ("so it will be", "the", "time")]
    assert not any("<" in alone(inquiry) for inquiry in good)
    found: list[Any] = []

    async def story(generator: Generator, _: Batcher) -> None:
        many = [good[0], asked(prompt="for <", manner=manner), *good[1:]]
        found.extend(await asyncio.gather(*map(generator.generate, many), return_exceptions=True))

    scenario(story, model)
    guilty = found.pop(1)
    assert isinstance(guilty, InferenceFailed)
    assert [text.text for text in found] == [alone(inquiry) for inquiry in good]


def test_when_the_service_ends_everybody_is_told() -> None:
    gate = Gate()
    model, _ = watched(LETTERS, gate)

    async def story(generator: Generator, batcher: Batcher) -> None:
        texts = [asyncio.ensure_future(generator.generate(asked(seed=at))) for at in range(3)]
        assert await asyncio.to_thread(gate.entered.acquire, timeout=30)
        gate.opened.set()
        await batcher.close()
        for text in texts:
            with pytest.raises(Unavailable):
                await text

    scenario(story, model)


def test_a_model_can_write_again_after_everything_has_failed() -> None:
    failing = [True]

    def fail(_: NDArray[np.int64]) -> None:
        if failing:
            raise ValueError("no luck")

    model, _ = watched(LETTERS, fail)
    texts: list[Text] = []

    async def story(generator: Generator, _: Batcher) -> None:
        with pytest.raises(ValueError, match="no luck"):
            await generator.generate(asked())
        failing.clear()
        texts.append(await generator.generate(asked()))

    scenario(story, model)
    assert texts[0].text == alone(asked())


def test_what_cannot_be_asked_is_refused_before_anything_runs() -> None:
    assert isinstance(refused(asked(model="other")), NotFound)
    assert isinstance(refused(asked(version=2)), NotFound)
    assert isinstance(refused(asked(prompt="")), Unservable)
    assert isinstance(refused(asked(length=1000)), TooLarge)
    assert isinstance(refused(asked(length=900, timeout_s=1e-4)), DeadlineExceeded)


def test_a_newcomer_whom_the_others_would_make_late_is_told_when_to_come_back() -> None:
    gate = Gate()
    model, runtime = watched(LETTERS, gate)
    vars(runtime)["measured"] = [(1, 1, 0.010), (1, 8, 0.045)]  # 5 ms, and 5 for each text

    async def story(generator: Generator, _: Batcher) -> None:
        long = [asked(length=900, seed=at, timeout_s=86_400.0) for at in range(100)]
        running = [asyncio.ensure_future(generator.generate(inquiry)) for inquiry in long]
        assert await asyncio.to_thread(gate.entered.acquire, timeout=30)
        with pytest.raises(Overloaded, match="100 texts are being written") as caught:
            await generator.generate(asked(length=96, timeout_s=1.3))
        assert 903 * 0.505 <= caught.value.retry_after <= 904 * 0.505 + 1
        for one in running:
            one.cancel()
        gate.opened.set()

    scenario(story, model)
