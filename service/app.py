"""`create_app`: wires the rooms. Lifespan: load, start, yield, drain."""

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from service.access.keyring import Keyring
from service.api import operations
from service.api.bulk import routes
from service.api.cors import Cors
from service.api.counted import Counted
from service.api.dialect import Dialect
from service.api.front import Front
from service.api.generate.routes import generation
from service.api.guard import Guard
from service.api.models import models
from service.api.native import native
from service.api.openinference.routes import openinference
from service.api.outbox import Outbox
from service.api.quality import quality
from service.api.regress import regression
from service.api.responses import install_error_handlers
from service.api.timegpt.routes import timegpt
from service.api.timeseries.routes import timeseries
from service.drain import Drain
from service.engine.batcher import Batcher
from service.forecasting.forecaster import Forecaster
from service.generation.generator import Generator
from service.house import House
from service.inference import Inference
from service.providers import resolve
from service.repository.intake import Intake
from service.repository.keeper import Keeper
from service.repository.live import AnyModel, Repository
from service.repository.place import Folder, Place
from service.settings import Settings, origins
from service.store.opening import open_place
from service.telemetry import metrics
from service.telemetry.witness import witness

if TYPE_CHECKING:
    from service.quality.desk import Desk

DIALECTS: list[Dialect] = [
    models,
    native,
    regression,
    generation,
    routes.bulk,
    openinference,
    timegpt,
    timeseries,
    quality,
]

# Seconds after which a thread that wants Python's lock gets it. With the usual 5 ms a lane would
# wait longer for it than many a batch takes, whenever the event loop is busy.
SWITCH_INTERVAL = 0.0002

# New objects after which young garbage is looked for: about 200 requests. Hardly any of it is
# garbage that reference counts do not find.
GARBAGE = 10_000


def create_app(settings: Settings | None = None) -> Front:
    """The service as an ASGI application; settings come from the environment when not given."""
    settings = settings or Settings()
    drain = Drain(settings.drain_grace_s)
    keyring = None if settings.keys is None else Keyring(settings.keys)
    named = origins(settings.cors_origins)
    cors = Cors(named) if named else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Drain]]:
        async with AsyncExitStack() as leaving:
            seen_by = app.state.witness = witness(settings)
            if seen_by is not None:
                leaving.push_async_callback(seen_by.close)
            place = open_place(settings.models, settings.store_cache)
            intake = Intake(place, resolve(settings.provider))
            outbox = Outbox()
            inference = _start(settings, intake.load(), outbox, leaving)
            leaving.push_async_callback(routes.close)
            app.state.inference = inference
            desk = _desk(settings)
            forecaster = Forecaster(inference, None if desk is None else desk.recorder.offer)
            generator = Generator(inference.repository, inference.batcher, settings.max_text_tokens)
            keeper = _keep(intake, inference, generator)
            front.house = House(
                *(settings, inference, forecaster, generator, keeper, drain),
                *(keyring, cors, desk, seen_by, outbox),
            )
            if desk is not None:
                repository = inference.repository
                await leaving.enter_async_context(desk.working(settings, repository, keeper))
            await _start_rpc(front.house, leaving)
            await leaving.enter_async_context(keeper.watching(settings.watch_s))
            await _watch_store(place, settings, keeper, leaving)
            metrics.observe_start()
            _tune_interpreter()
            leaving.callback(drain.cut_off)
            yield {"drain": drain}  # uvicorn hands it to every connection

    app = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        static_url="/docs/assets",  # the page loads nothing from another server
        title="Gatecast",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.drain = drain
    app.state.keyring = keyring
    app.include_router(operations.router)
    install_error_handlers(app)
    app.add_middleware(Guard, keyring=keyring, open_docs=settings.open_docs)
    if cors is not None:
        cors.around(app)
    app.add_middleware(Counted, drain=drain)  # around those before
    front = Front(app, DIALECTS, cors)
    return front


def _start(
    settings: Settings, repository: Repository, outbox: Outbox, leaving: AsyncExitStack
) -> Inference:
    """Start the lanes."""
    batcher = Batcher(
        settings.lanes_per_worker(),
        settings.max_batch_rows,
        settings.max_queue_rows,
        settings.default_timeout_ms / 1000,
        metrics.observe_batch,
        outbox,
    )
    batcher.start()
    leaving.push_async_callback(batcher.close)
    return Inference(repository, batcher, settings.max_context_steps)


def _desk(settings: Settings) -> "Desk | None":
    """Where forecasts are recorded, if they are."""
    if settings.quality is None:
        return None
    from service.quality.desk import make_desk  # needs a library that not everyone has

    return make_desk(settings.quality, settings)


def _keep(intake: Intake, inference: Inference, generator: Generator) -> Keeper:
    """What changes the models while they serve, and tells who has something of them."""

    def left(model: AnyModel) -> None:
        inference.forget(model)
        generator.forget(model)

    return Keeper(intake, inference.repository, came=inference.adopt, left=left)


async def _start_rpc(house: House, leaving: AsyncExitStack) -> None:
    if house.settings.grpc_port is None:
        return
    from service.api.rpc.server import start_rpc  # large, so only where it is wanted

    rpc = await start_rpc(house)
    leaving.push_async_callback(rpc.stop)


async def _watch_store(
    place: Place, settings: Settings, keeper: Keeper, leaving: AsyncExitStack
) -> None:
    if isinstance(place, Folder):
        return
    from service.store.mirror import Mirror  # needs an extra
    from service.store.watch import watching

    assert isinstance(place, Mirror)
    await leaving.enter_async_context(watching(place, settings.watch_s, keeper.look))


def _tune_interpreter() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.set_threshold(GARBAGE)
    gc.freeze()  # what lives as long as the process need not be looked at again and again
