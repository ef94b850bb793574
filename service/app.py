"""`create_app`: wires the rooms. Lifespan: load, start, yield, drain."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from service import metrics
from service.api import native, operations
from service.api.exchange import Counted
from service.api.responses import install_error_handlers
from service.batcher import Batcher
from service.drain import Drain
from service.forecaster import Forecaster
from service.repository import Repository
from service.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application; settings come from the environment when not given."""
    settings = settings or Settings()
    drain = Drain(settings.drain_grace_s)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Drain]]:
        repository = Repository.load(settings.models, settings.provider)
        metrics.models.labels("live").set(len(repository.live))
        metrics.models.labels("refused").set(len(repository.refused))
        batcher = Batcher(
            settings.lanes_per_worker(),
            settings.max_batch_rows,
            settings.max_queue_rows,
            metrics.observe_batch,
        )
        batcher.start()
        app.state.forecaster = Forecaster(repository, batcher)
        yield {"drain": drain}  # uvicorn hands it to every connection
        await batcher.close()

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
    app.include_router(native.router)
    app.include_router(operations.router)
    install_error_handlers(app)
    app.add_middleware(Counted, drain=drain)
    return app
