"""Swaps seen from inside: what is let go is really gone, and what is under way is answered."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from service.contract.forecast import ForecastMetadata
from service.contract.timestamp import read_timestamp
from service.engine.batcher import Batcher
from service.errors import Conflict
from service.forecasting.forecaster import Forecaster
from service.forecasting.inquiry import Inquiry, Series
from service.generation.generator import Generator
from service.generation.inquiry import Manner, TextInquiry
from service.inference import Inference
from service.repository.intake import Intake
from service.repository.keeper import Keeper
from service.repository.live import Repository
from tests.artifacts import babble, edit

ONE = Series("a", read_timestamp("2024-01-01"), None, np.array([1.0, 3.0, 2.0]))
ASKED = Inquiry("tiny", None, [ONE], None, None)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for version in (1, 2, 3):
        edit.times(tmp_path, float(version), version)
    return tmp_path


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed is freed because nobody refers to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def serve(models: Path, story: Callable[[Keeper, Inference, Generator], Awaitable[None]]) -> None:
    """Run a story with everything that has something of a model."""

    async def run() -> None:
        intake = Intake(models, "cpu")
        repository: Repository = intake.load()
        batcher = Batcher(1, 4, 1000)
        batcher.start()
        inference = Inference(repository, batcher)
        generator = Generator(repository, batcher, 1000)

        def left(model: object) -> None:
            inference.forget(model)  # type: ignore[arg-type]
            generator.forget(model)  # type: ignore[arg-type]

        keeper = Keeper(intake, repository, came=inference.adopt, left=left)
        async with keeper.watching(0):
            await story(keeper, inference, generator)
        await batcher.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def tell(event: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    """From whichever thread let go last."""
    loop.call_soon_threadsafe(event.set)


@pytest.mark.usefixtures("no_collector")
def test_a_version_that_nobody_needs_is_freed_at_once(models: Path) -> None:
    async def story(keeper: Keeper, inference: Inference, _: Generator) -> None:
        await Forecaster(inference).forecast(ASKED)
        first = weakref.ref(inference.repository.get("tiny").runtime)
        gone = asyncio.Event()
        weakref.finalize(
            inference.repository.get("tiny").runtime, tell, gone, asyncio.get_running_loop()
        )
        await keeper.promote("tiny", 1, "live", None)
        await Forecaster(inference).forecast(ASKED)
        assert first() is not None  # warm, for a rollback
        await keeper.promote("tiny", 2, "live", None)
        await keeper.look()  # the thread has let go of the promotion, too
        await gone.wait()
        assert first() is None

    serve(models, story)


@pytest.mark.usefixtures("no_collector")
def test_a_request_keeps_its_version_to_its_end_and_leaves_nothing(models: Path) -> None:
    async def story(keeper: Keeper, inference: Inference, _: Generator) -> None:
        expected = await Forecaster(inference).forecast(ASKED)
        found = inference.repository.get_for(ForecastMetadata, "tiny")
        gone = asyncio.Event()
        weakref.finalize(found.runtime, tell, gone, asyncio.get_running_loop())
        for version in (1, 2):
            await keeper.promote("tiny", version, "live", None)
        late = await Forecaster(inference).forecast(ASKED, found)
        assert late.version == 3
        np.testing.assert_array_equal(late.quantiles, expected.quantiles)
        del found
        await keeper.look()
        await gone.wait()  # the lane lets go of its last batch

    serve(models, story)


def test_a_text_is_written_to_its_end_by_the_version_that_began_it(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        folder = babble.write(tmp_path, "babble")
        edit.edit_metadata(folder, version=version)
        folder.rename(folder.with_name(f"{version}.new"))
    for version in (1, 2, 3):
        (tmp_path / f"babble/{version}.new").rename(tmp_path / f"babble/{version}")

    async def story(keeper: Keeper, _: Inference, generator: Generator) -> None:
        inquiry = TextInquiry("babble", None, "time", 200, Manner(), 7)
        expected = await generator.generate(inquiry)
        writing = generator.begin(inquiry)
        first = await writing.piece()
        for version in (1, 2):
            await keeper.promote("babble", version, "live", None)
        text = first
        while piece := await writing.piece():
            text += piece
        assert text == expected.text
        assert writing.text().version == 3
        assert (await generator.generate(inquiry)).version == 2

    serve(tmp_path, story)


def test_changes_asked_at_once_are_made_one_after_the_other(models: Path) -> None:
    async def story(keeper: Keeper, inference: Inference, _: Generator) -> None:
        asked = [keeper.promote("tiny", 1 + n % 3, "live", None) for n in range(9)]
        done = await asyncio.gather(*asked, keeper.look(), keeper.verify("tiny", 1))
        lineups = [one for one in done[:9] if one]
        assert [one.live.metadata.version for one in lineups] == [1, 2, 3] * 3  # type: ignore[union-attr]
        assert inference.repository.get("tiny").metadata.version == 3

    serve(models, story)


def test_an_unloaded_model_can_be_promoted_again(models: Path) -> None:
    async def story(keeper: Keeper, inference: Inference, _: Generator) -> None:
        await keeper.unload("tiny")
        assert inference.repository.live == {}
        with pytest.raises(Conflict, match="unloaded"):
            await keeper.promote("tiny", 2, "canary", 5.0)
        await keeper.promote("tiny", 2, "live", None)
        assert inference.repository.get("tiny").metadata.version == 2

    serve(models, story)
