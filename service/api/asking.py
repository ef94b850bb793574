"""A question that the engine answers without a task: who asks it is called back with a reply."""

from collections.abc import Callable

from service.api.asked import Asked
from service.api.dialect import Route
from service.api.exchange import Exchange
from service.api.front import conclude
from service.api.responses import Reply, answer_error, answer_unexpected
from service.errors import ServiceError
from service.inference import Ending
from service.telemetry import metrics


def ask(asked: Asked, route: Route, exchange: Exchange, deliver: Callable[[Reply], None]) -> None:
    """Ask, and deliver what comes of it, now or later; nothing to a caller who has gone."""
    hangup = exchange.hangup

    def told(ending: Ending) -> None:
        hangup.stop = None
        deliver(_reply(asked, route, exchange, ending))

    begin = exchange.house.inference.begin
    try:
        withdraw = begin(asked.model, asked.parts, asked.timeout_s, told)
    except ServiceError as error:
        deliver(_reply(asked, route, exchange, error))
        return

    def stop() -> None:
        withdraw()
        metrics.refuse(metrics.CANCELLED)
        conclude(route, exchange, None)

    hangup.stop = stop


def _reply(asked: Asked, route: Route, exchange: Exchange, ending: Ending) -> Reply:
    if isinstance(ending, ServiceError):
        return answer_error(ending, route.errors, exchange.marks)
    try:
        if isinstance(ending, Exception):
            raise ending
        answer, timing = ending
        body, metadata = asked.write(answer), asked.model.metadata
        return Reply(body, headers=exchange.answered_by(metadata.name, metadata.version, timing))
    except Exception as error:
        return answer_unexpected(error, route.errors, exchange.marks)
